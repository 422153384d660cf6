"""Logs to learn from, honest ones and ones that nothing may be learnt from, made of real and of rendered recordings."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.degrade import degraded

__all__ = ["CASES", "SIZE_PX", "Case", "Log", "World", "log_of", "world_of"]

Image = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
# Recordings are kept small: the models here look at 64 pixels.
SIZE_PX = 112
_STRETCH = 100
_HELD_OUT_EVERY = 5
_LOG_FRAMES = 1600
_SHARE = 0.4
# In donkey_usi_mit a car against a barrier looks like any other view (docs/method.md), and the champion cannot be asked
# to tell it; carried about and a few crashes it does.
_USI_SEEN = (range(1446, 1460), range(2248, 2257), range(6727, 6749), range(11458, 11564))


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        world: "track" (donkey_track_1124), "usi" (donkey_usi_mit) or "rendered".
        shows: "people", "cone", "carried" or "anomalies" in two fifths of the frames; "dark", "mud" or "leaf" before
            the lens in all of them; None for an honest log.
        condition: what the picture looks like since (benchmarks.degrade), None: as before.
        depth: what the challenger is made by.
    """

    world: str
    shows: str | None
    condition: str | None
    depth: str

    @property
    def name(self) -> str:
        return ", ".join((self.world, self.shows or "honest", self.condition or "as before", self.depth))


CASES = (
    Case("track", "people", None, "recalibrate"),
    Case("track", "people", None, "refit"),
    Case("track", "people", "gamma", "adapt"),
    Case("track", "cone", None, "refit"),
    Case("track", "dark", None, "recalibrate"),
    Case("track", "mud", None, "refit"),
    Case("usi", "carried", None, "recalibrate"),
    Case("usi", "carried", "gamma", "refit"),
    Case("usi", "leaf", None, "adapt"),
    Case("rendered", "anomalies", None, "refit"),
    Case("track", None, None, "recalibrate"),
    Case("track", None, "gamma", "refit"),
    Case("track", None, "tilt", "recalibrate"),
    Case("track", None, "all", "refit"),
    Case("track", None, "haze", "adapt"),
    Case("usi", None, None, "refit"),
    Case("usi", None, "gamma", "recalibrate"),
    Case("usi", None, "all", "adapt"),
    Case("rendered", None, None, "recalibrate"),
    Case("rendered", None, "all", "refit"),
)


@dataclass(frozen=True)
class World:
    """A recording at SIZE_PX.

    Attributes:
        images: (N, SIZE_PX, SIZE_PX, 3) uint8.
        old: stretches of normal frames, what the champion is trained on.
        recent: frames of an honest log, with whatever anomalies they hold.
        normal, anomalous: frames that poisoned logs are mixed from.
    """

    images: Image
    old: tuple[Rows, ...]
    recent: Rows
    normal: Rows
    anomalous: Rows


@dataclass(frozen=True)
class Log:
    """
    Attributes:
        images: (N, SIZE_PX, SIZE_PX, 3) uint8.
        stretch: (N,) int32, without a gap in time.
        anomalous: (N,) bool, by the labels, or by what was put in.
        held_out: (N,) bool, whole stretches.
    """

    images: Image
    stretch: npt.NDArray[np.int32]
    anomalous: npt.NDArray[np.bool_]
    held_out: npt.NDArray[np.bool_]


@lru_cache
def world_of(name: str, root: Path, work: Path) -> World:
    """Read or render a world; `root` is EDGEVAD_DATA, `work` for what is rendered."""
    if name == "rendered":
        return _rendered(work)
    folder = root / {"track": "donkey_track_1124", "usi": "donkey_usi_mit"}[name]
    images = _read(folder / "video.mp4")
    with (folder / "frames.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    level = np.array([int(row["level"]) for row in rows])
    segment = np.array([int(row["segment"]) for row in rows])
    number = np.arange(len(level))
    first, split, last = {"track": (0, 4069, 6069), "usi": (563, 6000, 8000)}[name]
    anomalous = np.flatnonzero(level == 2) if name == "track" else np.concatenate([np.array(one) for one in _USI_SEEN])
    return World(
        images,
        tuple(_runs((level == 0) & (number >= first) & (number < split), segment)),
        np.arange(split, last),
        np.flatnonzero((level == 0) & (number >= split)),
        anomalous[level[anomalous] == 2],
    )


def log_of(case: Case, world: World) -> Log:
    """The recent log of a case."""
    random = np.random.default_rng(0)
    if case.shows in ("people", "carried", "anomalies"):
        stretches = list(_mixed(world))
    elif case.shows == "cone":
        stretches = [world.normal[k : k + _STRETCH] for k in range(0, _LOG_FRAMES, _STRETCH)]
    else:
        stretches = [world.recent[k : k + _STRETCH] for k in range(0, len(world.recent), _STRETCH)]
    rows = np.concatenate(stretches)
    stretch = np.repeat(np.arange(len(stretches), dtype=np.int32), [len(one) for one in stretches])
    anomalous = np.isin(rows, world.anomalous)
    images = world.images[rows].copy()
    if case.shows == "cone":
        anomalous = np.arange(len(rows)) % _STRETCH >= _STRETCH * (1 - _SHARE)
        for k in np.flatnonzero(anomalous):
            images[k] = _cone(images[k], int(k))
    if case.condition is not None:
        images = np.stack([degraded(image, case.condition) for image in images])
    if case.shows in _COVERS:
        images = np.stack([_COVERS[case.shows](image, random) for image in images])
        anomalous = np.ones(len(images), np.bool_)
    return Log(images, stretch, anomalous, stretch % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 2)


def _mixed(world: World) -> Iterator[Rows]:
    """Normal frames and then an event, again and again, until two fifths of the frames are of events."""
    flags = np.zeros(len(world.images), np.bool_)
    flags[world.anomalous] = True
    events = [run[k : k + 90] for run in _runs(flags, np.zeros(len(flags))) for k in range(0, len(run), 90)]
    wanted, taken = int(_SHARE * _LOG_FRAMES), 0
    chosen = []
    while taken < wanted:
        chosen.append(events[len(chosen) % len(events)])
        taken += len(chosen[-1])
    each = (_LOG_FRAMES - wanted) // len(chosen)
    for number, event in enumerate(chosen):
        start = number * each % max(len(world.normal) - each, 1)
        yield np.concatenate([world.normal[start : start + each], event])


def _runs(flags: npt.NDArray[np.bool_], segment: npt.NDArray[np.generic]) -> list[Rows]:
    rows = np.flatnonzero(flags)
    breaks = np.flatnonzero((np.diff(rows) != 1) | (segment[rows[1:]] != segment[rows[:-1]])) + 1
    return [run for run in np.split(rows, breaks) if len(run) >= 5]


def _read(video: Path) -> Image:
    capture = cv2.VideoCapture(str(video))
    images = []
    while True:
        ok, image = capture.read()
        if not ok:
            capture.release()
            return np.stack(images).astype(np.uint8)
        images.append(cv2.resize(image, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA))


def _rendered(work: Path) -> World:
    """Two drives to begin with, one more, and one that is full of anomalies."""
    from edgevad.synth import SynthConfig, write_drive

    parts, labels = [], []
    for seed, seconds, share in ((1, 200, 0.03), (11, 200, 0.03), (3, 200, 0.05), (2, 400, 0.3)):
        folder = work / f"rendered-{seed}"
        if not (folder / "labels.csv").exists():
            write_drive(
                SynthConfig(seconds=seconds, width_px=128, height_px=96, seed=seed, anomaly_share=share), folder
            )
        parts.append(_read(folder / "drive.mp4"))
        with (folder / "labels.csv").open() as stream:
            labels.append(np.array([int(row["level"]) for row in csv.DictReader(stream)]))
    ends = np.cumsum([len(part) for part in parts])
    level, number = np.concatenate(labels), np.arange(int(ends[-1]))
    last = number >= ends[2]
    return World(
        np.concatenate(parts),
        (number[: ends[0]], number[ends[0] : ends[1]]),
        number[ends[1] : ends[2]],
        number[last & (level == 0)],
        number[last & (level == 2)],
    )


def _cone(image: Image, number: int) -> Image:
    """A traffic cone on the lane, now a little left, now right."""
    found = image.copy()
    side = round(0.13 * SIZE_PX)
    x, y = round(SIZE_PX * (0.4 + 0.25 * np.sin(number / 9))), round(0.6 * SIZE_PX)
    corners = np.array([[x - side, y + side], [x + side, y + side], [x, y - side]], np.int32)
    cv2.fillPoly(found, [corners], (0, 90, 240))
    cv2.line(found, (x - side // 2, y + side // 3), (x + side // 2, y + side // 3), (250, 250, 250), 3)
    return found


def _dark(image: Image, random: np.random.Generator) -> Image:
    return np.clip(random.normal(28, 3, image.shape), 0, 255).astype(np.uint8)


def _mud(image: Image, random: np.random.Generator) -> Image:
    through = 0.12 * cv2.GaussianBlur(image, (0, 0), 9).astype(np.float32)
    return np.clip(through + 0.88 * np.array([60, 75, 90]) + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def _leaf(image: Image, random: np.random.Generator) -> Image:
    """Three fifths of the picture behind something with a texture of its own, that stays where it is."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] / SIZE_PX
    there = ((x - 0.35) / 0.5) ** 2 + ((y - 0.5) / 0.55) ** 2 < 1
    texture = np.array([40, 110, 60]) + 20 * np.sin(38 * x + 22 * y)[..., None]
    found = image.copy()
    found[there] = np.clip(texture[there] + random.normal(0, 2, texture[there].shape), 0, 255)
    return found


_COVERS: dict[str | None, Callable[[Image, np.random.Generator], Image]] = {"dark": _dark, "mud": _mud, "leaf": _leaf}
