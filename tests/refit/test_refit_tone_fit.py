from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from edgevad.bundle.bundle import TrainingScores
from edgevad.bundle.tones import MOST_CONDITIONS, ToneCurves
from edgevad.calibration import calibrate
from edgevad.refit.tone_fit import find_tones, levelled, relevelled
from edgevad.runtime.backends.backend import Scores
from edgevad.runtime.toning import TonedBackend, shares, toned
from edgevad.runtime.window import WindowSpec

PLACES, SIZE = 12, 16


class ByShape:
    """Remembers of a picture what its pattern is, whatever its light: coordinates that a network has to learn."""

    def __init__(self, tones: ToneCurves | None = None) -> None:
        self.tones = tones

    def with_tones(self, tones: ToneCurves | None) -> ByShape:
        return ByShape(tones)

    def coordinates(self, frames: np.ndarray) -> np.ndarray:
        if self.tones is not None:
            frames = toned(self.tones, frames, shares(self.tones, frames))
        flat = frames.reshape(len(frames), -1).astype(np.float32)
        # A little of the level stays in, as it does in a network's.
        return np.asarray((flat - flat.mean(axis=1, keepdims=True)) / 40.0 + flat.mean() / 400.0, dtype=np.float32)


def scenes() -> np.ndarray:
    """A pattern for each place, from dark places to bright ones."""
    rng = np.random.default_rng(7)
    mean = np.linspace(60, 150, PLACES)[:, None, None, None]
    return np.clip(mean + 25 * rng.normal(size=(PLACES, SIZE, SIZE, 3)), 5, 250)


def drive(places: list[int], seed: int, *, laps: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chosen = scenes()[places * laps]
    return np.clip(chosen + rng.normal(0, 2, chosen.shape), 0, 255).astype(np.uint8)


def gamma(images: np.ndarray, power: float = 1.5, colour: tuple[float, float, float] = (0.75, 0.9, 1.0)) -> np.ndarray:
    return np.asarray(np.rint(np.clip(255 * np.array(colour) * (images / 255.0) ** power, 0, 255)), dtype=np.uint8)


EVERYWHERE = list(range(PLACES))


def undone(tones: ToneCurves | None, seen: np.ndarray, meant: np.ndarray) -> float:
    """By how many levels pictures are off, on average, after their curve."""
    assert tones is not None
    found = toned(tones, seen, shares(tones, seen))
    return float(np.abs(found.astype(int) - meant).mean())


def test_another_light_is_undone_although_other_places_were_passed() -> None:
    known = drive(EVERYWHERE, 0)
    # The brighter half of the places alone: matched as a whole, these would be taken for the average ones.
    bright = drive(EVERYWHERE[PLACES // 2 :], 1, laps=24)
    found = find_tones(gamma(bright), known, ByShape(), 2)
    assert found.added
    assert found.tones is not None
    assert undone(found.tones, gamma(bright), bright) < 3.0
    assert undone(found.tones, gamma(drive(EVERYWHERE, 2)), drive(EVERYWHERE, 2)) < 4.0
    assert np.array_equal(toned(found.tones, known, shares(found.tones, known)), known)
    assert (np.diff(found.tones.curves[0].astype(int), axis=0) >= 0).all()
    assert "tone curve" in found.sentence


def test_the_same_light_needs_no_curve() -> None:
    found = find_tones(drive(EVERYWHERE, 1), drive(EVERYWHERE, 0), ByShape(), 2)
    assert (found.tones, found.added, found.sentence) == (None, False, "")


def test_too_few_pictures_tell_nothing() -> None:
    few = drive(EVERYWHERE, 1)[:30]
    assert not find_tones(gamma(few), drive(EVERYWHERE, 0), ByShape(), 2).added
    assert not find_tones(gamma(drive(EVERYWHERE, 0)), few, ByShape(), 2).added


def test_a_picture_without_contrast_is_not_stretched_into_one() -> None:
    grey = np.full((100, SIZE, SIZE, 3), 90, np.uint8)
    film = np.clip(90 + 0.1 * (drive(EVERYWHERE, 1).astype(float) - 100), 0, 255).astype(np.uint8)
    for images in (grey, film):
        found = find_tones(images, drive(EVERYWHERE, 0), ByShape(), 2)
        assert not found.added
        assert "more than a tone curve may undo" in found.sentence


def test_what_single_pictures_do_not_tell_is_not_toned() -> None:
    rng = np.random.default_rng(3)
    known = drive(EVERYWHERE, 0)
    # Every picture has a light of its own; the new ones are darker on average, and no single one shows that.
    light = rng.uniform(0.35, 1.0, (len(known), 1, 1, 1))
    old, new = known * light, drive(EVERYWHERE, 1) * rng.uniform(0.25, 0.85, light.shape)
    found = find_tones(new.astype(np.uint8), old.astype(np.uint8), ByShape(), 2)
    assert not found.added
    assert "do not tell the conditions apart" in found.sentence


def test_a_second_light_is_told_from_the_first_and_the_fifth_takes_a_place() -> None:
    known = drive(EVERYWHERE, 0)
    tones = None
    lights = [
        (1.5, (0.75, 0.9, 1.0)),
        (0.7, (1.0, 0.8, 0.9)),
        (2.2, (1.0, 1.0, 0.8)),
        (1.0, (0.5, 0.5, 0.6)),
        (1.6, (0.8, 0.6, 1.0)),
    ]
    for number, (power, colour) in enumerate(lights):
        new = gamma(drive(EVERYWHERE, number + 1), power, colour)
        found = find_tones(new, known, ByShape(tones), 2)
        assert found.added
        tones = found.tones
        assert tones is not None
        assert len(tones) == min(number + 1, MOST_CONDITIONS)
        assert undone(tones, new, drive(EVERYWHERE, number + 1)) < 4.0
    assert undone(tones, gamma(drive(EVERYWHERE, 9), *lights[-1]), drive(EVERYWHERE, 9)) < 4.0
    # The one most like it gave way, no other.
    off = [undone(tones, gamma(drive(EVERYWHERE, 9), *light), drive(EVERYWHERE, 9)) for light in lights]
    assert sum(levels < 4.0 for levels in off) == MOST_CONDITIONS
    assert np.array_equal(toned(tones, known, shares(tones, known)), known)


def test_scores_of_the_new_condition_get_location_and_scale_of_home() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(2000, dtype=np.int64) * 100_000_000

    def rows(location: tuple[float, float], scale: tuple[float, float]) -> TrainingScores:
        amplitude = np.array(location) + np.array(scale) * rng.normal(size=(2000, 2))
        return TrainingScores(np.square(amplitude).astype(np.float32), times, np.zeros(2000, np.int32))

    before, new = rows((5.0, 8.0), (0.4, 0.5)), rows((9.0, 4.0), (0.8, 0.25))
    window = WindowSpec("mean", 0.1)
    like = calibrate(before.score, times, before.segment, window, 1.0, parts=("residual", "view"))
    known = drive(EVERYWHERE, 0)
    tones = find_tones(gamma(known), known, ByShape(), 2).tones
    assert tones is not None
    images = gamma(drive(EVERYWHERE, 1))[np.arange(2000) % len(known)]
    done = levelled(tones, new, before, like)
    mapped = relevelled(new, images, tones, done)
    again = calibrate(mapped.score, times, mapped.segment, window, 1.0, parts=("residual", "view"))
    for part, home in zip(again.parts, like.parts, strict=True):
        assert part.location == pytest.approx(home.location, abs=0.1)
        assert part.scale == pytest.approx(home.scale, rel=0.05)
    assert done.gain[0] == pytest.approx([0.5, 2.0], rel=0.1)
    wild = replace(new, score=new.score * np.float32(1e6))
    assert levelled(tones, wild, before, like).gain.min() >= 0.2 - 1e-6


class ByLevel:
    """Scores a picture by its mean levels of blue and green."""

    batch = None

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        mean = frames.astype(np.float32).mean(axis=(1, 2))[:, :2]
        return Scores(mean, np.zeros((len(frames), 1, 2, 2), np.float32), mean)

    def remember(self, bank: np.ndarray) -> None: ...

    def close(self) -> None: ...


def test_scores_get_the_level_of_the_condition_that_their_picture_is_of() -> None:
    known = drive(EVERYWHERE, 0)
    first = find_tones(gamma(known), known, ByShape(), 2).tones
    assert first is not None
    first = replace(first, gain=np.array([[0.7, 1.4]], np.float32), offset=np.array([[0.5, -0.5]], np.float32))
    other = gamma(drive(EVERYWHERE, 1), 0.7, (1.0, 0.8, 0.9))
    tones = find_tones(other, known, ByShape(first), 2).tones
    assert tones is not None
    done = replace(tones, gain=tones.gain.copy(), offset=tones.offset.copy())
    done.gain[-1], done.offset[-1] = (2.0, 0.5), (1.0, -1.0)
    between = (known[:30].astype(int) + gamma(known[:30], 0.7, (1.0, 0.8, 0.9))) // 2
    images = np.concatenate([known[:30], gamma(known[:30]), other[:30], between.astype(np.uint8)])
    share = shares(tones, images)
    assert [set(share[k : k + 30].argmax(axis=1)) for k in (0, 30, 60)] == [{0}, {1}, {2}]
    scored = [TonedBackend(ByLevel(), one).score(images, None).score for one in (tones, done)]
    times = np.arange(len(images), dtype=np.int64)
    rows = TrainingScores(scored[0], times, np.zeros(len(images), np.int32))
    assert relevelled(rows, images, tones, done).score == pytest.approx(scored[1], rel=1e-4)
    assert np.array_equal(relevelled(rows, images, tones, done).score[:30], scored[0][:30])


class BySmallShape(ByShape):
    def with_tones(self, tones: ToneCurves | None) -> BySmallShape:
        return BySmallShape(tones)

    def coordinates(self, frames: np.ndarray) -> np.ndarray:
        return super().coordinates(frames[:, ::8, ::8])


def test_a_drive_is_not_held_in_memory_several_times() -> None:
    rng = np.random.default_rng(0)
    places = np.clip(rng.uniform(60, 150, (20, 1, 1, 3)) + 25 * rng.normal(size=(20, 64, 64, 3)), 5, 250)
    known = places.astype(np.uint8)[np.arange(60) % 20]
    recent = gamma(known)[np.arange(1500) % 60]
    tracemalloc.start()
    try:
        assert find_tones(recent, known, BySmallShape(), 2).added
        assert tracemalloc.get_traced_memory()[1] < 1.5 * recent.nbytes
    finally:
        tracemalloc.stop()
