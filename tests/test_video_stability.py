"""Stability: motion that is known, what is carried along, cuts, and what painting goes on from."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arbstyle import ArbstyleError
from arbstyle.video.cuts import CutDetector

cv2 = pytest.importorskip("cv2")

from arbstyle.video.flow import Motion, View, doubled  # noqa: E402
from arbstyle.video.stability import Stabilizer  # noqa: E402

CLIPS: dict[str, Any] = runpy.run_path(
    str(Path(__file__).resolve().parent.parent / "benchmarks" / "video.py"), run_name="benchmark"
)
HEIGHT, WIDTH = 96, 128
tensor, warping_error = CLIPS["tensor"], CLIPS["warping_error"]


@pytest.fixture(scope="module")
def pan() -> Any:
    return CLIPS["pan"](10, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def foreground() -> Any:
    return CLIPS["foreground"](10, HEIGHT, WIDTH)


def flickering(clip: Any, amount: float = 0.1) -> list[np.ndarray]:
    """A painter's answer to a clip: the frames, brighter and darker at random, with strokes of their own."""
    generator = np.random.default_rng(0)
    strokes = [cv2.blur(generator.normal(0, 1, frame.shape), (3, 3)) for frame in clip.frames]
    return [
        (frame * 0.8 + 0.1 + amount * stroke).clip(0, 1).astype(np.float32)
        for frame, stroke in zip(clip.frames, strokes, strict=True)
    ]


def steadied(clip: Any, painted: list[np.ndarray], stability: float = 0.8) -> list[np.ndarray]:
    steady = Stabilizer(stability)
    return [
        CLIPS["array"](steady(tensor(frame), tensor(one)))
        for frame, one in zip(clip.frames, painted, strict=True)
    ]


@pytest.mark.parametrize("name", ["pan", "foreground"])
def test_clips_of_known_flow_are_what_they_say(name: str, request: pytest.FixtureRequest):
    clip = request.getfixturevalue(name)
    assert warping_error(clip.frames, clip) == 0
    assert warping_error(clip.frames[::-1], clip) > 0.01


@pytest.mark.parametrize("name", ["pan", "foreground"])
def test_frames_carried_along_the_true_flow_are_the_later_ones(name: str, request: pytest.FixtureRequest):
    clip = request.getfixturevalue(name)
    moved, seen = CLIPS["carried"](clip.frames, clip, 1, 6)
    assert 0.3 < seen.mean() < 1
    assert np.array_equal(moved[seen], clip.frames[6][seen])


def test_motion_of_a_pan_is_found(pan: Any):
    motion = Motion(View(pan.frames[4]), View(pan.frames[3]))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    error = np.linalg.norm(motion.places - np.stack([x, y], axis=-1) - pan.flows[3], axis=2)
    inner = error[8:-8, 8:-8]
    assert np.median(inner) < 0.1
    assert motion.trust[8:-8, 8:-8].mean() > 0.9
    warped = motion.warp(pan.frames[3])
    assert np.abs(warped - pan.frames[4])[8:-8, 8:-8].mean() < 0.01


def test_camera_is_followed_and_what_moves_before_it_is_not(pan: Any, foreground: Any):
    steady = Stabilizer(0.8)
    for number, frame in enumerate(pan.frames):
        assert steady.look(tensor(frame)).origin == (number, 3 * number + number % 2)
    still = Stabilizer(0.8)
    assert {still.look(tensor(frame)).origin for frame in foreground.frames} == {(0, 0)}


def test_clear_sky_moves_with_the_camera(pan: Any):
    """Where no motion fits as well as the camera's, strokes go with the camera: they are painted so."""
    before, now = (
        np.concatenate([np.full((48, WIDTH, 3), 0.7, np.float32), frame]) for frame in pan.frames[:2]
    )
    motion = Motion(View(now), View(before))
    y, x = np.mgrid[:48, :WIDTH]
    moved = (motion.places[:48] - np.stack([x, y], axis=-1))[4:40, 8:-8]
    assert np.abs(moved - motion.pan).max() < 0.05


def test_flat_places_move_as_their_surroundings_do():
    """Far things pass at 1 pixel a frame, near ones at 6. What is flat among the far moves as they do."""
    texture = cv2.blur(np.random.default_rng(0).random((HEIGHT, WIDTH + 8, 3), np.float32), (3, 3))

    def frame(far: int, near: int) -> np.ndarray:
        scene = np.concatenate([texture[:40, far : far + WIDTH], texture[40:, near : near + WIDTH]])
        scene[8:30, 40 - far : 80 - far] = 0.5
        return scene

    motion = Motion(View(frame(1, 6)), View(frame(0, 0)))
    assert motion.pan == pytest.approx([6, 0], abs=0.1)
    moved = motion.places[:40, :, 0] - np.arange(WIDTH)
    assert np.abs(moved[10:28, 44:74] - 1).mean() < 1  # the camera's motion is 5 away


def test_motion_does_not_depend_on_what_was_looked_at_before(pan: Any):
    def places() -> np.ndarray:
        return Motion(View(pan.frames[4]), View(pan.frames[3])).places

    first = places()
    small = np.random.default_rng(0).random((32, 43, 3), np.float32)
    Motion(View(small), View(small[::-1]))
    assert np.array_equal(places(), first)


def test_what_comes_into_view_is_not_trusted():
    texture = cv2.blur(np.random.default_rng(0).random((110, 150, 3), np.float32), (3, 3))
    before, now = texture[:HEIGHT, :WIDTH], texture[4 : 4 + HEIGHT, 6 : 6 + WIDTH]
    trust = Motion(View(now), View(before)).trust
    assert trust[:-8, :-10].mean() > 0.9
    assert max(trust[:, -5:].mean(), trust[-3:].mean()) < 0.2


def test_what_is_uncovered_is_not_trusted_where_it_differs(foreground: Any):
    for number in range(1, 10):
        now, before = foreground.frames[number], foreground.frames[number - 1]
        motion = Motion(View(now), View(before))
        wrong = np.abs(motion.warp(before) - now).max(axis=2) > 0.3
        assert motion.trust[wrong].mean() < 0.5


@pytest.mark.parametrize("name", ["pan", "foreground"])
def test_flicker_becomes_a_third_and_contrast_stays(name: str, request: pytest.FixtureRequest):
    clip = request.getfixturevalue(name)
    painted = flickering(clip)
    steady = steadied(clip, painted)
    assert warping_error(steady, clip) < warping_error(painted, clip) / 3
    contrast = [cv2.Laplacian(frames[-1], cv2.CV_32F).std() for frames in (steady, painted)]
    assert contrast[0] > 0.6 * contrast[1]


def test_area_in_another_colour_is_not_carried_on():
    """Motion may fit where one pale thing passes before another; their paintings tell them apart."""
    film = torch.full((1, 3, HEIGHT, WIDTH), 0.9)
    first, second = torch.full_like(film, 0.2), torch.full_like(film, 0.2)
    second[..., 32:96] = 0.8
    steady = Stabilizer(0.8)
    steady(film, first)
    shown = steady(film, second)
    assert (shown - second)[..., 44:84].abs().max() < 0.01
    strokes = 0.1 * (torch.arange(WIDTH) % 4 < 2) - 0.05
    assert (steady(film, second + strokes) - shown).abs().mean() < 0.02  # of the 0.05 that they change


def test_strokes_are_not_worn_away_by_moving(pan: Any):
    """They come from an anchor, moved once: after nine frames they are as sharp as they were painted."""
    painted = flickering(pan)
    sharp = [cv2.Laplacian(frames[-1], cv2.CV_32F).std() for frames in (steadied(pan, painted), painted)]
    assert sharp[0] > 0.9 * sharp[1]


def test_fine_strokes_keep_their_contrast_between_pixels():
    def weave(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # stripes 2.7 pixels apart
        picture = 0.5 + 0.2 * (np.sin(2 * np.pi * x / 2.7) + np.sin(2 * np.pi * y / 2.7))
        return np.repeat(picture[..., None], 3, axis=2).astype(np.float32)

    x, y = np.meshgrid(np.arange(64.0), np.arange(48.0))
    still = View(weave(x, y))
    motion = Motion(still, still)
    motion.places = np.stack([x + 0.5, y - 0.37], axis=-1).astype(np.float32)
    middle = np.s_[8:-8, 8:-8]
    true = weave(x + 0.5, y - 0.37)[middle]
    fine = np.abs(motion.warp(doubled(weave(x, y)), doubled=True)[middle] - true).max()
    plain = np.abs(motion.warp(weave(x, y))[middle] - true).max()
    assert fine < 0.05 < 0.1 < plain


def test_doubling_leaves_the_pixels_alone_and_is_flat_where_they_are():
    picture = np.random.default_rng(0).random((9, 12, 3), np.float32)
    assert np.array_equal(doubled(picture)[::2, ::2], picture)
    assert np.allclose(doubled(np.full((9, 12, 3), 0.3, np.float32)), 0.3, atol=1e-6)


def test_ten_frames_apart_strokes_are_those_of_the_anchor(pan: Any):
    painted = flickering(pan)
    steady = steadied(pan, painted)
    apart = []
    for frames in (steady, painted):
        moved, seen = CLIPS["carried"](frames, pan, 0, 9)
        apart.append(np.abs(moved - frames[9])[seen].mean())
    assert apart[0] < 0.2 * apart[1]


def test_an_anchor_that_was_hardly_found_is_given_up(pan: Any):
    """A frame unlike all that follow, as in fast motion, must not stay what they are compared with."""
    tiles = np.indices((HEIGHT, WIDTH)).sum(axis=0) // 2 % 2 * 0.6 - 0.3
    frames = [0.3 + 0.4 * frame for frame in pan.frames]
    unlike = (cv2.blur(frames[0], (9, 9)) + tiles[..., None]).astype(np.float32)  # no cut: as light in large
    steady = Stabilizer(0.8)
    looks = [steady.look(tensor(frame)) for frame in (unlike, *frames)]
    assert looks[1].motion is not None
    assert looks[1].is_anchor
    places = [look.place - looks[1].place for look in looks[1:]]
    assert np.allclose(places, [(3 * number + number % 2, number) for number in range(10)], atol=0.5)


def test_texture_that_is_not_found_is_not_taken_for_noise():
    generator = np.random.default_rng(0)
    before, now = (generator.choice([0.2, 0.8], (HEIGHT, WIDTH, 3)).astype(np.float32) for _ in range(2))
    assert Motion(View(now), View(before)).trust.mean() < 0.05


def test_light_that_fades_is_followed(pan: Any):
    fading = [1 - 0.08 * number for number in range(10)]
    steady = Stabilizer(0.8)
    for light, frame in zip(fading, pan.frames, strict=True):
        frame = tensor(frame * light)
        painting = 0.8 * frame
        shown = steady(frame, painting)
        assert abs(float(shown.mean() - painting.mean())) < 4 * 0.08 * 0.8 * pan.frames[0].mean()  # its lag
    assert shown.mean() < 0.45 * pan.frames[0].mean()


def test_pale_features_that_move_are_not_smeared():
    """What differs by a tenth from its surroundings must be found where it is, or painted anew."""
    film = np.full((10, HEIGHT, WIDTH, 3), 0.8, np.float32)
    painted = film.copy()
    for number in range(10):
        left = 20 + 4 * number
        film[number, 40:48, left : left + 8] = 0.7
        painted[number, 40:48, left : left + 8] = 0.1
    steady = Stabilizer(0.8)
    for frame, one in zip(film, painted, strict=True):
        shown = CLIPS["array"](steady(tensor(frame), tensor(one)))
    wrong = np.abs(shown - painted[-1]).max(axis=2)
    assert wrong[36:52, 20:56].mean() < 0.015  # where it was
    assert wrong[40:48, 56:64].mean() < 0.13  # where it is, borders included


def test_what_comes_into_view_in_the_same_colour_is_not_trusted():
    def pale(seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(240, 320)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 4)
        return np.repeat((0.8 + 0.015 * smooth / smooth.std())[..., None], 3, axis=2)

    before, cloud = pale(0), pale(1)
    now = before.copy()
    before[60:180, 100:220] = now[60:180, 110:230] = cloud[60:180, 100:220]
    trust = Motion(View(now), View(before)).trust
    gap, moved, still = trust[70:170, 100:110], trust[80:160, 130:200], trust[:, :60]
    assert gap.mean() < 0.4
    assert moved.mean() > 0.9
    assert still.mean() > 0.9


def test_no_ghost_where_something_was(foreground: Any):
    """Where the still background is uncovered, it looks as painted, not as what covered it."""
    painted = [frame.copy() for frame in foreground.frames]
    steady = steadied(foreground, painted)
    for number in range(2, 10):
        uncovered = np.abs(painted[number] - painted[number - 1]).max(axis=2) > 0.3
        assert np.abs(steady[number] - painted[number])[uncovered].mean() < 0.06


def test_stability_0_changes_nothing(pan: Any):
    painted = flickering(pan)
    for one, other in zip(painted, steadied(pan, painted, 0), strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_more_stability_is_stiller(pan: Any):
    painted = flickering(pan)
    errors = [warping_error(steadied(pan, painted, amount), pan) for amount in (0, 0.4, 0.8)]
    assert errors == sorted(errors, reverse=True)


def test_nothing_is_carried_over_a_cut(pan: Any, foreground: Any):
    clip = CLIPS["cut"](10, HEIGHT, WIDTH)
    painted = flickering(clip)
    steady = steadied(clip, painted)
    assert np.allclose(steady[5], painted[5], atol=1e-6)
    assert not np.array_equal(steady[4], painted[4])
    detector = CutDetector()
    assert [detector(tensor(frame)) for frame in clip.frames] == [n in (0, 5) for n in range(10)]


def test_motion_and_light_are_no_cuts(pan: Any, foreground: Any):
    fading = [frame * (0.5 + 0.05 * number) for number, frame in enumerate(pan.frames)]
    for frames in (pan.frames, foreground.frames, fading):
        detector = CutDetector()
        assert [detector(tensor(frame)) for frame in frames] == [True] + [False] * 9


def test_painting_goes_on_from_a_state_exactly(pan: Any):
    painted = flickering(pan)
    whole = steadied(pan, painted)
    first, second = Stabilizer(0.8), Stabilizer(0.8)
    for number in range(5):
        first(tensor(pan.frames[number]), tensor(painted[number]))
    second.restore({name: value.clone() for name, value in first.state().items()})
    for number in range(5, 10):
        result = second(tensor(pan.frames[number]), tensor(painted[number]))
        assert np.array_equal(CLIPS["array"](result), whole[number])
    first.reset()
    assert first.state() == {}


def test_frames_of_another_size_begin_anew(pan: Any):
    steady = Stabilizer(0.8)
    steady(tensor(pan.frames[0]), tensor(pan.frames[0]))
    small = torch.rand(1, 3, 40, 20)
    assert torch.equal(steady(small, small), small)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2, 2)])
def test_tiny_frames(size: tuple[int, int]):
    steady = Stabilizer(0.8)
    for _ in range(3):
        frame = torch.rand(1, 3, *size)
        assert steady(frame, frame).shape == frame.shape


@pytest.mark.parametrize("stability", [-0.1, 1.1, float("nan")])
def test_stability_out_of_range(stability: float):
    with pytest.raises(ArbstyleError, match="from 0 to 1"):
        Stabilizer(stability)
