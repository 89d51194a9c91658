"""Poisson blending against dense equations written down pixel by pixel, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arbstyle.compositing import blend_seamlessly, place
from arbstyle.errors import ArbstyleError


def dense_blend(
    source: np.ndarray, target: np.ndarray, inside: np.ndarray, mixed: bool, known: np.ndarray | None = None
) -> np.ndarray:
    """Pérez et al. 2003, equations 7 and 13, one row of a dense matrix after the other; H×W×C."""
    known = np.ones_like(inside) if known is None else known
    pixels = list(zip(*np.nonzero(inside), strict=True))
    number = {pixel: row for row, pixel in enumerate(pixels)}
    matrix = np.zeros((len(pixels), len(pixels)))
    right = np.zeros((len(pixels), source.shape[2]))
    for (y, x), row in number.items():
        for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= q[0] < inside.shape[0] and 0 <= q[1] < inside.shape[1]):
                continue
            if not (inside[q] or known[q]):
                continue
            matrix[row, row] += 1
            step = source[y, x] - source[q]
            if mixed and known[y, x] and known[q]:
                other = target[y, x] - target[q]
                step = np.where(np.abs(other) > np.abs(step), other, step)
            right[row] += step
            if inside[q]:
                matrix[row, number[q]] -= 1
            else:
                right[row] += target[q]
    result = target.copy()
    result[inside] = np.linalg.solve(matrix, right)
    return result.clip(0, 1)


def shapes() -> dict[str, np.ndarray]:
    y, x = np.mgrid[:27, :38]
    disc = (y - 13) ** 2 + (x - 18) ** 2 < 90
    ring = disc & ((y - 13) ** 2 + (x - 18) ** 2 > 20)
    random = np.random.default_rng(5).random((27, 38)) < 0.6
    return {
        "disc": disc,
        "ring": ring,
        "touches the frame": y < 15,
        "fills the frame but for a pixel": (y != 20) | (x != 30),
        "touches a corner": (y < 9) & (x > 30),
        "two pieces": (disc & (x < 14)) | ((x > 30) & (y > 20)),
        "one pixel": (y == 3) & (x == 4),
        "scattered": random,
        "one column": x == 37,
    }


def as_picture(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.transpose(2, 0, 1)[None].astype(np.float32))


def as_mask(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array[None, None].astype(np.float32))


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:27, :38]
    smooth = np.stack([0.4 + 0.1 * np.sin(x / 5), 0.5 + 0.004 * y, 0.45 + 0.1 * np.cos(y / 7)], axis=-1)
    return smooth + generator.uniform(-0.04, 0.04, smooth.shape), generator.uniform(0.4, 0.6, smooth.shape)


@pytest.mark.parametrize("gradients", ["normal", "mixed"])
@pytest.mark.parametrize("shape", shapes())
def test_equals_a_dense_solve(shape: str, gradients, pictures):
    source, target = pictures
    inside = shapes()[shape]
    expected = dense_blend(source, target, inside, gradients == "mixed")
    result = blend_seamlessly(as_picture(source), as_picture(target), as_mask(inside), gradients)
    assert np.abs(result[0].numpy().transpose(1, 2, 0) - expected).max() <= 2e-4


@pytest.mark.parametrize("gradients", ["normal", "mixed"])
def test_unknown_neighbours_do_not_count(gradients, pictures):
    source, target = pictures
    inside = shapes()["disc"]
    known = np.random.default_rng(1).random(inside.shape) < 0.5
    expected = dense_blend(source, target, inside, gradients == "mixed", known)
    spoiled = np.where(known[..., None], target, np.random.default_rng(2).random(target.shape))
    result = blend_seamlessly(
        as_picture(source), as_picture(spoiled), as_mask(inside), gradients, background_known=as_mask(known)
    )
    assert np.abs(result[0].numpy().transpose(1, 2, 0) - expected)[inside].max() <= 2e-4


@pytest.mark.parametrize("gradients", ["normal", "mixed"])
@pytest.mark.parametrize("shape", shapes())
def test_background_outside_is_unchanged(shape: str, gradients, pictures):
    source, target = (as_picture(picture) for picture in pictures)
    outside = ~torch.from_numpy(shapes()[shape])
    result = blend_seamlessly(source, target, as_mask(shapes()[shape]), gradients)
    assert torch.equal(result[..., outside], target[..., outside])


def test_a_picture_blended_into_a_brighter_copy_of_itself_takes_the_brightness(pictures):
    source = as_picture(pictures[0])
    result = blend_seamlessly(source, source + 0.1, as_mask(shapes()["two pieces"]))
    torch.testing.assert_close(result, source + 0.1, atol=2e-4, rtol=0)


def test_a_mask_without_border_pastes_the_foreground(pictures):
    source, target = (as_picture(picture) for picture in pictures)
    torch.testing.assert_close(blend_seamlessly(source, target, torch.ones(1, 1, 27, 38)), source)


def test_mixed_gradients_without_border_keep_the_foregrounds_mean(pictures):
    source, target = (as_picture(picture) for picture in pictures)
    result = blend_seamlessly(source, target, torch.ones(1, 1, 27, 38), "mixed")
    torch.testing.assert_close(result.mean((2, 3)), source.mean((2, 3)), atol=0.01, rtol=0)


def test_a_large_blend_reaches_its_tolerance():
    """A harmonic membrane is known in closed form, at a size where slow convergence would show."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 600), torch.linspace(0, 1, 800), indexing="ij")
    harmonic = 0.3 + 0.2 * (x * x * 799**2 - y * y * 599**2) / 799**2 + 0.3 * x * y
    inside = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2
    flat, target = torch.full((1, 3, 600, 800), 0.5), harmonic.expand(1, 3, -1, -1)
    result = blend_seamlessly(flat, target, inside.float()[None, None])
    assert float((result - target).abs().max()) <= 5e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.zeros(1, 1, 27, 38)}, "nothing to blend"),
        ({"mask": torch.ones(1, 1, 27, 37)}, "1×1×27×38"),
        ({"foreground": torch.ones(1, 3, 5, 5)}, "1×3×27×38"),
        ({"gradients": "both"}, "normal or mixed"),
    ],
)
def test_bad_arguments(change: dict, message: str, pictures):
    source, target = (as_picture(picture) for picture in pictures)
    arguments = {"foreground": source, "background": target, "mask": torch.ones(1, 1, 27, 38)}
    with pytest.raises(ArbstyleError, match=message):
        blend_seamlessly(**{**arguments, **change})


@pytest.mark.parametrize(
    ("at", "rows", "columns"),
    [
        (None, (3, 7), (2, 8)),
        ((0, 0), (0, 4), (0, 6)),
        ((-2, 8), (8, 10), (0, 4)),
        ((7, -3), (0, 1), (7, 10)),
    ],
)
def test_a_foreground_lies_where_it_was_placed(at, rows, columns):
    pixels = torch.arange(1, 25).view(1, 1, 4, 6).expand(1, 3, 4, 6) / 25
    placed = place(pixels, None, (10, 10), at=at)
    reached = torch.zeros(10, 10)
    reached[slice(*rows), slice(*columns)] = 1
    assert torch.equal(placed.alpha[0, 0], reached)
    assert torch.equal(placed.mask[0, 0], reached)
    left, top = at or (2, 3)
    assert placed.pixels[0, 0, rows[0], columns[0]] == pixels[0, 0, rows[0] - top, columns[0] - left]


def test_scaling_does_not_mix_hidden_colours_in():
    pixels, alpha = torch.full((1, 3, 8, 8), 0.25), torch.ones(1, 1, 8, 8)
    alpha[..., :3] = 0
    pixels[..., :3] = 1
    placed = place(pixels, None, (4, 4), alpha=alpha, scale=0.5)
    visible = placed.pixels[(placed.alpha > 0.05).expand(-1, 3, -1, -1)]
    torch.testing.assert_close(visible, torch.full_like(visible, 0.25))


@pytest.mark.parametrize("options", [{"at": (10, 0)}, {"at": (0, -4)}, {"scale": 0.0}, {"scale": -1.0}])
def test_places_that_do_not_exist(options: dict):
    with pytest.raises(ArbstyleError, match=r"outside the background|scale"):
        place(torch.ones(1, 3, 4, 4), None, (10, 10), **options)
