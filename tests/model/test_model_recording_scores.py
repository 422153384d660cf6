"""The training recording, scored as if no frame of it had been remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgevad.calibration.threshold import windowed_scores
from edgevad.model import recording_scores
from edgevad.model.bank import BankPlan, recurrence_rank
from edgevad.model.cache import CacheKey, FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.memory import EXCLUDED
from edgevad.model.recording_scores import RecordingScores, score_and_tell, score_recording
from edgevad.model.scoring import ScoringModule
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.runtime.window import WindowSpec
from edgevad.sources import Frame

MODEL = ModelConfig(size_px=16, width=4, depth=2, latent=8, cell_px=4)
ODD = range(100, 112)  # a bright square stands in the view for 1.2 s, and never again


def frames(count: int = 300, noise: float = 3.0) -> Iterator[Frame]:
    """A pattern that comes round every four seconds, with noise, for half a minute."""
    rng = np.random.default_rng(0)
    ramp = np.arange(24)
    for k in range(count):
        phase = 2 * np.pi * k / 40
        image = np.repeat((120 + 60 * np.sin(ramp[:, None] / 4 + phase + ramp / 9))[..., None], 3, axis=2)
        if k in ODD:
            image[4:12, 4:12] = 255
        yield Frame(
            np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8), k, k * 10**8, "made", 0
        )


def cache_of(model: ModelConfig, folder: Path) -> FrameCache:
    return FrameCache.build(folder, CacheKey(("made",), model.input), frames())


def module_of(model: ModelConfig, cache: FrameCache) -> ScoringModule:
    """Templates and statistics of the recording, as the trainer starts from them; never trained."""
    return Trainer(model, TrainConfig(batch_size=16), cache).module


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    return cache_of(MODEL, tmp_path_factory.mktemp("cache") / "c")


def bank_without_the_time_of(plan: BankPlan, coordinates: np.ndarray, frame: int) -> torch.Tensor:
    bank = plan.bank(coordinates)
    same = plan.same_time(np.array([frame]))[0]
    bank[same] = 0.0
    bank[same, -1] = EXCLUDED
    return torch.from_numpy(bank)


@torch.no_grad()
def test_a_frames_own_time_explains_nothing(cache: FrameCache) -> None:
    module = module_of(MODEL, cache)
    found = score_recording(module, cache)
    assert (found.score.shape, found.score.dtype) == ((300, 3), np.float32)
    assert found.plan is not None
    assert found.coordinates is not None
    detail, view = found.score[:, 1], found.score[:, 2]
    usual = np.setdiff1d(np.arange(300), ODD)
    assert detail[ODD].min() > detail[usual].max()
    assert view[ODD].min() > view[usual].max()
    # The vehicle, which remembers the square, would find nothing odd in it.
    bank = torch.from_numpy(found.plan.bank(found.coordinates))
    module.memory.rank.copy_(torch.eye(5)[0])  # type: ignore[union-attr]
    images = torch.from_numpy(cache.images[list(ODD)].copy())
    assert module(images, bank)[0][:, 2].max() < 1e-3


@torch.no_grad()
def test_each_frame_is_scored_as_with_a_bank_of_other_times_alone(cache: FrameCache) -> None:
    module = module_of(MODEL, cache)
    found = score_recording(module, cache)
    assert found.plan is not None
    assert found.coordinates is not None
    assert found.plan.times_s.tolist() == cache.elapsed_s().tolist()
    for k in (0, 105, 140, 299):  # in the first chunk, the odd ones, across chunks, the last
        images = torch.from_numpy(cache.images[k : k + 1].copy())
        expected = module(images, bank_without_the_time_of(found.plan, found.coordinates, k))[0][0]
        assert found.score[k] == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


def test_what_shall_be_forgotten_is_not_in_the_bank(cache: FrameCache) -> None:
    found = score_recording(module_of(MODEL, cache), cache)
    keep = np.ones(300, np.bool_)
    keep[ODD] = False
    bank = found.bank(keep)
    assert bank is not None
    assert found.coordinates is not None
    entries = bank[..., :-1][bank[..., -1] < EXCLUDED / 2]
    assert len(entries) == 300 - len(ODD)
    for odd in found.coordinates[ODD]:
        assert np.abs(entries - odd).max(axis=1).min() > 1e-6


@torch.no_grad()
def test_compared_with_the_usual_frames_an_odd_one_that_recurs_is_odd(cache: FrameCache) -> None:
    # The odd moment comes twice: at the second time the first explains it, unless that is not usual.
    images = np.array(cache.images)
    images[200 : 200 + len(ODD)] = images[ODD]
    twice = replace(cache, images=images)
    odd = np.r_[list(ODD), 200 : 200 + len(ODD)]
    usual = np.ones(300, np.bool_)
    usual[odd] = False
    module = module_of(MODEL, twice)
    known = score_recording(module, twice)
    found = score_recording(module, twice, usual=usual)
    assert (found.score[odd, 1] > 5 * known.score[odd, 1]).all()
    assert found.score[odd, 1].min() > found.score[usual, 1].max()
    bank = found.bank(np.ones(300, np.bool_))
    assert bank is not None
    assert (bank[..., -1] < EXCLUDED / 2).sum() == usual.sum()


def test_rows_to_calibrate_from_are_the_usual_ones_and_a_gap_begins_a_segment(cache: FrameCache) -> None:
    score = np.arange(300, dtype=np.float32)[:, None]
    usual = np.ones(300, np.bool_)
    usual[[100, 101, 299]] = False
    rows = RecordingScores(score, usual=usual).rows(cache)
    assert rows.score[:, 0].tolist() == [*range(100), *range(102, 299)]
    assert (rows.timestamp_ns == cache.timestamp_ns[usual]).all()
    assert rows.segment.tolist() == [0] * 100 + [1] * 197
    every = RecordingScores(score).rows(cache)
    assert every.score is score
    assert every.segment is cache.segment


def test_a_contaminated_recording_is_scored_by_its_usual_frames(
    cache: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of(MODEL, cache)
    plain = score_recording(module, cache)
    window, margins = WindowSpec("mean", 1.0), [0.0, 0.0, 0.0]
    assert (score_and_tell(module, cache, window, margins).score == plain.score).all()
    usual = np.arange(300) % 3 != 0
    asked = []

    def tell(*told: object) -> np.ndarray:
        asked.append(told)
        return usual

    monkeypatch.setattr(recording_scores, "usual_frames", tell)
    found = score_and_tell(module, cache, window, margins)
    ((windowed, segments, parts, told),) = asked
    assert (windowed == windowed_scores(plain.score, cache.timestamp_ns, cache.segment, window)).all()
    assert (segments is cache.segment, parts, told) == (True, ("residual", "detail", "view"), margins)
    assert found.usual is usual
    assert (found.score == score_recording(module, cache, usual=usual).score).all()
    assert (found.score != plain.score).any()


def rank_of(module: ScoringModule, cache: FrameCache) -> tuple[int, RecordingScores]:
    assert module.memory is not None
    module.memory.rank.zero_()
    found = score_recording(module, cache)
    assert sorted(module.memory.rank.tolist()) == [0.0, 0.0, 0.0, 0.0, 1.0]
    return int(module.memory.rank.argmax()), found


def test_the_rank_is_that_of_the_recordings_typical_frame(cache: FrameCache) -> None:
    rank, found = rank_of(module_of(MODEL, cache), cache)
    assert found.plan is not None
    assert found.coordinates is not None
    nearest = []
    for own, time_s in zip(found.coordinates, found.plan.times_s, strict=True):
        distances = []
        for episode in found.plan.frames:
            others = [k for k in episode if k >= 0 and abs(found.plan.times_s[k] - time_s) >= found.plan.apart_s]
            distances.append(min((np.square(found.coordinates[k] - own).sum() for k in others), default=np.inf))
        nearest.append(sorted(distances)[:5])
    assert rank == recurrence_rank(np.array(nearest, np.float32))


def test_a_view_that_comes_round_exactly_is_looked_for_in_the_fifth_episode(tmp_path: Path) -> None:
    cache = FrameCache.build(tmp_path / "c", CacheKey(("made",), MODEL.input), frames(noise=0.0))
    assert rank_of(module_of(MODEL, cache), cache)[0] == 4


@torch.no_grad()
def test_motion_is_judged_by_how_far_it_is_from_its_mean_at_each_place(tmp_path: Path) -> None:
    model = replace(MODEL, motion="difference", motion_lags_ms=(100, 200))
    cache = cache_of(model, tmp_path / "c")
    assert cache.motion is not None
    module = module_of(model, cache)
    found = score_recording(module, cache)
    assert module.config.parts == ("residual", "detail", "motion", "view")
    assert found.score.shape == (len(cache), 4)
    mean = np.asarray(cache.motion, np.float64).mean(axis=0)
    np.testing.assert_allclose(module.mean_motion.numpy(), mean, rtol=1e-4, atol=1e-4)
    squared = np.square(np.asarray(cache.motion[150], np.float64) - mean).mean(axis=2)
    fine, coarse = (
        max(
            squared[i : i + size, j : j + size].mean()
            for i in range(0, 16 - size + 1, step)
            for j in range(0, 16 - size + 1, step)
        )
        for size, step in ((4, 2), (8, 4))
    )
    assert found.score[150, 2] == pytest.approx((fine * coarse) ** 0.25, rel=1e-3)


@torch.no_grad()
def test_a_model_without_a_memory_has_no_bank(cache: FrameCache) -> None:
    model = replace(MODEL, score="patch", motion="none")
    module = module_of(model, cache)
    told: list[int] = []
    found = score_recording(module, cache, told.append)
    assert (found.plan, found.coordinates, found.bank(np.ones(300, np.bool_))) == (None, None, None)
    expected = module(torch.from_numpy(np.array(cache.images)))[0]
    assert found.score.shape == (300, 1)
    np.testing.assert_allclose(found.score, expected.numpy(), rtol=1e-4)
    assert told == [128, 256, 300]


def test_progress_is_told(cache: FrameCache) -> None:
    told: list[int] = []
    score_recording(module_of(MODEL, cache), cache, told.append)
    assert told == [128, 256, 300]
