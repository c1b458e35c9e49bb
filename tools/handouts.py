"""Make the pages that a teacher prints: the claims without verdicts, and a quiz of the clinic.

    python tools/handouts.py [--seed 15] [--patients 6] [--folder build/handouts]

The quiz's patients are trained anew, on the bundled digits: the same seed deals the same ones to
everybody. The key is a file of its own, for the teacher.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from course_utils import load_mnist
from course_utils.lessons.claims.figures import plot_wall
from course_utils.lessons.claims.ledger import load_ledger
from course_utils.lessons.clinic.faults import FAULTS
from course_utils.lessons.clinic.figures import plot_chart
from course_utils.lessons.clinic.ward import Quiz, examine
from course_utils.plots import use_theme
from pages import HERE

A4 = (8.27, 11.69)  # inches, upright
MARGIN = 0.6
LARGEST = 20  # patients


def claims(path: Path) -> None:
    """Every claim of the course on one page, for a class to write its own verdicts on."""
    with PdfPages(path, metadata={"Title": "Claims about tuning, without their verdicts"}) as pdf:
        _save(pdf, plot_wall(load_ledger(), blank=True))


def quiz(path: Path, key: Path, seed: int, count: int) -> None:
    """A page of instructions, a healthy network, and one page for each patient; the key beside."""
    digits = load_mnist(subset=1000, image_size=14)
    patients = Quiz(digits, seed, count)
    healthy = examine("healthy", digits)
    with PdfPages(path, metadata={"Title": f"The clinic, quiz {seed}"}) as pdf:
        _save(pdf, _instructions(seed, count))
        _save(pdf, plot_chart(healthy, title="A healthy network, to compare with"))
        for number in patients.key():
            _save(pdf, plot_chart(patients.chart(number), healthy, f"Patient {number}"))
    with PdfPages(key, metadata={"Title": f"The clinic, key of quiz {seed}"}) as pdf:
        _save(pdf, _key(patients))


def _instructions(seed: int, count: int) -> Figure:
    names = "\n".join(f"    {name}" for name in sorted(FAULTS))
    lines = "\n\n".join(
        f"Patient {number}   diagnosis: {'.' * 34}  seen in: {'.' * 30}"
        for number in range(1, count + 1)
    )
    told = textwrap.fill(
        "Each patient is an ordinary training with at most one mistake in it. Its curves and facts "
        "stand on the following pages, with those of a healthy network in grey. Write down what is "
        "wrong, and the instrument in which you see it. One mark for each.",
        88,
    )
    return _page(
        f"The clinic, quiz {seed}", f"{told}\n\nThe possible diagnoses:\n\n{names}\n\n\n{lines}"
    )


def _key(patients: Quiz) -> Figure:
    rows = [
        f"Patient {number}: {fault}\n"
        + textwrap.indent(textwrap.fill(FAULTS[fault].sign, 84), "    ")
        for number, fault in patients.key().items()
    ]
    return _page(f"The clinic, key of quiz {patients.seed}", "\n\n".join(rows))


def _page(title: str, text: str) -> Figure:
    figure = plt.figure(figsize=A4, layout="none")
    left, top = MARGIN / A4[0], 1 - MARGIN / A4[1]
    figure.text(left, top, title, fontsize=16, fontweight="bold", va="top")
    figure.text(left, top - 0.05, text, fontsize=10, va="top", linespacing=1.35)
    return figure


def _save(pdf: PdfPages, figure: Figure) -> None:
    pdf.savefig(figure, bbox_inches="tight", pad_inches=MARGIN)
    plt.close(figure)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--seed", type=int, default=15, help="which patients are dealt")
    add("--patients", type=int, default=6, help=f"how many, 1 to {LARGEST}")
    add("--folder", type=Path, default=HERE / "build" / "handouts")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.patients <= LARGEST:
        parser.error(f"--patients: got {chosen.patients}, takes 1 to {LARGEST}")
    matplotlib.use("Agg")
    use_theme()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    names = ("claims.pdf", f"clinic_{chosen.seed}.pdf", f"clinic_{chosen.seed}_key.pdf")
    wall, sheets, key = (chosen.folder / name for name in names)
    claims(wall)
    quiz(sheets, key, chosen.seed, chosen.patients)
    print(f"To print, in {chosen.folder.name}: {', '.join(names)}. The last one is the teacher's.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
