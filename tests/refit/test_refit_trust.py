"""What is refused before anything is learned from it, and what must not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.bundle import Bundle
from edgevad.model.cache import FrameCache
from edgevad.refit.selection import Selection
from edgevad.refit.trust import Trust, TrustLimits, contamination
from edgevad.runtime.backends.backend import Scores

FRAMES = 400


class Told:
    """An engine that says what it is told, in order."""

    batch = None

    def __init__(self, score: np.ndarray) -> None:
        self._score = score
        self._done = 0

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        rows = slice(self._done, self._done + len(frames))
        self._done += len(frames)
        one = np.zeros((len(frames), 1), np.float32)
        return Scores(self._score[rows, None].astype(np.float32) ** 2, one[..., None, None], one)

    def remember(self, bank: np.ndarray) -> None: ...

    def close(self) -> None: ...


def chosen(
    weight: np.ndarray | None = None, *, images: np.ndarray | None = None, blind_share: float = 0.0
) -> Selection:
    """Two drives of textured frames, ten a second."""
    if images is None:
        images = np.random.default_rng(0).integers(0, 250, (FRAMES, 32, 32, 3)).astype(np.uint8)
    drive = (np.arange(FRAMES) * 2 // FRAMES).astype(np.int32)
    cache = FrameCache(images, None, np.arange(FRAMES, dtype=np.int64) * 10**8, drive, 0)
    nothing = np.zeros(FRAMES, np.bool_)
    weight = np.ones(FRAMES, np.float32) if weight is None else weight
    scores = np.full(FRAMES, np.nan, np.float32)
    return Selection(cache, weight, nothing, scores, drive, nothing, (), (), blind_share)


def asked(amplitude: np.ndarray, bundle: Path, selection: Selection | None = None) -> Trust:
    opened = Bundle.open(bundle)
    scale = opened.manifest.calibration.parts[0].scale
    return contamination(selection or chosen(), opened, backend=Told(20 * scale + scale * amplitude))


def normal(seed: int = 0) -> np.ndarray:
    """Deviates of a drive in which nothing is wrong, alike over a window's time."""
    return np.repeat(np.random.default_rng(seed).normal(0, 1, FRAMES // 10), 10)


def test_two_fifths_of_anomalies_are_refused(tiny_bundle: Path) -> None:
    amplitude = normal()
    anomalous = np.arange(FRAMES) % 100 >= 60
    found = asked(np.where(anomalous, amplitude + 9, amplitude), tiny_bundle)
    assert 0.25 < found.far_out < 0.45
    assert not found.trusted
    assert "an anomaly that would become usual" in found.reasons[0]
    assert "events mark" in found.reasons[0]


def test_a_calm_drive_is_not_held_against_its_own_calm_alone(tiny_bundle: Path) -> None:
    quiet = 0.2 * normal()
    lively = np.arange(FRAMES) % 100 >= 90  # 10 deviates of this drive's own, 2 of what the champion is used to
    found = asked(np.where(lively, quiet + 2, quiet), tiny_bundle)
    assert found.far_out == 0.0
    assert found.trusted


@pytest.mark.parametrize("change", ["none", "brighter", "spread", "calmer", "one drive only"])
def test_a_new_condition_is_not(tiny_bundle: Path, change: str) -> None:
    amplitude = normal()
    second = np.arange(FRAMES) >= FRAMES // 2
    changed = {
        "none": amplitude,
        "brighter": amplitude + 12,
        "spread": 3 * amplitude + 5,
        "calmer": 0.1 * amplitude,
        "one drive only": amplitude + 12 * second,
    }
    found = asked(changed[change], tiny_bundle)
    assert found.trusted
    assert found.far_out < 0.01
    assert found.standing_out < 0.1


def test_what_people_confirmed_is_not_counted(tiny_bundle: Path) -> None:
    amplitude = normal()
    anomalous = np.arange(FRAMES) % 100 >= 60
    amplitude = np.where(anomalous, amplitude + 9, amplitude)
    selection = chosen(np.where(anomalous, 0.0, 1.0).astype(np.float32))
    opened = Bundle.open(tiny_bundle)
    scale = opened.manifest.calibration.parts[0].scale
    told = Told((20 * scale + scale * amplitude)[~anomalous])
    found = contamination(selection, opened, backend=told)
    assert (found.trusted, found.frames) == (True, 240)


def test_a_lens_that_shows_nothing_is_refused(tiny_bundle: Path) -> None:
    flat = np.full((FRAMES, 32, 32, 3), 60, np.uint8)
    found = asked(normal(), tiny_bundle, chosen(images=flat))
    assert found.blind == 1.0
    assert found.reasons == (
        "In 100% of the images the lens showed nothing: black, covered or blurred. Clean it, and drive.",
    )
    logged = asked(normal(), tiny_bundle, chosen(blind_share=0.6))
    assert logged.blind == pytest.approx(0.6)
    assert not logged.trusted


def test_limits_can_be_set(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    found = contamination(
        chosen(blind_share=0.1), opened, limits=TrustLimits(blind=0.05), backend=Told(np.ones(FRAMES))
    )
    assert not found.trusted
    assert found.to_json()["trusted"] is False


def test_of_confirmed_events_alone_nothing_is_learned(tiny_bundle: Path) -> None:
    found = contamination(chosen(np.zeros(FRAMES, np.float32)), Bundle.open(tiny_bundle))
    assert found.frames == 0
    assert found.reasons == ("All of the frames are of events that people confirmed: nothing is left to learn from.",)
