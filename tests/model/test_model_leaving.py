"""What is remembered where a run learned under two conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.calibration import calibrate
from edgevad.model import recording_scores
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.leaving import facts_of, leave, versions
from edgevad.model.memory import EXCLUDED
from edgevad.model.trainer import TrainConfig, Trainer

MODEL = ModelConfig(size_px=16, width=4, depth=2, latent=8, cell_px=4, motion="none")
TRAIN = TrainConfig(batch_size=16, learning_rate=5e-3, round_steps=5, max_rounds=5)
COUNT = 240


def two_conditions() -> FrameCache:
    """A pattern that comes round, first with much noise, then with little."""
    rng = np.random.default_rng(0)
    ramp = np.arange(16)
    phase = 2 * np.pi * np.arange(COUNT)[:, None, None] / 40
    view = 120 + 60 * np.sin(ramp[:, None] / 4 + phase) + 30 * np.cos(ramp / 5 - phase)
    noise = rng.normal(0, 1, (COUNT, 16, 16, 3)) * np.where(np.arange(COUNT) < COUNT // 2, 12, 2)[:, None, None, None]
    images = np.clip(view[..., None] + noise, 0, 255).astype(np.uint8)
    return FrameCache(images, None, np.arange(COUNT) * 100_000_000, np.zeros(COUNT, np.int32), 0)


def remembered(folder: ModelFolder) -> list[int]:
    """Entries of the bank's episodes of the first half, and of the second."""
    bank = folder.read_bank()
    entries = (bank[..., -1] < EXCLUDED).sum(axis=1)
    return [int(half.sum()) for half in np.array_split(entries, 2)]


def test_what_stands_out_is_told_within_each_condition(tmp_path: Path) -> None:
    cache = two_conditions()
    trainer = Trainer(MODEL, TRAIN, cache)
    trainer.fit()
    condition = (np.arange(COUNT) >= COUNT // 2).astype(np.int8)
    recipe = Recipe(("drive.mp4",), MODEL, TRAIN)
    found = {}
    for name, given in (("together", None), ("apart", condition)):
        folder = ModelFolder(tmp_path / name)
        seen: list[float] = []

        def keep(anomaly: np.ndarray, _: object, seen: list[float] = seen) -> None:
            seen.extend(float(np.median(half)) for half in np.array_split(anomaly, 2))

        leave(folder, recipe, trainer, versions() | facts_of(trainer), condition=given, replay=keep)
        found[name] = (remembered(folder), seen, folder.read_calibration())
    (noisy, quiet), medians, calibration = found["together"]
    assert noisy < quiet / 2  # as a whole it stood out
    assert medians[0] > medians[1] + 1
    (noisy, quiet), medians, same = found["apart"]
    assert noisy > 0.6 * quiet
    assert abs(medians[0] - medians[1]) < 0.5
    assert same == calibration  # the threshold is that of both together


def test_the_limit_may_be_one_for_each_frame(tmp_path: Path) -> None:
    trainer = Trainer(MODEL, TRAIN, two_conditions())
    trainer.fit()
    folder = ModelFolder(tmp_path / "model")
    limit = np.where(np.arange(COUNT) < COUNT // 2, -np.inf, np.inf)
    leave(folder, Recipe(("d",), MODEL, TRAIN), trainer, versions() | facts_of(trainer), remember_below=limit)
    assert remembered(folder)[0] == 0
    assert remembered(folder)[1] > 50


def test_a_contaminated_recording_leaves_its_usual_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(MODEL, TRAIN, two_conditions())
    trainer.fit()
    recipe = Recipe(("d",), MODEL, TRAIN)
    usual = np.arange(COUNT) >= COUNT // 2
    monkeypatch.setattr(recording_scores, "usual_frames", lambda *_: usual)
    folder = ModelFolder(tmp_path / "told")
    provenance = versions() | facts_of(trainer)
    calibration = leave(folder, recipe, trainer, provenance)
    assert remembered(folder)[0] == 0
    assert remembered(folder)[1] > 50
    rows = folder.read_scores()
    assert len(rows.score) == usual.sum()
    replay = folder.read_replay()
    assert replay is not None
    assert replay.timestamp_ns.min() >= COUNT // 2 * 100_000_000
    # Another window or budget is calibrated from these rows, as this one was.
    again = calibrate(
        rows.score,
        rows.timestamp_ns,
        rows.segment,
        recipe.window,
        recipe.alarms_per_hour,
        parts=MODEL.parts,
        margins=[0.0, 0.0, 0.0],
    )
    assert again == calibration == folder.read_calibration()
    assert provenance["decisions"]["contamination"].startswith("50% of the frames stand out")
    # Of two conditions one stands out as a whole, and is not to be forgotten for that.
    apart = ModelFolder(tmp_path / "apart")
    provenance = versions() | facts_of(trainer)
    leave(apart, recipe, trainer, provenance, condition=(~usual).astype(np.int8))
    assert remembered(apart)[0] > 50
    assert len(apart.read_scores().score) == COUNT
    assert "contamination" not in provenance["decisions"]
