"""Every image gets its own transformation, within the limits, and the same one for the same generator."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from course_utils import load_mnist
from course_utils.engine import augment
from course_utils.engine.augment import AUGMENTATIONS, random_affine, random_flip, random_shift

DIGITS = load_mnist(subset=200, device="cpu").train.images
NONE = {"degrees": 0, "shift": 0, "scale": 0, "shear": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_equal_images_are_transformed_differently(name):
    images = DIGITS[:1].expand(64, -1, -1, -1)
    different = len(AUGMENTATIONS[name](images, generator()).flatten(1).unique(dim=0))
    assert different == (2 if name == "flip" else 64)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides_and_nothing_else(name):
    state, before = torch.get_rng_state(), DIGITS.clone()
    first = AUGMENTATIONS[name](DIGITS, generator(1))
    assert torch.equal(first, AUGMENTATIONS[name](DIGITS, generator(1)))
    assert not torch.equal(first, AUGMENTATIONS[name](DIGITS, generator(2)))
    again = generator(1)
    AUGMENTATIONS[name](DIGITS, again)
    assert not torch.equal(first, AUGMENTATIONS[name](DIGITS, again))  # the next epoch differs
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(DIGITS, before)


@given(
    name=st.sampled_from(sorted(AUGMENTATIONS)),
    n=st.integers(1, 5),
    channels=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_shape_type_and_range_are_kept(name, n, channels, height, width, seed):
    images = torch.rand(n, channels, height, width, generator=generator(seed))
    out = AUGMENTATIONS[name](images, generator(seed))
    assert out.shape == images.shape and out.dtype == images.dtype
    assert out.min() >= 0 and out.max() <= images.max() * (1 + 1e-5)


@given(height=st.integers(1, 12), width=st.integers(1, 12))
def test_no_range_is_no_change(height, width):
    images = torch.rand(3, 2, height, width, generator=generator(height))
    torch.testing.assert_close(
        random_affine(images, generator(), **NONE), images, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(random_shift(images, generator(), 0), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (7, 12)])
def test_the_grid_is_that_of_affine_grid(monkeypatch, height, width):
    """Read the sampling grid, solve for each image's matrix, and give the matrices to torch's own function."""
    grids = []

    def watched(images, grid, **options):
        grids.append(grid)
        assert options == {"align_corners": False}
        return functional.interpolate(images, grid.shape[1:3])

    monkeypatch.setattr(augment.functional, "grid_sample", watched)
    images = torch.rand(200, 1, height, width)
    random_affine(images, generator(), degrees=12, shift=0.08, scale=0.12, shear=0.12)
    neutral = functional.affine_grid(
        torch.eye(2, 3).expand(200, 2, 3), images.shape, align_corners=False
    )
    points = torch.cat([neutral.flatten(1, 2), torch.ones(200, height * width, 1)], 2)
    matrices = torch.linalg.lstsq(points, grids[0].flatten(1, 2)).solution.mT
    torch.testing.assert_close(
        grids[0],
        functional.affine_grid(matrices, images.shape, align_corners=False),
        rtol=0,
        atol=1e-5,
    )
    shifts = matrices[:, :, 2]
    assert shifts.abs().max() <= 0.16 + 1e-5  # 2 is the whole side in these coordinates
    assert (shifts.std(0) - 0.16 / 3**0.5).abs().max() < 0.02  # uniform within the limits
    assert len(matrices.round(decimals=5).unique(dim=0)) == 200
    determinants = torch.linalg.det(matrices[:, :, :2])
    assert determinants.min() > 0.6 and determinants.max() < 1.5  # neither mirrored nor flattened


def centroid(images):
    """[n, 2]: the centre of mass of each image, in pixels from the middle (x, y)."""
    size = images.shape[-1]
    places = torch.arange(size) - (size - 1) / 2
    mass = images.sum((1, 2, 3))
    x, y = ((images.sum((1, axis)) * places).sum(-1) / mass for axis in (2, 3))
    return torch.stack([x, y], -1)


def spot(x, y, size=29, n=300):
    images = torch.zeros(1, 1, size, size)
    images[..., y - 1 : y + 2, x - 1 : x + 2] = 1
    return images.expand(n, -1, -1, -1)


def test_shift_moves_both_ways_by_no_more_than_its_share_of_the_side():
    moved = centroid(random_shift(spot(14, 14), generator(), 0.1))
    assert moved.abs().max() <= 2.9 + 1e-3 and moved.abs().max() > 2.5
    assert moved.mean(0).abs().max() < 0.3
    assert torch.corrcoef(moved.mT)[0, 1].abs() < 0.2  # the two directions are drawn apart


def test_degrees_turn_around_the_middle():
    moved = centroid(random_affine(spot(22, 14), generator(), **NONE | {"degrees": 30}))
    angles = torch.atan2(moved[:, 1], moved[:, 0]).rad2deg()
    torch.testing.assert_close(moved.norm(dim=1), torch.full((300,), 8.0), rtol=0.02, atol=0)
    assert angles.abs().max() <= 30.5 and angles.abs().max() > 27 and angles.mean().abs() < 4


def test_scale_stretches_each_axis_by_itself():
    moved = centroid(random_affine(spot(22, 22), generator(), **NONE | {"scale": 0.2}))
    assert moved.min() >= 8 / 1.2 - 0.1 and moved.max() <= 8 / 0.8 + 0.1
    assert moved.std(0).min() > 0.5 and torch.corrcoef(moved.mT)[0, 1].abs() < 0.2


def test_shear_moves_rows_sideways_only():
    moved = centroid(random_affine(spot(14, 22), generator(), **NONE | {"shear": 0.2}))
    assert moved[:, 0].abs().max() <= 1.7 and moved[:, 0].std() > 0.5
    torch.testing.assert_close(moved[:, 1], torch.full((300,), 8.0), rtol=0.01, atol=0)


def test_what_enters_from_outside_is_black():
    out = random_affine(torch.ones(50, 1, 28, 28), generator(), **NONE | {"shift": 0.3})
    assert (out == 0).flatten(1).any(1).float().mean() > 0.9


def test_flip_mirrors_about_half_left_to_right():
    images = torch.rand(1000, 1, 4, 5, generator=generator())
    out = random_flip(images, generator())
    flipped = (out == images.flip(-1)).flatten(1).all(1)
    assert ((out == images).flatten(1).all(1) ^ flipped).all()
    assert 0.45 < flipped.float().mean() < 0.55
