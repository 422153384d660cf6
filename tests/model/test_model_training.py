"""The trainer end to end on tiny recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgevad.calibration.threshold import windowed_scores
from edgevad.errors import ModelError, OptionError, OutputError, SourceError, TrainingError
from edgevad.model.bank import FORGET_ABOVE, BankPlan
from edgevad.model.cache import CacheKey, FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.memory import EXCLUDED
from edgevad.model.scorer import scorer_from_model
from edgevad.model.trainer import TrainConfig, Trainer, explained_target
from edgevad.model.training import Observer, Stage, Training
from edgevad.sources import Frame
from edgevad.spec import InputSpec, MotionSpec

MODEL = ModelConfig(size_px=16, width=4, depth=2, latent=8, cell_px=4)
TRAIN = TrainConfig(batch_size=16, learning_rate=5e-3, round_steps=5, max_rounds=6)


def frames(count: int = 200, segments: int = 1, fps_hz: float = 10.0, size: int = 24) -> Iterator[Frame]:
    """A pattern that comes round every four seconds, with noise."""
    rng = np.random.default_rng(0)
    ramp = np.arange(size, dtype=np.float64)
    for k in range(count):
        phase = 2 * np.pi * k / (4 * fps_hz)
        view = 120 + 60 * np.sin(ramp[:, None] / 4 + phase) + 30 * np.cos(ramp[None, :] / 5 - phase)
        image = np.clip(view[..., None] + rng.normal(0, 4, (size, size, 3)), 0, 255).astype(np.uint8)
        yield Frame(image, k, round(k * 1e9 / fps_hz), "made", k * segments // count)


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return FrameCache.build(tmp_path / "cache", CacheKey(("made",), MODEL.input), frames())


def test_cache_holds_every_frame_and_opens_again_only_under_its_key(tmp_path: Path) -> None:
    key = CacheKey(("made",), InputSpec(16, 16, MotionSpec("difference", (200, 400))))
    built = FrameCache.build(tmp_path / "c", key, frames(50, segments=2))
    assert built.images.shape == (48, 16, 16, 3)  # the first frame of each segment has no past to move against
    assert built.motion is not None
    assert built.motion.shape == (48, 16, 16, 2)
    assert np.unique(built.segment).tolist() == [0, 1]
    assert built.duration_s == pytest.approx(4.6)
    again = FrameCache.open(tmp_path / "c", key)
    assert again is not None
    assert np.array_equal(again.images, built.images)
    assert FrameCache.open(tmp_path / "c", replace(key, sample_fps_hz=5.0)) is None
    (tmp_path / "c" / "images.u8").write_bytes(b"short")
    assert FrameCache.open(tmp_path / "c", key) is None


@pytest.mark.parametrize(("fps_hz", "kept"), [(30.0, 100), (25.0, 120), (10.0, 300), (5.0, 300)])
def test_cache_samples_by_time(tmp_path: Path, fps_hz: float, kept: int) -> None:
    key = CacheKey(("made",), MODEL.input, sample_fps_hz=10.0)
    count = len(FrameCache.build(tmp_path / "c", key, frames(300, fps_hz=fps_hz)))
    assert count == pytest.approx(kept, abs=2)


def test_cache_without_a_frame_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no frame"):
        FrameCache.build(tmp_path / "c", CacheKey(("made",), MODEL.input), iter(()))
    assert not (tmp_path / "c").exists()


def test_too_short_a_recording_is_refused(tmp_path: Path) -> None:
    short = FrameCache.build(tmp_path / "c", CacheKey(("made",), MODEL.input), frames(31))
    with pytest.raises(TrainingError, match="at least 32"):
        Trainer(MODEL, TRAIN, short)


def test_training_explains_the_recording_and_follows_its_seed(cache: FrameCache) -> None:
    first, same, other = (Trainer(MODEL, replace(TRAIN, seed=seed), cache) for seed in (0, 0, 1))
    for trainer in (first, same, other):
        assert trainer.fit()
    assert first.history.rows[-1]["explained"] > 0.5
    assert _weights(first) == _weights(same)
    assert _weights(first) != _weights(other)
    assert first.rule.done
    assert first.rule.reason


@pytest.mark.parametrize("stop_at", [3, 10, 17])
def test_a_stopped_run_goes_on_to_the_same_bits(cache: FrameCache, tmp_path: Path, stop_at: int) -> None:
    whole = Trainer(MODEL, TRAIN, cache)
    assert whole.fit()

    def interrupt(trainer: Trainer) -> None:
        if trainer.step == stop_at:
            trainer.stop()

    broken = Trainer(MODEL, TRAIN, cache)
    assert not broken.fit(tmp_path / "checkpoint.safetensors", interrupt)
    resumed = Trainer(MODEL, TRAIN, cache)
    resumed.restore(tmp_path / "checkpoint.safetensors")
    assert resumed.step == stop_at
    assert resumed.fit()
    assert _weights(resumed) == _weights(whole)
    timeless = [{k: v for k, v in row.items() if k != "frames_per_s"} for row in whole.history.rows]
    assert [{k: v for k, v in row.items() if k != "frames_per_s"} for row in resumed.history.rows] == timeless


def test_checkpoint_of_another_network_is_refused(cache: FrameCache, tmp_path: Path) -> None:
    Trainer(MODEL, TRAIN, cache).save(tmp_path / "a.safetensors")
    other = Trainer(replace(MODEL, latent=4), TRAIN, cache)
    with pytest.raises(ModelError, match="do not fit"):
        other.restore(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ModelError, match="cannot be read"):
        other.restore(tmp_path / "a.safetensors")


def test_entropy_lowers_entropy_and_the_controller_holds_its_target(cache: FrameCache) -> None:
    config = replace(TRAIN, learning_rate=2e-3, round_steps=50, max_rounds=12)
    free = Trainer(MODEL, replace(config, entropy_weight=0.0), cache)
    held = Trainer(MODEL, replace(config, explained_target=0.85), cache)
    free.fit()
    held.fit()
    assert held.history.rows[-1]["entropy_nats"] < free.history.rows[-1]["entropy_nats"]
    assert held.history.rows[-1]["explained"] == pytest.approx(0.85, abs=0.03)
    assert free.history.rows[-1]["explained"] > 0.95


def test_recurrence_sees_that_the_pattern_comes_round(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = (Frame(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8), k, round(k * 1e8), "noise") for k in range(600))
    recurring = FrameCache.build(tmp_path / "a", CacheKey(("a",), MODEL.input), frames(600))
    never = FrameCache.build(tmp_path / "b", CacheKey(("b",), MODEL.input), noise)
    seen = Trainer(MODEL, TRAIN, recurring).recurrence
    unseen = Trainer(MODEL, TRAIN, never).recurrence
    assert seen is not None
    assert unseen is not None
    assert seen > 0.9
    assert unseen < 0.1


def test_target_is_a_little_less_than_as_many_components_explain() -> None:
    for recurrence in (None, 0.1, 0.99):  # which is told, and decides nothing
        assert explained_target(MODEL, 0.8, recurrence) == pytest.approx(0.92 * 0.8)
    assert explained_target(replace(MODEL, score="patch", motion="flow"), 0.5, 0.9) == pytest.approx(0.92 * 0.5)


def test_target_of_motion_alone_follows_recurrence_and_falls_back_to_background() -> None:
    motion = replace(MODEL, appearance="none", motion="flow", score="patch")
    assert explained_target(motion, 0.9, 0.34) == 0.0
    assert explained_target(motion, 0.9, 0.7) == 0.7
    assert 0 < explained_target(motion, 0.9, None) < 1


@pytest.mark.parametrize("latent", [1, 3, 8])
def test_the_controller_is_given_the_share_that_the_templates_explain(cache: FrameCache, latent: int) -> None:
    trainer = Trainer(replace(MODEL, latent=latent), TRAIN, cache)
    gray = np.asarray(cache.images, np.float64) @ [0.114, 0.587, 0.299]
    flat = np.log(gray / 255 + 0.03).reshape(len(cache), -1)
    squared = np.square(np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False))
    assert trainer.template_share == pytest.approx(squared[:latent].sum() / squared.sum(), abs=2e-3)
    assert trainer.controller.target == trainer.rule.target == pytest.approx(0.92 * trainer.template_share)
    assert Trainer(MODEL, replace(TRAIN, explained_target=0.3), cache).controller.target == 0.3
    assert Trainer(MODEL, replace(TRAIN, entropy_weight=0.1), cache).controller.target is None


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 1}, {"learning_rate": 0.0}, {"entropy_weight": -1.0}, {"explained_target": 1.5}, {"sigma": 0.0}],
)
def test_senseless_training_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="expected"):
        TrainConfig(**wrong)  # type: ignore[arg-type]


@pytest.fixture
def drive(tmp_path: Path) -> str:
    import cv2

    folder = tmp_path / "drive"
    folder.mkdir()
    for frame in frames(160):
        cv2.imwrite(str(folder / f"{frame.index:04d}.png"), frame.image)
    return str(folder)


def test_training_leaves_a_model_folder(drive: str, tmp_path: Path) -> None:
    result = Training.start(Recipe((drive,), MODEL, TRAIN, name="tiny"), tmp_path / "model").run()
    folder = result.folder
    assert result.finished
    names = {path.name for path in folder.path.iterdir()}
    files = "config.json weights.safetensors calibration.json bank.npy scores.npz replay.npz sample.npz history.csv"
    assert names == {*files.split(), "history.png"}
    recipe, provenance = folder.read_recipe()
    # What was left to the recording is decided, and what was decided is what was trained.
    assert recipe == Recipe((drive,), replace(MODEL, motion="none"), TRAIN, name="tiny")
    assert (provenance["camera"]["moves"], provenance["motion"]) == (True, "none")
    assert provenance["frames"] == 160
    assert provenance["explained_target"] == pytest.approx(0.92 * provenance["template_share"])
    scores = folder.read_scores()
    assert scores.score.shape == (160, 3)
    calibration = folder.read_calibration()
    assert calibration == result.calibration
    assert calibration.names == ("residual", "detail", "view")
    assert folder.history_csv.read_text().splitlines()[0].startswith("round,step,loss,reconstruction,explained")
    with pytest.raises(OptionError, match="already"):
        Training.start(recipe, folder.path)
    with pytest.raises(OptionError, match="finished"):
        Training.resume(folder.path)


def test_what_stands_out_in_the_recording_is_not_remembered(drive: str, tmp_path: Path) -> None:
    folder = Training.start(Recipe((drive,), MODEL, TRAIN), tmp_path / "model").run().folder
    scores, calibration, bank = folder.read_scores(), folder.read_calibration(), folder.read_bank()
    windowed = windowed_scores(scores.score, scores.timestamp_ns, scores.segment, calibration.window)
    keep = calibration.anomaly_scores(windowed) <= FORGET_ABOVE
    frames_ = BankPlan.of(scores.timestamp_ns / 1e9, keep).frames
    assert 0 < keep.sum() < 160
    assert bank.shape == (*frames_.shape, MODEL.latent + 1)
    assert ((bank[..., -1] < EXCLUDED) == (frames_ >= 0)).all()
    assert (frames_ >= 0).sum() == keep.sum()


@pytest.fixture
def street(tmp_path: Path) -> str:
    """A camera that stands still, in front of which something goes to and fro."""
    import cv2

    folder = tmp_path / "street"
    folder.mkdir()
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(40, 220, (12, 16), dtype=np.uint8), (64, 48)).astype(np.float64)
    for k in range(120):
        image = np.repeat(wall[..., None], 3, axis=2)
        at = abs(k % 40 - 20) * 2
        image[20:30, at : at + 10] = 255
        noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{k:04d}.png"), noisy)
    return str(folder)


def test_where_the_camera_stands_still_motion_is_a_part(street: str, tmp_path: Path) -> None:
    result = Training.start(Recipe((street,), MODEL, TRAIN, fps_hz=10.0), tmp_path / "model").run()
    recipe, provenance = result.folder.read_recipe()
    assert recipe.model == replace(MODEL, motion="flow")
    assert (provenance["camera"]["moves"], provenance["motion"]) == (False, "flow")
    calibration = result.folder.read_calibration()
    assert calibration.names == ("residual", "detail", "motion", "view")
    # Nothing can be seen to recur in twelve seconds, so what moves decides alone.
    assert provenance["recurrence"] is None
    assert [part.margin for part in calibration.parts] == [None, None, 0.0, None]
    scores = result.folder.read_scores()
    assert scores.score.shape == (119, 4)  # the first frame has nothing to move against
    assert result.folder.read_sample()["motion"].shape == (16, 16, 16, 1)
    with scorer_from_model(result.folder.path) as scorer:
        assert scorer.input.motion == MotionSpec("flow", (200,))
        sample = result.folder.read_sample()
        assert scorer.backend.score(sample["frames"], sample["motion"]).score.shape == (16, 4)


@pytest.mark.parametrize("asked", [{"motion": "none"}, {"motion": "difference"}, {"score": "patch"}])
def test_what_was_asked_for_is_not_decided_by_the_camera(street: str, tmp_path: Path, asked: dict[str, str]) -> None:
    model = replace(MODEL, **asked)  # type: ignore[arg-type]
    folder = Training.start(Recipe((street,), model, TRAIN, fps_hz=10.0), tmp_path / "model").run().folder
    recipe, provenance = folder.read_recipe()
    # A single score has no part for motion: left to the recording, there is none.
    assert recipe.model == replace(model, motion=asked.get("motion", "none"))
    assert provenance["camera"]["moves"] is False
    assert folder.bank.exists() is (model.score == "parts")


class StopAt(Observer):
    """Stops a training when a stage, begun for the `time`-th time, has done `at` units."""

    def __init__(self, training: Training, stage: str, at: int, time: int = 1) -> None:
        self.training, self.wanted, self.at, self.left = training, stage, at, time
        self.now = ""

    def stage(self, stage: str, total: int | None) -> None:
        self.now = stage
        self.left -= stage == self.wanted

    def advance(self, done: int, trainer: Trainer | None = None) -> None:
        if self.now == self.wanted and self.left == 0 and done == self.at:
            self.training.stop()


def test_a_training_stopped_between_its_two_readings_decides_the_same_again(street: str, tmp_path: Path) -> None:
    recipe = Recipe((street,), MODEL, TRAIN, fps_hz=10.0)
    whole = Training.start(recipe, tmp_path / "whole").run()
    training = Training.start(recipe, tmp_path / "broken")
    assert not training.run(StopAt(training, "reading", 20, time=2)).finished
    training = Training.resume(tmp_path / "broken")
    assert not training.run(StopAt(training, "training", 12)).finished
    # It is known by now, so that going on reads nothing again.
    assert ModelFolder(tmp_path / "broken").read_recipe()[0].model.motion == "flow"
    training = Training.resume(tmp_path / "broken")
    final = training.run(StopAt(training, "reading", 1))
    assert final.finished
    assert final.folder.weights.read_bytes() == whole.folder.weights.read_bytes()
    assert np.array_equal(final.folder.read_bank(), whole.folder.read_bank())


def test_a_stopped_training_resumes_to_the_same_model(drive: str, tmp_path: Path) -> None:
    recipe = Recipe((drive,), MODEL, TRAIN)
    whole = Training.start(recipe, tmp_path / "whole").run()
    training = Training.start(recipe, tmp_path / "broken")
    assert not training.run(StopAt(training, "reading", 20)).finished
    training = Training.resume(tmp_path / "broken")
    assert not training.run(StopAt(training, "training", 12)).finished
    with pytest.raises(ModelError, match="edgevad train --resume"):
        ModelFolder(tmp_path / "broken").require_finished()
    final = Training.resume(tmp_path / "broken").run()
    assert final.finished
    a, b = load_file(whole.folder.weights), load_file(final.folder.weights)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert np.array_equal(whole.folder.read_scores().score, final.folder.read_scores().score)
    assert np.array_equal(whole.folder.read_bank(), final.folder.read_bank())


def test_a_model_is_replaced_only_when_its_successor_can_begin(drive: str, tmp_path: Path) -> None:
    recipe = Recipe((drive,), MODEL, TRAIN)
    folder = Training.start(recipe, tmp_path / "model").run().folder
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(SourceError):
        Training.start(replace(recipe, sources=("nowhere.mp4",)), folder.path, overwrite=True).run()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
    stopped = Training.start(recipe, folder.path, overwrite=True)
    stopped.stop()
    result = stopped.run()
    assert (result.finished, result.can_resume) == (False, False)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
    other = replace(recipe, train=replace(TRAIN, seed=5))
    assert Training.start(other, folder.path, overwrite=True).run().finished
    assert folder.weights.read_bytes() != before["weights.safetensors"]
    assert folder.read_recipe()[0] == replace(other, model=replace(MODEL, motion="none"))


def test_what_is_not_ours_is_never_touched(drive: str, tmp_path: Path) -> None:
    recipe = Recipe((drive,), MODEL, TRAIN)
    (tmp_path / "scores.npz").write_text("mine")
    with pytest.raises(OptionError, match=r"scores\.npz"):
        Training.start(recipe, tmp_path)
    (tmp_path / "scores.npz").unlink()
    (tmp_path / ".edgevad-cache").mkdir()
    (tmp_path / ".edgevad-cache" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not a cache"):
        Training.start(recipe, tmp_path).run()
    assert (tmp_path / ".edgevad-cache" / "mine.txt").read_text() == "mine"


def test_resuming_on_another_recording_is_refused(cache: FrameCache, tmp_path: Path) -> None:
    Trainer(MODEL, TRAIN, cache).save(tmp_path / "a.safetensors")
    other = FrameCache.build(tmp_path / "other", CacheKey(("other",), MODEL.input), frames(150))
    with pytest.raises(ModelError, match="not the one"):
        Trainer(MODEL, TRAIN, other).restore(tmp_path / "a.safetensors")


def test_a_cache_notices_that_its_folder_changed(drive: str, tmp_path: Path) -> None:
    for source in (drive, f"{drive}/*.png"):
        key = CacheKey((source,), MODEL.input)
        before = key.digest()
        assert key.digest() == before
        path = Path(drive) / "0003.png"
        path.write_bytes(path.read_bytes() + b"x")
        assert key.digest() != before


def test_a_cache_folder_of_the_users_keeps_what_was_in_it(drive: str, tmp_path: Path) -> None:
    precious = tmp_path / "scratch" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    Training.start(Recipe((drive,), MODEL, TRAIN), tmp_path / "model", cache=precious.parent).run()
    assert [path.name for path in precious.parent.iterdir()] == ["precious.txt"]
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda value: value.update(schema_version=99), "schema version"),
        (lambda value: value.update(schema_version=1), "model schema 1; expected schema version 2"),
        (lambda value: value["recipe"].pop("sources"), "cannot be read"),
        (lambda value: value["recipe"]["model"].update(score="best"), "one of parts, patch"),
    ],
)
def test_a_broken_model_configuration_is_one_clear_error(tmp_path: Path, damage: object, message: str) -> None:
    folder = ModelFolder(tmp_path)
    folder.write_recipe(Recipe(("x",), MODEL, TRAIN), {})
    value = json.loads(folder.config.read_text())
    damage(value)  # type: ignore[operator]
    folder.config.write_text(json.dumps(value))
    with pytest.raises(ModelError, match=message):
        folder.read_recipe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"x", "cannot be read"),
        (np.zeros((5, 2), np.float32), r"cannot be read \(float32 of shape \(5, 2\) is no bank"),
        (np.zeros((4, 2, 9), np.float32), r"cannot be read \(float32 of shape \(4, 2, 9\) is no bank of at least 5"),
        (np.zeros((5, 2, 8), np.float32), r"a bank of shape \(5, 2, 8\); expected \(E, m, 9\)"),
        (np.full((5, 2, 9), np.nan, np.float32), r"cannot be read \(not all of it are numbers\)"),
        (np.zeros((5, 2, 9)), r"cannot be read \(float64 of shape"),
        ({"bank": np.zeros((5, 2, 9), np.float32)}, "cannot be read"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_a_broken_bank_is_one_clear_error(tmp_path: Path, content: object, message: str) -> None:
    folder = ModelFolder(tmp_path)
    folder.write_recipe(Recipe(("x",), MODEL, TRAIN), {})
    if isinstance(content, bytes):
        folder.bank.write_bytes(content)
    elif content is not None:
        with folder.bank.open("wb") as stream:
            (np.savez(stream, **content) if isinstance(content, dict) else np.save(stream, content))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=rf"bank\.npy: {message}.*Train the model again"):
        folder.read_bank()


def _weights(trainer: Trainer) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in trainer.module.state_dict().values()]


def test_a_kept_cache_with_flow_is_not_read_again(street: str, tmp_path: Path) -> None:
    stages: list[str] = []

    class Noting(Observer):
        def stage(self, stage: Stage, total: int | None) -> None:
            stages.append(stage)

    recipe = Recipe((street,), MODEL, TRAIN, fps_hz=10.0)
    Training.start(recipe, tmp_path / "model", cache=tmp_path).run(Noting(), keep_cache=True)
    assert stages.count("reading") == 2
    stages.clear()
    result = Training.start(recipe, tmp_path / "model", overwrite=True, cache=tmp_path).run(Noting(), keep_cache=True)
    assert stages.count("reading") == 0
    assert result.provenance["motion"] == "flow"
