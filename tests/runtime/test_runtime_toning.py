from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgevad.bundle.tones import LOOKS, ToneCurves
from edgevad.runtime.backends.backend import Scores
from edgevad.runtime.toning import TonedBackend, looks, shares, toned, with_tones

IDENTITY = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
BRIGHTER = np.minimum(IDENTITY.astype(np.int64) * 2, 255).astype(np.uint8)


def pictures(count: int, level: float, seed: int = 0) -> np.ndarray:
    """Noise about `level`, which varies a little from picture to picture."""
    rng = np.random.default_rng(seed)
    mean = level + rng.normal(0, 3, (count, 1, 1, 3))
    return np.clip(mean + rng.normal(0, 6, (count, 16, 24, 3)), 0, 255).astype(np.uint8)


def one_condition(*, gain: float = 1.0, offset: float = 0.0) -> ToneCurves:
    """Home is about level 120; the other condition is half as bright."""
    home, dark = looks(pictures(50, 120)), looks(pictures(50, 60))
    within = np.concatenate([home - home.mean(axis=0), dark - dark.mean(axis=0)])
    return ToneCurves(
        BRIGHTER[None],
        np.stack([home.mean(axis=0), dark.mean(axis=0)]).astype(np.float32),
        np.linalg.inv(np.cov(within.T) + 1e-4 * np.eye(LOOKS)).astype(np.float32),
        np.full((1, 2), gain, np.float32),
        np.full((1, 2), offset, np.float32),
    )


class Brightness:
    """Scores a picture by its mean level, and by twice that; its heatmap is the level of the first part."""

    batch = None

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.bank: np.ndarray | None = None
        self.closed = 0

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        self.seen.append(frames)
        mean = frames.reshape(len(frames), -1).mean(axis=1).astype(np.float32)
        heat = np.broadcast_to(mean[:, None, None, None], (len(frames), 1, 2, 3)).copy()
        return Scores(np.stack([mean, 2 * mean], axis=1), heat, np.zeros((len(frames), 4), np.float32))

    def remember(self, bank: np.ndarray) -> None:
        self.bank = bank

    def close(self) -> None:
        self.closed += 1


def test_a_gain_shifts_the_mean_of_a_look_and_a_blur_lowers_its_differences() -> None:
    frames = pictures(5, 60)
    change = looks(frames * 2) - looks(frames)
    # The 0.03 in the logarithm takes a tenth of it.
    assert change[:, :3] == pytest.approx(0.9 * np.log(2.0), abs=0.03)
    flat = np.repeat(np.repeat(frames[:, ::4, ::4], 4, axis=1), 4, axis=2)
    assert (looks(flat)[:, 6:] < 0.5 * looks(frames)[:, 6:]).all()
    assert looks(frames[:0]).shape == (0, LOOKS)


def test_what_is_surely_of_one_condition_is_wholly_of_it() -> None:
    tones = one_condition()
    share = shares(tones, np.concatenate([pictures(20, 120, seed=1), pictures(20, 60, seed=2)]))
    assert share[:20].tolist() == [[1.0, 0.0]] * 20
    assert share[20:].tolist() == [[0.0, 1.0]] * 20
    between = shares(tones, np.stack([np.full((16, 24, 3), level, np.uint8) for level in range(60, 121)]))
    assert between.sum(axis=1) == pytest.approx(1.0)


def test_nothing_is_taken_from_a_condition_that_a_picture_is_hardly_of() -> None:
    tones = one_condition()
    soft = replace(tones, precision=(tones.precision * 0.03).astype(np.float32))
    between = np.concatenate([pictures(1, level, seed=1) for level in range(62, 118)])
    largest = shares(soft, between).max(axis=1)
    assert ((largest > 0.9) & (largest < 0.99)).any()
    assert (largest == 1).any()
    assert not ((largest > 0.99) & (largest < 1)).any()


def test_home_is_left_alone_and_the_other_condition_brought_there() -> None:
    tones = one_condition()
    home, dark = pictures(4, 120, seed=3), pictures(4, 60, seed=4)
    assert toned(tones, home, shares(tones, home)) is home
    before = dark.copy()
    found = toned(tones, dark, shares(tones, dark))
    assert np.array_equal(dark, before)
    assert np.array_equal(found, BRIGHTER[:, 0][dark])


def test_between_two_conditions_levels_lie_between() -> None:
    dark = pictures(1, 60)
    half = toned(one_condition(), dark, np.array([[0.5, 0.5]], np.float32))
    assert np.abs(half.astype(float) - 1.5 * dark).max() <= 1.0


def test_scores_and_heatmaps_of_the_other_condition_are_brought_to_the_units_of_home() -> None:
    backend = TonedBackend(Brightness(), one_condition(gain=0.5, offset=3.0))
    home, dark = pictures(3, 120, seed=5), pictures(3, 60, seed=6)
    found = backend.score(np.concatenate([home, dark]), None)
    plain = Brightness().score(home, None)
    assert np.array_equal(found.score[:3], plain.score)
    assert np.array_equal(found.heatmap[:3], plain.heatmap)
    amplitude = np.sqrt(Brightness().score(BRIGHTER[:, 0][dark], None).score)
    assert found.score[3:] == pytest.approx((0.5 * amplitude + 3.0) ** 2, rel=1e-5)
    assert found.heatmap[3:, 0, 1, 2] == pytest.approx(found.score[3:, 0], rel=1e-5)


def test_a_level_below_nothing_is_nothing_and_what_is_no_number_stays_none() -> None:
    backend = TonedBackend(Brightness(), one_condition(gain=1.0, offset=-1000.0))
    assert (backend.score(pictures(2, 60), None).score == 0).all()

    class Broken(Brightness):
        def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
            found = super().score(frames, motion)
            return Scores(found.score * np.nan, found.heatmap, found.latent)

    assert np.isnan(TonedBackend(Broken(), one_condition()).score(pictures(2, 60), None).score).all()


def test_what_is_beyond_all_numbers_is_not_warned_of_but_found_out() -> None:
    class Broken(Brightness):
        def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
            found = super().score(frames, motion)
            return Scores(np.full_like(found.score, 3e38), np.full_like(found.heatmap, 3e38), found.latent)

    found = TonedBackend(Broken(), one_condition(gain=2.0)).score(pictures(2, 60), None)
    assert np.isinf(found.score).all()
    assert np.isinf(found.heatmap).all()


def test_heatmaps_of_fewer_parts_stay_contiguous_and_what_is_negative_is_nothing() -> None:
    class Signed(Brightness):
        def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
            found = super().score(frames, motion)
            return Scores(found.score, np.asfortranarray(found.heatmap - np.float32(1e4)), found.latent)

    found = TonedBackend(Signed(), one_condition()).score(pictures(2, 60), None).heatmap
    assert (found == 0).all()
    assert found.shape == (2, 1, 2, 3)
    assert TonedBackend(Brightness(), one_condition(gain=2.0)).score(pictures(2, 60), None).heatmap.flags.c_contiguous
    assert found.dtype == np.float32


def test_curves_take_the_place_of_others_and_the_engine_within_is_the_same() -> None:
    engine = Brightness()
    first = with_tones(engine, one_condition())
    second = with_tones(first, one_condition(gain=2.0))
    assert isinstance(second, TonedBackend)
    assert second.bare is engine
    assert with_tones(second, None) is engine
    bank = np.ones((5, 2, 3), np.float32)
    second.remember(bank)
    second.close()
    assert engine.bank is bank
    assert engine.closed == 1
