"""What training leaves: a folder with recipe, weights, calibration, scores and history.

config.json          the recipe, and what came of it (provenance)
weights.safetensors  the scoring module, representation statistics included
calibration.json     window, the parts' statistics, threshold
bank.npy             what the vehicle remembers (edgevad/model/bank.py), where the model has a memory
scores.npz           frame scores of the training recording: score, timestamp_ns, segment
replay.npz           frames of it in stretches (edgevad/bundle/replay.py), for what the model learns later
sample.npz           a few frames of it as the graph takes them, for a bundle's self-test
history.csv, .png    what happened, round by round
checkpoint.safetensors, .edgevad-cache/   only while a run is unfinished
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import atomic_file, write_json
from edgevad.bundle.bank_file import read_bank_file
from edgevad.bundle.bundle import TrainingScores
from edgevad.bundle.manifest import Calibration
from edgevad.bundle.replay import Replay
from edgevad.calibration.threshold import check_budget
from edgevad.errors import EdgevadError, ModelError, OptionError
from edgevad.model.config import ModelConfig
from edgevad.model.trainer import TrainConfig
from edgevad.runtime.window import WindowSpec

__all__ = ["ModelFolder", "Recipe"]

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Recipe:
    """Everything a training run depends on besides the recordings themselves.

    Attributes:
        sources: source strings (see `edgevad.sources.open_source`).
        model, train: the network and how it is fitted.
        sample_fps_hz: at most this many frames a second are trained on; None keeps all.
        fps_hz: frame rate of sources that do not know theirs (image folders).
        include_deleted: read records a Donkeycar tub marks as deleted.
        window, alarms_per_hour: what the threshold is calibrated for.
        name: what people call the model.
    """

    sources: tuple[str, ...]
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample_fps_hz: float | None = 10.0
    fps_hz: float | None = None
    include_deleted: bool = False
    window: WindowSpec = field(default_factory=WindowSpec)
    alarms_per_hour: float = 1.0
    name: str = "model"

    def __post_init__(self) -> None:
        check_budget(self.alarms_per_hour, self.window)
        for name, rate in (("sampling rate", self.sample_fps_hz), ("frame rate", self.fps_hz)):
            if rate is not None and not (math.isfinite(rate) and rate > 0):
                raise OptionError(f"a {name} of {rate} Hz", expected="a number above 0")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "sources": list(self.sources)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """Raises KeyError, TypeError or EdgevadError where `value` is not what `to_json` wrote."""
        return cls(
            **{
                **value,
                "sources": tuple(value["sources"]),
                "model": ModelConfig.from_json(value["model"]),
                "train": TrainConfig.from_json(value["train"]),
                "window": WindowSpec(**value["window"]),
            }
        )


class ModelFolder:
    """Paths and small files of one model folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.weights = self.path / "weights.safetensors"
        self.calibration = self.path / "calibration.json"
        self.bank = self.path / "bank.npy"
        self.scores = self.path / "scores.npz"
        self.sample = self.path / "sample.npz"
        self.replay = self.path / "replay.npz"
        self.history_csv = self.path / "history.csv"
        self.history_png = self.path / "history.png"
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.cache = self.path / ".edgevad-cache"

    def files(self) -> tuple[Path, ...]:
        """Everything a run leaves besides config.json."""
        arrays = (self.calibration, self.bank, self.scores, self.sample, self.replay)
        return (self.weights, self.checkpoint, *arrays, self.history_csv, self.history_png)

    def write_recipe(self, recipe: Recipe, provenance: dict[str, Any]) -> None:
        value = {"schema_version": SCHEMA_VERSION, "recipe": recipe.to_json(), "provenance": provenance}
        write_json(self.config, value)

    def read_recipe(self) -> tuple[Recipe, dict[str, Any]]:
        """The recipe and the provenance.

        Raises:
            ModelError: there is no model here, or config.json is broken or of another version.
        """
        try:
            value = json.loads(self.config.read_text(encoding="utf-8"))
            if value["schema_version"] != SCHEMA_VERSION:
                raise ModelError(
                    f"model schema {value['schema_version']!r}",
                    where=self.config,
                    expected=f"schema version {SCHEMA_VERSION}",
                    fix="Train the model again with this version of edgevad",
                )
            return Recipe.from_json(value["recipe"]), dict(value["provenance"])
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ModelError(
                "no model there", where=self.path, expected="a folder made by edgevad train", fix="Check the path"
            ) from error
        except ModelError:
            raise
        except (OSError, KeyError, TypeError, ValueError, EdgevadError) as error:
            raise ModelError(f"the model's configuration cannot be read ({error})", where=self.config) from error

    def require_finished(self) -> None:
        """Raises ModelError where training has not been finished."""
        if not self.weights.exists():
            self.read_recipe()
            raise ModelError(
                "training was not finished",
                where=self.path,
                fix=f"Go on with: edgevad train --resume --out {self.path}",
            )

    def write_calibration(self, calibration: Calibration) -> None:
        write_json(self.calibration, calibration.to_json())

    def read_calibration(self) -> Calibration:
        """Raises ModelError where the file is missing or broken."""
        try:
            return Calibration.from_json(json.loads(self.calibration.read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError, EdgevadError) as error:
            raise ModelError(f"the calibration cannot be read ({error})", where=self.calibration) from error

    def write_bank(self, bank: npt.NDArray[np.float32]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, bank)
        with atomic_file(self.bank) as stream:
            stream.write(buffer.getvalue())

    def read_bank(self) -> npt.NDArray[np.float32]:
        """(E, m, d + 1) float32. Raises ModelError where the file is missing, broken or of another model."""
        fix = "Train the model again"
        values = self.read_recipe()[0].model.latent + 1
        try:
            bank = read_bank_file(self.bank)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"cannot be read ({reason})", where=self.bank, fix=fix) from error
        if bank.shape[2] != values:
            expected = f"(E, m, {values})"
            raise ModelError(f"a bank of shape {bank.shape}", where=self.bank, expected=expected, fix=fix)
        return bank

    def write_scores(self, scores: TrainingScores) -> None:
        _write_arrays(self.scores, scores.arrays())

    def read_scores(self) -> TrainingScores:
        """Raises ModelError where the file is missing or broken."""
        arrays = _read_arrays(self.scores)
        try:
            scores = TrainingScores(arrays["score"], arrays["timestamp_ns"], arrays["segment"])
        except KeyError as error:
            raise ModelError(f"the training scores lack {error}", where=self.scores) from error
        count, parts = len(scores.timestamp_ns), len(self.read_recipe()[0].model.parts)
        shapes = [array.shape for array in scores.arrays().values()]
        if shapes != [(count, parts), (count,), (count,)]:
            raise ModelError(
                f"the training scores have shapes {shapes}",
                where=self.scores,
                expected=f"(N, {parts}), (N,) and (N,)",
                fix="Train the model again",
            )
        return scores

    def write_sample(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        _write_arrays(self.sample, arrays)

    def read_sample(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays `frames` (n, h, w, 3) uint8 and, where the model uses it, `motion` (n, h, w, M) float32.

        Raises:
            ModelError: the file is missing or broken.
        """
        return _read_arrays(self.sample)

    def write_replay(self, replay: Replay) -> None:
        _write_arrays(self.replay, replay.arrays())

    def read_replay(self) -> Replay | None:
        """Frames that the model learned from; None where there are none. Raises ModelError where they are broken."""
        if not self.replay.exists():
            return None
        spec = self.read_recipe()[0].model.input
        channels = 0 if spec.motion is None else spec.motion.channels
        try:
            return Replay.from_arrays(_read_arrays(self.replay), (spec.height_px, spec.width_px), channels)
        except (KeyError, ValueError) as error:
            fix = "Remove it, or train the model again"
            raise ModelError(f"the replay cannot be used ({error})", where=self.replay, fix=fix) from error


def _write_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    with atomic_file(path) as stream:
        stream.write(buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"cannot be read ({error})", where=path, fix="Train the model again") from error
