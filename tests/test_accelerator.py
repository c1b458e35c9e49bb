"""A machine with a graphics card, simulated: no cell of any notebook mixes devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import simulated_accelerator as simulated
from pages import HERE, NOTEBOOKS

TOOL = Path(simulated.__file__)
# Those with most plain PyTorch in their cells; the tool runs the others too, in a minute each.
LESSONS = [
    path
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    if path.name[:2] in ("00", "01", "04", "11")
]


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_cell_mixes_devices(path, tmp_path):
    """Lesson and solutions, in a process of their own."""
    environment = os.environ | {"COURSE_RECORD": str(tmp_path)}
    command = [sys.executable, str(TOOL), path.stem]
    ran = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: there @ here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: torch.nn.functional.linear(there, here),
        lambda there, here: torch.nn.functional.cross_entropy(there, here.argmax(1)),
        lambda there, here: there * here[:1, 0],  # a single number in a tensor of one dimension
    ],
)
def test_mixing_is_noticed(mix):
    there, here = torch.ones(3, 3, device="meta"), torch.ones(3, 3)
    with simulated.Readable(), pytest.raises((RuntimeError, ValueError)) as caught:
        mix(there, here)
    assert simulated.is_mixed(caught.value), caught.value


def test_what_a_card_allows_is_allowed():
    there = torch.ones(4, 2, device="meta")
    with simulated.Readable():
        assert there.cpu().shape == there.to("cpu").shape == there.numpy().shape == (4, 2)
        assert isinstance(there.sum().item(), float) and f"{there.sum():.1f}"
        assert (there * torch.tensor(2.0)).device.type == "meta"
        assert there[there[:, 0] > 0].shape[1] == 2
        assert there[torch.tensor([0, 1])].shape == (2, 2)  # places may be the processor's
