"""To ask a trained network for several views of each image. Notebook 15, section 2."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engine.data import Dataset, Split
from ...engine.history import History

AT_A_TIME = 500  # images that are asked in one call
# {number of views: (shift in pixels, mirrored, weight) of each}. Six as in airbench (Jordan, 2024).
VIEWS = {
    1: [(0, False, 1.0)],
    2: [(0, mirrored, 0.5) for mirrored in (False, True)],
    6: [
        (shift, mirrored, 0.125 if shift else 0.25)
        for shift in (0, -1, 1)
        for mirrored in (False, True)
    ],
}


def bfloat16_is_fast(device: torch.device | str = "cpu") -> bool:
    """Whether the device has instructions for bfloat16, or would only imitate it, slowly."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tells = kind == "cpu" and hasattr(torch.cpu, "get_capabilities")  # older torch does not
    able = torch.cpu.get_capabilities() if tells else {}
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def view(images: Tensor, shift: int, mirrored: bool) -> Tensor:
    """The images moved by ``shift`` pixels along the diagonal (-1, 0 or 1; the border is repeated),
    mirrored left to right, or both."""
    if shift:
        size, padded = images.shape[-1], functional.pad(images, (1, 1, 1, 1), mode="replicate")
        images = padded[..., 1 + shift : 1 + shift + size, 1 + shift : 1 + shift + size]
    return images.flip(-1) if mirrored else images


@torch.no_grad()
def answers(model: nn.Module, split: Split, views: int = 1, autocast: bool = False) -> Tensor:
    """Logits [image, class], averaged over so many views of each image: see ``VIEWS``."""
    model.eval()
    logits = []
    for images in split.images.split(AT_A_TIME):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            views_of = [
                weight * model(view(images, shift, mirrored)).float()
                for shift, mirrored, weight in VIEWS[views]
            ]
        logits.append(torch.stack(views_of).sum(0))
    return torch.cat(logits)


def ask(history: History, dataset: Dataset, views: int = 6, autocast: bool = False) -> History:
    """The same runs, judged anew on the validation images: by so many views of each.

    A copy, whose ``val_correct`` are those answers; its curves are still of one view, at every
    epoch alike. Runs that diverged stay as they are. Needs the networks that ``fit`` keeps.
    """
    asked = copy.deepcopy(history[:])
    for row in range(len(asked)):
        if not asked.diverged[row]:
            logits = answers(history.model(row), dataset.val, views, autocast)
            asked.val_correct[row] = (logits.argmax(1) == dataset.val.labels).cpu().numpy()
    return asked
