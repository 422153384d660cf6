"""What was chosen to learn from: frames of logged drives, how far each is trusted, and which are kept for the gate."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import atomic_directory, input_errors
from edgevad.bundle.arrays import arrays_from_npz
from edgevad.errors import RefitError
from edgevad.model.cache import FrameCache, runs_of
from edgevad.model.camera_motion import CameraDecision

__all__ = ["IN_EVENT_WEIGHT", "ChosenDrive", "Selection"]

# What the champion took for an anomaly may be one: it is not ignored, since a new condition alarms at first, but it
# counts for little.
IN_EVENT_WEIGHT = 0.25

_INFO, _ARRAYS = "selection.json", "selection.npz"
_IMAGES, _MOTION = "images.npy", "motion.npy"
_FORMAT = 1
_NAMES = ("timestamp_ns", "segment", "weight", "in_event", "anomaly", "drive", "held_out")


@dataclass(frozen=True)
class ChosenDrive:
    """A drive, or another recording, that frames were taken from.

    Attributes:
        name: of the drive, or of the recording's file.
        path: where it lay.
        cameras: names of its cameras that were read.
        legs: the files read, by name, with their SHA-256 in hexadecimal.
        start_ns, end_ns: when it was logged, on the log's clock; 0 where unknown.
        frames: how many were taken.
        novelty: how far its views are from what the champion remembers, in units of what is usual for it; NaN where
            that is not known.
        reason: why it was chosen, in a sentence.
    """

    name: str
    path: str
    cameras: tuple[str, ...]
    legs: dict[str, str]
    start_ns: int
    end_ns: int
    frames: int
    novelty: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        found = asdict(self)
        return {**found, "novelty": None if np.isnan(self.novelty) else self.novelty}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ChosenDrive:
        """Raises KeyError or TypeError where `value` is not what `to_json` gave."""
        novelty = float("nan") if value["novelty"] is None else float(value["novelty"])
        return cls(**{**value, "cameras": tuple(value["cameras"]), "novelty": novelty})


@dataclass(frozen=True)
class Selection:
    """Frames to learn from, at the model's input size, in the order of their drives.

    Attributes:
        cache: the frames; `segment` numbers stretches of one camera of one drive without a gap in time.
        weight: (N,) float32 in [0, 1], how far a frame is trusted: 1, or IN_EVENT_WEIGHT inside or near an event.
        in_event: (N,) bool, inside an event of the log.
        anomaly: (N,) float32 anomaly score that was logged; NaN where there is none.
        drive: (N,) int32, index into `drives`.
        held_out: (N,) bool, whole stretches that are never learnt from: the gate judges by them.
        drives: where the frames come from.
        notes: what was left out and why, a sentence each.
        blind_share: of the images that were looked at, those in which the lens showed nothing, in [0, 1]; no frame here
            is one of them.
    """

    cache: FrameCache
    weight: npt.NDArray[np.float32]
    in_event: npt.NDArray[np.bool_]
    anomaly: npt.NDArray[np.float32]
    drive: npt.NDArray[np.int32]
    held_out: npt.NDArray[np.bool_]
    drives: tuple[ChosenDrive, ...]
    notes: tuple[str, ...] = ()
    blind_share: float = 0.0

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def learnable(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: what may be learnt from at all."""
        return ~self.held_out & (self.weight > 0)

    def subset(self, rows: npt.NDArray[Any]) -> Selection:
        """These frames only, in memory: `rows` (N,) bool, or ascending numbers. A gap between two begins a segment."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
        cache = self.cache
        part = FrameCache(
            np.ascontiguousarray(cache.images[index]),
            None if cache.motion is None else np.ascontiguousarray(cache.motion[index]),
            cache.timestamp_ns[index],
            runs_of(index, cache.segment).astype(np.int32),
            cache.skipped,
            cache.camera,
        )
        return Selection(
            part,
            self.weight[index],
            self.in_event[index],
            self.anomaly[index],
            self.drive[index],
            self.held_out[index],
            self.drives,
            self.notes,
            self.blind_share,
        )

    def save(self, directory: str | Path) -> None:
        """Write all of it to the folder `directory`, whole or not at all; one that is there is replaced.

        Raises:
            OutputError: it cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(
            buffer,
            timestamp_ns=self.cache.timestamp_ns,
            segment=self.cache.segment,
            weight=self.weight,
            in_event=self.in_event.astype(np.uint8),
            anomaly=self.anomaly,
            drive=self.drive,
            held_out=self.held_out.astype(np.uint8),
        )
        info = {
            "format": _FORMAT,
            "skipped": self.cache.skipped,
            "camera": self.cache.camera.to_json(),
            "drives": [drive.to_json() for drive in self.drives],
            "notes": list(self.notes),
            "blind_share": self.blind_share,
        }
        with atomic_directory(directory) as staged:
            np.save(staged / _IMAGES, self.cache.images)
            if self.cache.motion is not None:
                np.save(staged / _MOTION, self.cache.motion)
            (staged / _ARRAYS).write_bytes(buffer.getvalue())
            (staged / _INFO).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> Selection:
        """What `save` wrote, the frames memory-mapped.

        Raises:
            RefitError: it is not there, or broken.
        """
        folder = Path(directory)
        try:
            with input_errors(folder, RefitError):
                info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
                arrays = arrays_from_npz((folder / _ARRAYS).read_bytes(), _NAMES)
                images = np.load(folder / _IMAGES, mmap_mode="r", allow_pickle=False)
                motion = None
                if (folder / _MOTION).exists():
                    motion = np.load(folder / _MOTION, mmap_mode="r", allow_pickle=False)
            if info["format"] != _FORMAT or len({len(images), *(len(array) for array in arrays.values())}) != 1:
                raise ValueError("of another format, or its arrays differ in length")
            camera = CameraDecision.from_json(info["camera"])
            drives = tuple(ChosenDrive.from_json(drive) for drive in info["drives"])
            blind_share = float(info["blind_share"])
        except (KeyError, TypeError, ValueError) as error:
            fix = "Choose again: edgevad drives choose"
            raise RefitError(f"the selection cannot be used ({error})", where=folder, fix=fix) from error
        cache = FrameCache(images, motion, arrays["timestamp_ns"], arrays["segment"], int(info["skipped"]), camera)
        return cls(
            cache,
            arrays["weight"],
            arrays["in_event"].astype(np.bool_),
            arrays["anomaly"],
            arrays["drive"],
            arrays["held_out"].astype(np.bool_),
            drives,
            tuple(info["notes"]),
            blind_share,
        )

    @classmethod
    def of_recording(cls, cache: FrameCache, name: str = "recording", *, hold_out: float = 0.2) -> Selection:
        """All of one recording, trusted; every so many stretches of ten seconds held out. For tries and benchmarks."""
        seconds = cache.elapsed_s()
        every = max(2, round(1 / hold_out)) if hold_out > 0 else 0
        held = (seconds // 10).astype(np.int64) % every == every - 1 if every else np.zeros(len(cache), np.bool_)
        segment = np.cumsum(np.r_[False, (np.diff(cache.segment) != 0) | (np.diff(held) != 0)]).astype(np.int32)
        kept = FrameCache(cache.images, cache.motion, cache.timestamp_ns, segment, cache.skipped, cache.camera)
        count = len(cache)
        chosen = ChosenDrive(name, name, (name,), {}, 0, 0, count, float("nan"), "named by hand")
        nothing = np.zeros(count, np.bool_)
        return cls(
            kept,
            np.ones(count, np.float32),
            nothing,
            np.full(count, np.nan, np.float32),
            np.zeros(count, np.int32),
            np.asarray(held, dtype=np.bool_),
            (chosen,),
        )
