"""Adapting and refitting a tiny model, stopped, killed, paused and under a budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgevad._files import sha256_of
from edgevad.bundle.replay import Replay
from edgevad.errors import ModelError, OptionError, RefitError
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.leaving import facts_of, leave, versions
from edgevad.model.scorer import scorer_from_model
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.refit.finetune import Depth, FineTuneOptions, FineTuning, adapt, refit
from edgevad.refit.observer import RefitObserver
from edgevad.refit.selection import Selection

MODEL = ModelConfig(size_px=16, width=4, depth=2, latent=8, cell_px=4, motion="none")
TRAIN = TrainConfig(batch_size=16, learning_rate=5e-3, round_steps=5, max_rounds=8)
# What must come out the same, to the bit, however often a run was stopped.
SAME = ("weights.safetensors", "bank.npy", "calibration.json", "scores.npz", "replay.npz", "sample.npz", "config.json")


def drive(count: int, light: float = 1.0, seed: int = 0) -> FrameCache:
    rng = np.random.default_rng(seed)
    ramp = np.arange(16)
    phase = 2 * np.pi * np.arange(count)[:, None, None] / 40
    view = light * (120 + 60 * np.sin(ramp[:, None] / 4 + phase) + 30 * np.cos(ramp / 5 - phase))
    images = np.clip(view[..., None] + rng.normal(0, 4, (count, 16, 16, 3)), 0, 255).astype(np.uint8)
    return FrameCache(images, None, np.arange(count) * 100_000_000, np.zeros(count, np.int32), 0)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = ModelFolder(tmp_path_factory.mktemp("champion") / "model")
    trainer = Trainer(MODEL, TRAIN, drive(300))
    trainer.fit()
    trainer.history.write_csv(folder.history_csv)
    leave(folder, Recipe(("drive.mp4",), MODEL, TRAIN, name="tiny"), trainer, versions() | facts_of(trainer))
    return folder.path


@pytest.fixture(scope="module")
def chosen() -> Selection:
    selection = Selection.of_recording(drive(300, light=0.6, seed=1), "tuesday")
    weight = np.where(np.arange(300) < 30, 0.25, 1.0).astype(np.float32)
    return replace(selection, weight=weight, in_event=weight < 1)


class Stopper(RefitObserver):
    """Stops a run at a step, as a signal does, or breaks it off, as a power cut does."""

    def __init__(self, at: int, stage: str = "learning", *, kill: bool = False) -> None:
        self.at, self.where, self.kill, self.now = at, stage, kill, ""
        self.run: FineTuning | None = None

    def stage(self, what: str, total: int | None = None) -> None:
        self.now = what

    def advance(self, done: int) -> None:
        if self.now == self.where and done >= self.at:
            if self.kill:
                raise KeyboardInterrupt
            assert self.run is not None
            self.run.stop()


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME}


@pytest.mark.parametrize("depth", ["adapt", "refit"])
def test_a_model_comes_out_that_scores_and_says_where_it_comes_from(
    depth: Depth, champion: Path, chosen: Selection, tmp_path: Path
) -> None:
    run = adapt if depth == "adapt" else refit
    found = run(champion, chosen, None, tmp_path / "new")
    assert found.finished
    assert found.spent_s > 0
    found.folder.require_finished()
    assert {path.name for path in found.folder.path.iterdir()} == {*SAME, "history.csv", "history.png"}
    recipe, provenance = found.folder.read_recipe()
    assert recipe.sources == ("tuesday",)
    made = provenance["refit"]
    assert made["depth"] == depth
    assert made["parent"] == sha256_of(champion / "weights.safetensors")
    assert made["drives"][0]["name"] == "tuesday"
    assert [entry["depth"] for entry in made["lineage"]] == ["train"]
    assert made["frames"] == int(chosen.learnable.sum())
    assert made["doubted_frames"] == 30
    assert sha256_of(found.folder.weights) != made["parent"]
    scorer = scorer_from_model(tmp_path / "new")
    assert np.isfinite(scorer.backend.score(chosen.cache.images[:2], None).score).all()
    again = run(found.folder.path, chosen, None, tmp_path / "third")
    lineage = again.provenance["refit"]["lineage"]
    assert [entry["depth"] for entry in lineage] == ["train", depth]
    assert lineage[1]["drives"][0]["name"] == "tuesday"
    assert again.provenance["replay_stands_for"] > provenance["replay_stands_for"]


@pytest.mark.parametrize("depth", ["adapt", "refit"])
@pytest.mark.parametrize(("at", "stage"), [(3, "learning"), (12, "learning"), (128, "scoring")])
def test_a_killed_run_goes_on_to_the_same_bits(
    depth: Depth, at: int, stage: str, champion: Path, chosen: Selection, tmp_path: Path
) -> None:
    whole = FineTuning(depth, champion, chosen, None, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        FineTuning(depth, champion, chosen, None, tmp_path / "killed").run(Stopper(at, stage, kill=True))
    resumed = FineTuning(depth, champion, chosen, None, tmp_path / "killed").run()
    assert resumed.finished
    assert bytes_of(resumed.folder.path) == bytes_of(whole.folder.path)


def test_a_stopped_run_saves_and_goes_on_and_a_finished_one_is_not_done_again(
    champion: Path, chosen: Selection, tmp_path: Path
) -> None:
    whole = refit(champion, chosen, None, tmp_path / "whole")
    stopper = Stopper(7)
    stopper.run = FineTuning("refit", champion, chosen, None, tmp_path / "new")
    stopped = stopper.run.run(stopper)
    assert not stopped.finished
    with pytest.raises(ModelError, match="not finished"):
        stopped.folder.require_finished()
    finished = refit(champion, chosen, None, tmp_path / "new")
    assert bytes_of(finished.folder.path) == bytes_of(whole.folder.path)
    before = finished.folder.weights.stat().st_mtime_ns
    assert refit(champion, chosen, None, tmp_path / "new").finished
    assert finished.folder.weights.stat().st_mtime_ns == before


def test_an_unfinished_run_of_other_frames_is_begun_anew(champion: Path, chosen: Selection, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        FineTuning("refit", champion, chosen, None, tmp_path / "new").run(Stopper(8, kill=True))
    other = replace(chosen, weight=np.ones(300, np.float32))
    expected = refit(champion, other, None, tmp_path / "expected")
    assert bytes_of(refit(champion, other, None, tmp_path / "new").folder.path) == bytes_of(expected.folder.path)
    with pytest.raises(OptionError, match="another model"):
        refit(champion, chosen, None, tmp_path / "new")


def test_a_pause_computes_nothing_and_changes_nothing(
    champion: Path, chosen: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevad.refit.finetune.POLL_S", 0.001)
    whole = refit(champion, chosen, None, tmp_path / "whole")
    asked: list[bool] = []

    def drives_now() -> bool:
        asked.append(len(asked) % 5 < 3)
        return asked[-1]

    paused = refit(champion, chosen, None, tmp_path / "paused", pause=drives_now)
    assert sum(asked) > 5
    assert bytes_of(paused.folder.path) == bytes_of(whole.folder.path)


def test_a_budget_ends_the_run_early_with_a_model(champion: Path, chosen: Selection, tmp_path: Path) -> None:
    short = refit(champion, chosen, None, tmp_path / "short", options=FineTuneOptions(budget_minutes=1e-4))
    assert short.finished
    assert "budget" in short.provenance["stopped_because"]
    assert short.provenance["rounds"] <= 3
    whole = refit(champion, chosen, None, tmp_path / "whole")
    ample = refit(champion, chosen, None, tmp_path / "ample", options=FineTuneOptions(budget_minutes=60))
    assert bytes_of(ample.folder.path) == bytes_of(whole.folder.path)
    with pytest.raises(OptionError, match="budget"):
        FineTuneOptions(budget_minutes=0)


def test_what_cannot_be_refitted_is_refused(champion: Path, chosen: Selection, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model there"):
        refit(tmp_path / "nothing", chosen, None, tmp_path / "new")
    with pytest.raises(OptionError, match="own folder"):
        refit(champion, chosen, None, champion)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text(json.dumps({"mine": True}))
    with pytest.raises(OptionError, match=r"config\.json is there already"):
        refit(champion, chosen, None, tmp_path / "taken")
    few = replace(chosen, weight=np.where(np.arange(300) < 5, 1, 0).astype(np.float32))
    with pytest.raises(RefitError, match="5 frames to learn from"):
        refit(champion, few, None, tmp_path / "new")
    assert (tmp_path / "taken" / "config.json").read_text() == '{"mine": true}'
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "weights.safetensors"):
        (bare / name).write_bytes((champion / name).read_bytes())
    with pytest.raises(RefitError, match="no frames of what it learned"):
        refit(bare, chosen, None, tmp_path / "new")


def test_frames_that_are_chosen_again_are_not_learned_from_the_replay(
    champion: Path, chosen: Selection, tmp_path: Path
) -> None:
    """What was learned from last time may be held out this time."""
    before = ModelFolder(champion).read_replay()
    last_time = Replay.of(chosen.cache, np.zeros(300), np.ones(300, np.bool_), frames=100, max_bytes=1 << 20)
    assert before is not None
    assert last_time is not None
    run = FineTuning("refit", champion, chosen, before.joined(last_time), tmp_path / "new")
    mixture = run._mixture()
    assert mixture.earlier.sum() == len(before)
    assert np.array_equal(mixture.cache.images[mixture.earlier], before.images)
    # Of nothing else: what is held out is left out all the same.
    mixture = FineTuning("refit", champion, chosen, last_time, tmp_path / "other")._mixture()
    held = {image.tobytes() for image in chosen.cache.images[chosen.held_out]}
    assert mixture.earlier.any()
    assert not any(image.tobytes() in held for image in np.asarray(mixture.cache.images))
