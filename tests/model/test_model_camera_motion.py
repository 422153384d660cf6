"""Whether the camera moves, from made-up recordings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgevad.model.camera_motion import EVERY, NOTHING_SEEN, CameraDecision, CameraProbe
from edgevad.sources import Frame

FPS_HZ = 10.0


def texture(seed: int = 0) -> np.ndarray:
    """Blobs of every size, wider than a frame."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(0, 30, (n, 8 * n)).astype(np.float32), (960, 120)) for n in (4, 10, 30)]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def view(at_px: float, *, noise: float = 4.0, seed: int = 0) -> np.ndarray:
    """160x120 px of the texture, from column `at_px` on, through a noisy camera."""
    shift = np.array([[1, 0, -at_px], [0, 1, 0]], np.float32)
    image = cv2.warpAffine(texture(), shift, (160, 120), borderMode=cv2.BORDER_REFLECT)
    noisy = image[..., None] + np.random.default_rng(seed).normal(0, noise, (120, 160, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def frames(images: Iterable[np.ndarray], *, fps_hz: float = FPS_HZ) -> Iterator[Frame]:
    for k, image in enumerate(images):
        yield Frame(image, k, round(k * 1e9 / fps_hz), "made", 0)


def decision(items: Iterable[Frame]) -> CameraDecision:
    probe = CameraProbe()
    for frame in items:
        probe.push(frame)
    return probe.decision()


def test_a_view_that_shifts_is_a_camera_that_moves() -> None:
    seen = decision(frames(view(2.0 * k, seed=k) for k in range(60)))
    assert seen.moves
    assert seen.moving_share == 1.0
    # 2 px of 160 in every tenth of a second
    assert seen.median_widths_per_s == pytest.approx(0.125, rel=0.1)
    assert seen.looks == pytest.approx(60 / EVERY, abs=1)
    assert seen.seen == "The camera moves (the view shifts in 100% of 6 looks)"


def test_noise_alone_moves_nothing() -> None:
    seen = decision(frames(view(0.0, seed=k) for k in range(60)))
    assert not seen.moves
    assert seen.moving_share == 0.0
    assert 0 <= seen.median_widths_per_s < 0.005
    assert seen.seen == "The camera stands still (the view shifts in 0% of 6 looks)"


def test_what_crosses_a_still_view_does_not_move_the_camera() -> None:
    def crossed(k: int) -> np.ndarray:
        image = view(0.0, seed=k)
        cv2.rectangle(image, (3 * k % 160, 40), (3 * k % 160 + 30, 90), (20, 20, 220), -1)
        return image

    assert not decision(frames(crossed(k) for k in range(60))).moves


def test_a_vehicle_that_waits_most_of_the_time_still_moves() -> None:
    seen = decision(frames(view(2.0 * max(k - 100, 0), seed=k) for k in range(130)))
    assert 0.1 <= seen.moving_share < 0.5
    assert seen.moves


def test_a_camera_that_is_knocked_once_does_not() -> None:
    seen = decision(frames(view(0.0 if k < 300 else 40.0, seed=k) for k in range(301)))
    assert seen.looks >= 25
    assert not seen.moves


def test_neighbours_are_neighbours_in_time_of_one_segment() -> None:
    # Every segment is one frame, of another place: there is nothing to compare it with.
    cuts = [replace(frame, segment=frame.index) for frame in frames(view(10.0 * k) for k in range(40))]
    assert decision(cuts) == NOTHING_SEEN
    assert decision(replace(frame, segment=0, source_id=str(frame.index)) for frame in cuts) == NOTHING_SEEN
    assert decision(replace(frame, segment=0) for frame in cuts).looks == 4
    # At 400 Hz neighbours are too near: the view is looked at again once it has had time to move.
    fast = decision(frames((view(0.1 * k, seed=k) for k in range(200)), fps_hz=400.0))
    assert fast.median_widths_per_s == pytest.approx(0.1 * 400 / 160, rel=0.15)


def test_frames_that_change_size_are_not_compared() -> None:
    sizes = ((160, 120) if k % 2 else (160, 60) for k in range(60))
    assert decision(frames(cv2.resize(view(0.0), size) for size in sizes)) == NOTHING_SEEN


def test_of_nothing_it_is_taken_to_move() -> None:
    assert decision([]) == decision(frames([view(0.0)])) == NOTHING_SEEN
    assert NOTHING_SEEN.moves
    assert "Nothing could be seen" in NOTHING_SEEN.seen


@pytest.mark.parametrize("decided", [NOTHING_SEEN, CameraDecision(0.25, 0.0375, 8), CameraDecision(0.0, 0.001, 4000)])
def test_it_survives_json(decided: CameraDecision) -> None:
    value = json.loads(json.dumps(decided.to_json(), allow_nan=False))
    assert CameraDecision.from_json(value) == decided
    assert (value["moves"], value["seen"]) == (decided.moves, decided.seen)


@pytest.mark.parametrize("broken", [{}, {"moving_share": "x", "median_widths_per_s": 0, "looks": 1}, None])
def test_what_is_no_decision_is_refused(broken: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        CameraDecision.from_json(broken)  # type: ignore[arg-type]
