"""CIFAR-10 from the official batches and from image files: whole, missing, damaged, partial; and nothing is unpickled."""

import functools
import hashlib
import http.server
import io
import pickletools
import struct
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from course_utils import cifar


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def as_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 pickled the official ones, opcode by opcode: {labels, data}."""
    array = (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R("
             + b"K\x01K" + bytes([len(images)]) + b"M" + struct.pack("<H", cifar.PIXELS) + b"\x86cnumpy\ndtype\n"
             + text("u1") + b"K\x00K\x01\x87R(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
             + b"T" + struct.pack("<I", images.size) + images.tobytes() + b"tb")
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text("labels") + numbers + text("data") + array + b"u."


@pytest.fixture
def official(tmp_path, monkeypatch):
    """Small official batches, and torchvision's list of checksums for them."""
    generator = np.random.default_rng(0)
    folder, lists = tmp_path / cifar.BATCHES, {}
    folder.mkdir()
    pixels, labels = {}, {}
    for part, original in (("train", CIFAR10.train_list), ("test", CIFAR10.test_list)):
        lists[part], pixels[part], labels[part] = [], [], []
        for name, _ in original:
            images, answers = generator.integers(0, 256, (20, cifar.PIXELS), np.uint8), [*range(10), *range(10)]
            content = as_batch(images, answers)
            (folder / name).write_bytes(content)
            lists[part].append([name, hashlib.md5(content).hexdigest()])
            pixels[part].append(images)
            labels[part] += answers
    meta = b"\x80\x02}(" + text("label_names") + b"](" + b"".join(text(name) for name in cifar.CLASSES) + b"eu."
    (folder / CIFAR10.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", lists["train"])
    monkeypatch.setattr(CIFAR10, "test_list", lists["test"])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return tmp_path


def test_the_official_batches_read_as_torchvision_reads_them(official):
    dataset = cifar.load_cifar10(official, device="cpu")
    theirs = CIFAR10(official, train=False)
    assert torch.equal((dataset.test.images * 255).round().byte(), torch.from_numpy(theirs.data).permute(0, 3, 1, 2))
    assert dataset.test.labels.tolist() == theirs.targets
    assert [len(dataset[name]) for name in ("train", "val", "test")] == [90, 10, 20]
    assert "official" in dataset.name and dataset.image_shape == (3, 32, 32)
    both = torch.cat([dataset.train.images, dataset.val.images]).mul(255).round().byte().flatten(1).tolist()
    assert sorted(both) == sorted(CIFAR10(official, train=True).data.transpose(0, 3, 1, 2).reshape(100, -1).tolist())


def test_reading_a_batch_carries_nothing_out(monkeypatch):
    images = np.zeros((1, cifar.PIXELS), np.uint8)
    harmful = as_batch(images, [3]).replace(b"cnumpy\ndtype\n", b"cno_such_module\nrun\n")
    assert "no_such_module run" in [argument for _, argument, _ in pickletools.genops(harmful)]
    read, labels = cifar.read_batch(harmful)               # an unpickler would have imported it
    assert read.shape == (1, 3, 32, 32) and labels.tolist() == [3]


@pytest.mark.parametrize("content", [b"", b"no pickle", as_batch(np.zeros((2, cifar.PIXELS), np.uint8), [1]),
                                     as_batch(np.zeros((1, cifar.PIXELS), np.uint8), [11]),
                                     as_batch(np.zeros((1, cifar.PIXELS), np.uint8), [1])[:2000]])
def test_what_is_no_batch_is_refused(content):
    with pytest.raises(ValueError, match="batch"):
        cifar.read_batch(content)


def test_damaged_and_missing_batches_are_named(official):
    file = official / cifar.BATCHES / "data_batch_2"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_2 is damaged.*download=True"):
        cifar.load_cifar10(official)
    file.unlink()
    with pytest.raises(ValueError, match="data_batch_2 is missing"):
        cifar.load_cifar10(official)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(official, tmp_path_factory, monkeypatch):
    """The batches as an archive on loopback, and torchvision looking for it there."""
    site = tmp_path_factory.mktemp("site")
    with tarfile.open(site / CIFAR10.filename, "w:gz") as archive:
        archive.add(official / cifar.BATCHES, cifar.BATCHES)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5((site / CIFAR10.filename).read_bytes()).hexdigest())
    yield site
    server.shutdown()
    server.server_close()


def test_a_download_is_fetched_checked_and_unpacked(served, tmp_path):
    dataset = cifar.load_cifar10(tmp_path / "new", download=True, device="cpu")
    assert len(dataset.test) == 20
    assert [path.name for path in (tmp_path / "new").iterdir()] == [cifar.BATCHES]


@pytest.mark.parametrize("fault", ["gone", "other", "short"])
def test_a_failed_download_says_so_and_leaves_nothing(served, tmp_path, fault):
    file = served / CIFAR10.filename
    content = file.read_bytes()
    file.unlink() if fault == "gone" else file.write_bytes(b"other" if fault == "other" else content[:-50])
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        cifar.load_cifar10(tmp_path / "new", download=True)
    assert not list((tmp_path / "new").iterdir())


# ---- image files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    generator = np.random.default_rng(1)
    for part, count in (("train", 4), ("test", 1)):
        for name in cifar.CLASSES:
            folder = tmp_path / "cifar10" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    return tmp_path


def same(one, other):
    return all(torch.equal(one[name].images, other[name].images) and torch.equal(one[name].labels, other[name].labels)
               for name in ("train", "val", "test"))


def test_image_files_are_read_once_and_then_from_the_cache(tree, monkeypatch):
    first = cifar.load_cifar10(tree, partial=True, device="cpu")
    assert [len(first[name]) for name in ("train", "val", "test")] == [36, 4, 10] and "image files" in first.name
    picture = np.asarray(Image.open(tree / "cifar10/test/cat/0.png")).transpose(2, 0, 1)
    assert np.array_equal((first.test.images[3] * 255).round().byte().numpy(), picture) and first.test.labels[3] == 3
    monkeypatch.setattr(cifar, "_decode", None)            # a second decoding would fail
    assert same(first, cifar.load_cifar10(tree, partial=True, device="cpu"))
    assert same(first, cifar.load_cifar10(tree / "cifar10", partial=True, device="cpu"))


def test_a_damaged_cache_is_made_again(tree):
    first, cache = cifar.load_cifar10(tree, partial=True, device="cpu"), tree / "cifar10" / cifar.CACHE
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
    with pytest.raises(ValueError, match=r"train holds 40 images, CIFAR-10 has 50,000.*partial=True"):
        cifar.load_cifar10(tree)
    file = tree / "cifar10/train/frog/2.png"
    whole = file.read_bytes()
    for content, said in ((whole[:300], "frog/2.png cannot be decoded"), (b"", "frog/2.png cannot be decoded")):
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


def test_digits_take_cifars_shape():
    dataset = cifar.load_digits_as_cifar(100, device="cpu")
    assert dataset.image_shape == (3, 32, 32) and "digits" in dataset.name
    assert torch.equal(dataset.val.images[:, 0], dataset.val.images[:, 2]) and not dataset.val.images[..., :2].any()
