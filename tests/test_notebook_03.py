"""Notebook 03: its helpers measure what they say, its lab survives its extremes, its checks tell right from tempting."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from course_utils import Config, load_mnist, make_mlp, train
from course_utils.topics import t03

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = {"03_batch_size.ipynb": False, "solutions/03_batch_size_solutions.ipynb": True}


@pytest.fixture(scope="module")
def tiny():
    return load_mnist(subset=60, image_size=7, device="cpu")


# --- exercises ------------------------------------------------------------------------------------------------------


def exercises(name: str) -> list[str]:
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    wanted = {"exercise", "solution"}
    return ["".join(cell["source"]) for cell in cells if wanted & set(cell["metadata"].get("tags", []))]


@pytest.mark.parametrize(("name", "passes"), NAMES.items())
def test_starters_fail_and_solutions_pass(name, passes, shell):
    sources = exercises(name)
    assert len(sources) == 5
    for source in sources:
        shell.reset(new_session=False)
        shell.push({"t03": t03, "torch": torch, "functional": functional, "np": np})
        result = shell.run_cell(source).result
        assert bool(result) is passes, result
        assert passes or len(result.message) > 40


def test_updates():
    def by_loader(images, batch_size, epochs, drop_last):
        return epochs * len(DataLoader(range(images), batch_size, drop_last=drop_last))

    assert t03.check_updates(by_loader)
    for wrong in (None, lambda *_: None, lambda n, b, e, d: e * (n // b), lambda n, b, e, d: e * -(-n // b),
                  lambda n, b, e, d: -(-n * e // b)):
        assert not t03.check_updates(wrong)


def test_accumulation():
    def by_sum(model, images, labels, part):
        for some, right in zip(images.split(part), labels.split(part), strict=True):
            (functional.cross_entropy(model(some), right, reduction="sum") / len(images)).backward()

    def by_number_of_parts(model, images, labels, part):
        parts = list(zip(images.split(part), labels.split(part), strict=True))
        for some, right in parts:
            (functional.cross_entropy(model(some), right) / len(parts)).backward()

    def whole(model, images, labels, part):
        functional.cross_entropy(model(images), labels).backward()

    assert t03.check_accumulation(by_sum)
    assert "ten images" in t03.check_accumulation(by_number_of_parts).message
    for wrong in (whole, None, lambda *_: None):
        assert not t03.check_accumulation(wrong)


def test_noise_scale():
    def by_ratio(small_square, big_square, small, big):
        r = small_square / big_square
        return small * big * (r - 1) / (big - r * small)

    assert t03.check_noise_scale(by_ratio)
    for wrong in (None, lambda s, g, b, c: (s - g) / (1 / b - 1 / c) / g, lambda s, g, b, c: s / g, lambda *_: 3.0):
        assert not t03.check_noise_scale(wrong)


def test_growing_batches():
    def as_lists(images, sizes, seed):
        order = np.random.default_rng(seed)
        return [list(part) for size in sizes for part in np.split(order.permutation(images), range(size, images, size))]

    def drops_last(images, sizes, seed):
        generator = torch.Generator().manual_seed(seed)
        for size in sizes:
            yield from (part for part in torch.randperm(images, generator=generator).split(size) if len(part) == size)

    def with_replacement(images, sizes, seed):
        generator = torch.Generator().manual_seed(seed)
        for size in sizes:
            yield from torch.randint(images, (images,), generator=generator).split(size)

    def unseeded(images, sizes, seed):
        for size in sizes:
            yield from torch.randperm(images).split(size)

    assert t03.check_growing(as_lists)
    for wrong in (None, drops_last, with_replacement, unseeded, lambda *_: []):
        assert not t03.check_growing(wrong)


def test_fastest_batch():
    assert t03.check_fastest(lambda a, b, c: round((a * c / b) ** 0.5))
    for wrong in (None, lambda a, b, c: a / b, lambda a, b, c: c * a / b, lambda a, b, c: 0,
                  lambda a, b, c: (a / b + c) / 2):
        assert not t03.check_fastest(wrong)


# --- helpers --------------------------------------------------------------------------------------------------------


def test_validation_losses_are_those_of_the_networks(tiny):
    configs = [Config(optimizer="sgd", learning_rate=rate, batch_size=16, epochs=2, width=8, seed=1) for rate in (0.1, 0.5)]
    for count in (1, 2):
        for run in train(configs[:count], tiny):
            found = t03.validation_losses(run)
            for index in run.indices:
                wanted = functional.cross_entropy(run.model(index)(tiny.val.images), tiny.val.labels).item()
                assert found[index] == pytest.approx(wanted, rel=1e-4)


def test_the_race_stops_with_its_winner(tiny):
    fields = {"most_epochs": 20, "seeds": 3, "optimizer": "sgd", "width": 16}
    arrived = t03.race(10, [1e-6, 0.3, 1e6], tiny, 1.6, **fields)
    assert arrived.shape == (3, 3) and np.isfinite(arrived[1]).all()
    assert np.isinf(arrived[[0, 2]]).all()                 # too slow, and diverged
    assert np.isinf(t03.race(10, [1e-6], tiny, 1e-3, **fields)).all()
    assert (t03.race(10, [0.3], tiny, 100.0, **fields) == 1).all()


def test_timing_trains_really():
    data = load_mnist(subset=50, image_size=7, device="cpu").train
    model = make_mlp(49, 8)
    before = functional.cross_entropy(model(data.images), data.labels).item()
    taken = t03.seconds_per_update(model, data, 20, repeats=3, least=0.002)
    assert taken.shape == (3,) and (taken > 0).all()
    assert functional.cross_entropy(model(data.images), data.labels).item() < before


@pytest.mark.parametrize("workers", [0, 1])
def test_png_images_also_from_a_spawned_worker(tiny, workers):
    images = t03.PngImages(tiny.train.first(8), side=28)
    loader = DataLoader(images, 4, num_workers=workers, multiprocessing_context="spawn" if workers else None)
    batches = list(loader)
    assert torch.cat([labels for _, labels in batches]).equal(tiny.train.labels[:8])
    assert torch.cat([batch for batch, _ in batches]).sub(tiny.train.images[:8]).abs().mean() < 0.05


# --- the lab --------------------------------------------------------------------------------------------------------


def test_the_lab_survives_its_extremes():
    lab = t03.batch_size_lab(load_mnist(subset=100, image_size=7, device="cpu"))
    assert np.isfinite(lab.result.table).all()
    seen = {lab.picture.value}
    lab.controls["epochs"].value = 1
    for name, control in lab.controls.items():
        for value in dict.fromkeys([control.options[0][1], control.options[-1][1]]):
            if control.value == value:
                continue
            control.value = value
            assert lab.values[name] == value and np.isfinite(lab.result.table).all()
            assert lab.picture.value not in seen and "training" not in lab.status.value
            seen.add(lab.picture.value)
    lab.reset()
    assert lab.values == {"batch_size": 16, "learning_rate": 0.1, "momentum": 0.0, "epochs": 3}


def test_the_map_is_learnt_once_and_fills_in_live():
    lab = t03.batch_size_lab(load_mnist(subset=100, image_size=7, device="cpu"))
    fresh = lab.values | {"epochs": 1}
    filled = [int(np.isfinite(result.table).all(1).sum()) for result in lab.run(fresh)]
    assert filled[0] == 0 and filled[-1] == len(lab.result.batches) and set(filled) == set(range(filled[-1] + 1))
    again = list(lab.run(fresh | {"learning_rate": 1.0}))
    assert len(again) == 1                                 # one epoch of the chosen pair, and no row left to fill


def test_a_map_cut_short_has_no_half_row():
    lab = t03.batch_size_lab(load_mnist(subset=100, image_size=7, device="cpu"))
    values = lab.values | {"epochs": 10}
    running = lab.run(values)
    for _ in range(12):
        result = next(running)
    running.close()
    assert (np.isfinite(result.table).all(1) | np.isnan(result.table).all(1)).all()
    *_, result = lab.run(values)
    assert np.isfinite(result.table).all() and "best rate by batch size" in t03.describe_landscape(result)
