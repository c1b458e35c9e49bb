"""CIFAR-10 from official batches and image files: whole, missing, damaged; no pickle runs."""

import functools
import hashlib
import http.server
import io
import os
import pickletools
import shutil
import socket
import struct
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from course_utils.lessons.cifar10_challenge import cifar, image_files, official


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def as_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 pickled the official ones, opcode by opcode: {labels, data}."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + text("b")
        + b"\x87R("
        + b"K\x01K"
        + bytes([len(images)])
        + b"M"
        + struct.pack("<H", official.PIXELS)
        + b"\x86cnumpy\ndtype\n"
        + text("u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + struct.pack("<I", images.size)
        + images.tobytes()
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text("labels") + numbers + text("data") + array + b"u."


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """Small official batches, and torchvision's list of checksums for them."""
    generator = np.random.default_rng(0)
    folder, lists = tmp_path / official.BATCHES, {}
    folder.mkdir()
    pixels, labels = {}, {}
    for part, original in (("train", CIFAR10.train_list), ("test", CIFAR10.test_list)):
        lists[part], pixels[part], labels[part] = [], [], []
        for name, _ in original:
            images, answers = (
                generator.integers(0, 256, (20, official.PIXELS), np.uint8),
                [*range(10), *range(10)],
            )
            content = as_batch(images, answers)
            (folder / name).write_bytes(content)
            lists[part].append([name, hashlib.md5(content).hexdigest()])
            pixels[part].append(images)
            labels[part] += answers
    meta = (
        b"\x80\x02}("
        + text("label_names")
        + b"]("
        + b"".join(text(name) for name in cifar.CLASSES)
        + b"eu."
    )
    (folder / CIFAR10.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", lists["train"])
    monkeypatch.setattr(CIFAR10, "test_list", lists["test"])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return tmp_path


def test_the_official_batches_read_as_torchvision_reads_them(batches):
    dataset = cifar.load_cifar10(batches, device="cpu")
    theirs = CIFAR10(batches, train=False)
    assert torch.equal(
        (dataset.test.images * 255).round().byte(),
        torch.from_numpy(theirs.data).permute(0, 3, 1, 2),
    )
    assert dataset.test.labels.tolist() == theirs.targets
    assert [len(dataset[name]) for name in ("train", "val", "test")] == [90, 10, 20]
    assert "official" in dataset.name and dataset.image_shape == (3, 32, 32)
    both = (
        torch.cat([dataset.train.images, dataset.val.images])
        .mul(255)
        .round()
        .byte()
        .flatten(1)
        .tolist()
    )
    assert sorted(both) == sorted(
        CIFAR10(batches, train=True).data.transpose(0, 3, 1, 2).reshape(100, -1).tolist()
    )


def test_reading_a_batch_carries_nothing_out(monkeypatch):
    images = np.zeros((1, official.PIXELS), np.uint8)
    harmful = as_batch(images, [3]).replace(b"cnumpy\ndtype\n", b"cno_such_module\nrun\n")
    assert "no_such_module run" in [argument for _, argument, _ in pickletools.genops(harmful)]
    read, labels = official.read_batch(harmful)  # an unpickler would have imported it
    assert read.shape == (1, 3, 32, 32) and labels.tolist() == [3]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        as_batch(np.zeros((2, official.PIXELS), np.uint8), [1]),
        as_batch(np.zeros((1, official.PIXELS), np.uint8), [11]),
        as_batch(np.zeros((1, official.PIXELS), np.uint8), [1])[:2000],
    ],
)
def test_what_is_no_batch_is_refused(content):
    with pytest.raises(ValueError, match="batch"):
        official.read_batch(content)


def test_damaged_and_missing_batches_are_named(batches):
    file = batches / official.BATCHES / "data_batch_2"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_2 is damaged.*download=True"):
        cifar.load_cifar10(batches)
    file.unlink()
    with pytest.raises(ValueError, match="data_batch_2 is missing"):
        cifar.load_cifar10(batches)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(batches, tmp_path_factory, monkeypatch):
    """The batches as an archive on loopback, and torchvision looking for it there."""
    site = tmp_path_factory.mktemp("site")
    with tarfile.open(site / CIFAR10.filename, "w:gz") as archive:
        archive.add(batches / official.BATCHES, official.BATCHES)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=site)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
    monkeypatch.setattr(
        CIFAR10, "tgz_md5", hashlib.md5((site / CIFAR10.filename).read_bytes()).hexdigest()
    )
    yield site
    server.shutdown()
    server.server_close()


def test_a_download_is_fetched_checked_and_unpacked(served, tmp_path):
    dataset = cifar.load_cifar10(tmp_path / "new", download=True, device="cpu")
    assert len(dataset.test) == 20
    assert [path.name for path in (tmp_path / "new").iterdir()] == [official.BATCHES]


@pytest.mark.parametrize("fault", ["gone", "other", "short"])
def test_a_failed_download_says_so_and_leaves_nothing(served, tmp_path, fault):
    file = served / CIFAR10.filename
    content = file.read_bytes()
    file.unlink() if fault == "gone" else file.write_bytes(
        b"other" if fault == "other" else content[:-50]
    )
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        cifar.load_cifar10(tmp_path / "new", download=True)
    assert not list((tmp_path / "new").iterdir())


# Image files -------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    generator = np.random.default_rng(1)
    for part, count in (("train", 4), ("test", 1)):
        for name in cifar.CLASSES:
            folder = tmp_path / "cifar10" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(
                    folder / f"{number}.png"
                )
    return tmp_path


def same(one, other):
    return all(
        torch.equal(one[name].images, other[name].images)
        and torch.equal(one[name].labels, other[name].labels)
        for name in ("train", "val", "test")
    )


def test_image_files_are_read_once_and_then_from_the_cache(tree, monkeypatch):
    first = cifar.load_cifar10(tree, partial=True, device="cpu")
    assert [len(first[name]) for name in ("train", "val", "test")] == [
        36,
        4,
        10,
    ] and "image files" in first.name
    picture = np.asarray(Image.open(tree / "cifar10/test/cat/0.png")).transpose(2, 0, 1)
    assert (
        np.array_equal((first.test.images[3] * 255).round().byte().numpy(), picture)
        and first.test.labels[3] == 3
    )
    monkeypatch.setattr(image_files, "_decode", None)  # a second decoding would fail
    assert same(first, cifar.load_cifar10(tree, partial=True, device="cpu"))
    assert same(first, cifar.load_cifar10(tree / "cifar10", partial=True, device="cpu"))


def test_a_damaged_cache_is_made_again(tree):
    first, cache = (
        cifar.load_cifar10(tree, partial=True, device="cpu"),
        tree / "cifar10" / image_files.CACHE,
    )
    whole = cache.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damage in (b"", whole[:5000], bytes(flipped)):
        cache.write_bytes(damage)
        assert same(first, cifar.load_cifar10(tree, partial=True, device="cpu"))
        assert len(cache.read_bytes()) == len(whole)


def test_a_changed_file_is_seen(tree):
    cifar.load_cifar10(tree, partial=True)
    Image.new("RGB", (32, 32), "white").save(tree / "cifar10/test/dog/0.png")
    assert cifar.load_cifar10(tree, partial=True, device="cpu").test.images[5].min() == 1


def test_faults_of_image_trees_are_named(tree):
    with pytest.raises(
        ValueError, match=r"train holds 40 images, CIFAR-10 has 50,000.*partial=True"
    ):
        cifar.load_cifar10(tree)
    file = tree / "cifar10/train/frog/2.png"
    whole = file.read_bytes()
    for content, said in (
        (whole[:300], "frog/2.png cannot be decoded"),
        (b"", "frog/2.png cannot be decoded"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            cifar.load_cifar10(tree, partial=True)
    small = io.BytesIO()
    Image.new("RGB", (28, 28)).save(small, "png")
    file.write_bytes(small.getvalue())
    with pytest.raises(ValueError, match=r"frog/2.png has 28x28 pixels"):
        cifar.load_cifar10(tree, partial=True)
    for other in (tree / "cifar10/train/frog").iterdir():
        other.unlink()
    with pytest.raises(ValueError, match="has no images of: frog"):
        cifar.load_cifar10(tree, partial=True)


def test_without_cifar_the_error_says_how_to_get_it(tmp_path):
    assert not cifar.has_cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"download=True.*train/<class>"):
        cifar.load_cifar10(tmp_path)


# Broken and hostile files -------------------------------------------------------------------------


def test_a_png_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tree, monkeypatch):
    file = tree / "cifar10/train/frog/2.png"
    packed = io.BytesIO()
    Image.new("L", (9000, 9000)).save(packed, "png", optimize=True)
    file.write_bytes(packed.getvalue())
    assert len(packed.getvalue()) < image_files.LARGEST_IMAGE
    monkeypatch.setattr(Image.Image, "convert", None)  # would unpack it
    with pytest.raises(ValueError, match=r"frog/2.png has 9000x9000 pixels"):
        image_files._decode(file)


def test_files_that_are_too_large_or_no_files_are_refused(tree):
    file = tree / "cifar10/train/frog/2.png"
    file.write_bytes(bytes(image_files.LARGEST_IMAGE + 1))
    with pytest.raises(ValueError, match=r"2.png has 100,001 bytes.*Unpack"):
        cifar.load_cifar10(tree, partial=True)
    file.unlink()
    file.mkdir()
    with pytest.raises(ValueError, match="2.png is no ordinary file"):
        cifar.load_cifar10(tree, partial=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_does_not_hang_the_loading(tree):
    file = tree / "cifar10/train/frog/2.png"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match="2.png is no ordinary file"):
        cifar.load_cifar10(tree, partial=True)


def test_every_damage_to_an_image_is_one_clear_error(tree):
    file = tree / "cifar10/train/frog/2.png"
    whole, generator = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        file.write_bytes(damaged)
        try:
            image_files._decode(file)
        except ValueError as error:
            refused += "frog/2.png" in str(error)
    assert refused > 200  # the others leave a picture, though another one


def test_a_cache_that_cannot_be_written_fails_nothing(tree, monkeypatch):
    def full(path, contents):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_files, "write", full)
    assert len(cifar.load_cifar10(tree, partial=True).test) == 10
    assert not (tree / "cifar10" / image_files.CACHE).exists()


@pytest.mark.parametrize("kind", ["link", "large", "outside"])
def test_an_archive_may_hold_files_of_an_expected_size_and_nothing_else(
    tmp_path, monkeypatch, kind
):
    archive = tmp_path / "some.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        member = tarfile.TarInfo("../evil" if kind == "outside" else "folder/member")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        member.size = 0 if kind == "link" else 100
        packed.addfile(member, io.BytesIO(bytes(100)))
    if kind == "large":
        monkeypatch.setattr(official, "LARGEST_BATCH", 99)
    with pytest.raises((ValueError, tarfile.FilterError)):
        official._unpack(archive, tmp_path / "unpacked")
    assert not list(tmp_path.glob("**/evil")) and not list(tmp_path.glob("unpacked/**/member"))


def test_an_archive_larger_than_expected_is_not_fetched_to_its_end(served, tmp_path, monkeypatch):
    monkeypatch.setattr(official, "LARGEST_ARCHIVE", 1000)
    with pytest.raises(RuntimeError, match="larger than 1,000 bytes"):
        cifar.load_cifar10(tmp_path / "new", download=True)


def test_the_slower_of_two_downloads_finds_what_the_faster_one_brought(
    served, batches, tmp_path, monkeypatch
):
    def meanwhile(archive, folder):
        (tmp_path / "new" / official.BATCHES).mkdir()
        shutil.copytree(batches / official.BATCHES, folder / official.BATCHES)
        for file in (batches / official.BATCHES).iterdir():
            shutil.copy(file, tmp_path / "new" / official.BATCHES)

    monkeypatch.setattr(official, "_unpack", meanwhile)
    assert len(cifar.load_cifar10(tmp_path / "new", download=True, device="cpu").test) == 20


def test_a_silent_server_is_not_waited_for(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        monkeypatch.setattr(official, "PATIENCE", 0.2)
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        with pytest.raises(RuntimeError, match="could not be downloaded"):
            cifar.load_cifar10(tmp_path, download=True)
    assert not list(tmp_path.iterdir())
