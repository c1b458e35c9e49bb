"""Does the course work on this graphics card, and what is the card good for? Five minutes.

    python tools/check_accelerator.py            everything
    python tools/check_accelerator.py --quick    without the notebooks

Prints a table to paste into an issue. Needs no network, and no packages but those of the course;
the notebooks need nbclient besides (group tests), and are left out, with a word, without it.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from course_utils import Config, Dataset, fit, load_mnist  # noqa: E402

NOTEBOOKS = ("00_start_here", "03_learning_rate", "10_mnist_case_study")
TOLERANCE = 2e-3  # of a loss: other devices add in another order
OPTIMIZERS = ("sgd", "adam", "adamw", "muon")


def accelerator() -> torch.device | None:
    """The device that PyTorch would take: CUDA, then Apple's MPS; None without one."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else None


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()


def wait_for(device: torch.device) -> None:
    """Work is only asked for, and not done, until somebody waits for it."""
    getattr(torch, device.type).synchronize()


def equality(device: torch.device) -> list[tuple[str, str]]:
    """(what, how it went): losses beside those of the processor, and alone beside neighbours."""
    near = load_mnist(subset=500, image_size=14, device="cpu")
    far = load_mnist(subset=500, image_size=14, device=device)
    rows = []
    for optimizer in OPTIMIZERS:
        config = Config(optimizer=optimizer, learning_rate=0.01, width=32, epochs=2, dropout=0.1)
        here = fit(config.seeds(4), near, progress=False)
        other = fit(config.seeds(4), far, progress=False)
        alone = fit(config.replace(seed=2), far, progress=False)
        apart = abs(here.train_loss - other.train_loss).max()
        beside = abs(alone.train_loss[0] - other.train_loss[2]).max()
        right = "as the processor" if apart < TOLERANCE else f"OFF BY {apart:.1g}"
        same = "alone as beside others" if beside < TOLERANCE else f"ALONE OFF BY {beside:.1g}"
        rows.append((f"{optimizer}, 4 networks", f"{right}; {same}"))
    return rows


def seconds_of(configs: list[Config], dataset: Dataset) -> float:
    """Of one training, the second time: the first one compiles and reserves."""
    for _ in range(2):
        began = time.perf_counter()
        fit(configs, dataset, progress=False, keep_models=False)
        if dataset.device.type != "cpu":
            wait_for(dataset.device)
        took = time.perf_counter() - began
    return took


def speed(device: torch.device) -> list[tuple[str, str]]:
    near, far = load_mnist(device="cpu"), load_mnist(device=device)
    rows = []
    for networks, width in ((1, 32), (8, 32), (32, 256), (8, 1024)):
        configs = Config(width=width, epochs=2, batch_size=128).seeds(networks)
        here = seconds_of(configs, near)
        there = seconds_of(configs, far)
        told = f"{here:.2f} s on the processor, {there:.2f} s on the card ({here / there:.1f} x)"
        rows.append((f"{networks} networks of width {width}, 2 epochs", told))
    return rows


def notebooks() -> list[tuple[str, str]]:
    if importlib.util.find_spec("nbclient") is None:
        return [("notebooks", "left out: python tools/set_up.py --group tests brings nbclient")]
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    rows = []
    for stem in NOTEBOOKS:
        notebook = nbformat.read(HERE / "notebooks" / f"{stem}.ipynb", as_version=4)
        place = {"metadata": {"path": str(HERE / "notebooks")}}
        began = time.perf_counter()
        try:
            NotebookClient(notebook, timeout=600, resources=place).execute()
            rows.append((stem, f"ran in {time.perf_counter() - began:.0f} s"))
        except CellExecutionError as error:
            rows.append((stem, f"FAILED: {error.ename}: {error.evalue}"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the notebooks")
    quick = parser.parse_args().quick
    device = accelerator()
    if device is None:
        print("PyTorch sees no accelerator here (CUDA or MPS): the course runs on the processor.")
        return 1
    rows = [
        ("card", f"{name_of(device)} ({device.type})"),
        ("PyTorch, Python", f"{torch.__version__}, {platform.python_version()}"),
        *equality(device),
        *speed(device),
        *([] if quick else notebooks()),
    ]
    print("| what | result |\n|---|---|")
    print("\n".join(f"| {what} | {result} |" for what, result in rows))
    return int(any(word in result for _, result in rows for word in ("OFF BY", "FAILED")))


if __name__ == "__main__":
    sys.exit(main())
