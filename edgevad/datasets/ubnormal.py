"""UBnormal as published.

    Scene1/normal_scene_1_scenario_1.mp4 …
    Scene1/abnormal_scene_1_scenario_1.mp4 …
    Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_tracks.txt
    Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_0000_gt.png …

A row of _tracks.txt is `number,first,last`: frames counted from 0, both ends inside; a pixel of _gt.png has the number
of its track, 0 where normal. That is how the authors' own scripts (lilygeorgescu/UBnormal, scripts/) make frame labels
and boxes of them. In the same folder the official split is listed, {normal,abnormal}_{training,test}_video_names.txt:
put next to the scenes, or in `scripts` or `Split` there, the lists are followed. For training are the normal training
videos; the abnormal ones of that split are left out, for edgevad learns from what is normal. Without the lists, every
normal video is for training and every abnormal one for testing, which is not the official split.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np

from edgevad._files import input_errors
from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import entries
from edgevad.datasets.pixels import read_mask
from edgevad.datasets.truth import AllNormal, Mask, Truth, labels_from_flags, labels_from_ranges
from edgevad.errors import DatasetError, LabelError
from edgevad.evaluation.labels import Labels

__all__ = ["load", "recognises"]

_VIDEO = re.compile(r"(normal|abnormal)_scene_\d+_scenario_.+")
_NOTE = (
    "Not the official split: the lists of its videos (*_video_names.txt from the authors' repository) are not here, so "
    "every normal video is for training and every abnormal one for testing."
)


def recognises(folder: Path) -> bool:
    """Whether there are scenes with videos called as in UBnormal."""
    return any(_VIDEO.fullmatch(video.stem) for scene in _scenes(folder) for video in entries(scene).videos)


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no videos, or the lists name one that is missing."""
    videos = {video.stem: video for scene in _scenes(folder) for video in entries(scene).videos}
    videos = {name: video for name, video in videos.items() if _VIDEO.fullmatch(name)}
    lists = _split(folder)
    if lists is None:
        train = [name for name in videos if name.startswith("normal")]
        test = [name for name in videos if name.startswith("abnormal")]
    else:
        train, test = lists
        missing = [name for name in (*train, *test) if name not in videos]
        if missing:
            what = f"{len(missing)} videos of the official split are missing: {missing[0]}" + ", …" * (len(missing) > 1)
            raise DatasetError(what, where=folder, fix="Unpack all scenes, or take the lists of names away")
    if not test:
        raise DatasetError("no abnormal videos", where=folder, expected="Scene1/abnormal_scene_1_scenario_1.mp4, …")
    return Dataset(
        "UBnormal",
        "ubnormal",
        str(folder),
        tuple(Clip(name, str(videos[name])) for name in train),
        tuple(Clip(name, str(videos[name]), None, _truth(videos[name])) for name in test),
        _NOTE if lists is None else "",
    )


def _scenes(folder: Path) -> list[Path]:
    return [path for path in entries(folder).folders if re.fullmatch(r"Scene\d+", path.name)]


def _split(folder: Path) -> tuple[list[str], list[str]] | None:
    """The names of the official training (normal) and test videos (both); None where the lists are missing."""
    names = ("normal_training", "normal_test", "abnormal_test")
    for place in (folder, folder / "scripts", folder / "Split"):
        files = [place / f"{name}_video_names.txt" for name in names]
        if all(file.is_file() for file in files):
            train, normal, abnormal = (_names(file) for file in files)
            return train, normal + abnormal
    return None


def _names(path: Path) -> list[str]:
    with input_errors(path, DatasetError):
        return path.read_text(encoding="utf-8", errors="replace").split()


def _truth(video: Path) -> Truth:
    return AllNormal(video) if video.stem.startswith("normal") else _TracksTruth(video)


class _TracksTruth(Truth):
    def __init__(self, video: Path) -> None:
        self._name = video.stem
        self._folder = video.with_name(f"{video.stem}_annotations")
        self._tracks = self._folder / f"{video.stem}_tracks.txt"
        self.has_pixels = any(self._folder.glob(f"{video.stem}_*_gt.png"))

    @cached_property
    def _files(self) -> dict[int, Path]:
        """The mask of each frame that has one."""
        found = {}
        for path in entries(self._folder).images:
            if (match := re.fullmatch(re.escape(self._name) + r"_(\d+)_gt\.png", path.name)) is not None:
                found[int(match[1])] = path
        return found

    def labels(self) -> Labels:
        if self._tracks.is_file():
            return labels_from_ranges(self._ranges(), self._tracks)
        if self._files:
            count = max(self._files) + 1
            if len(self._files) != count:
                raise LabelError(f"{count - len(self._files)} of {count} masks are missing", where=self._folder)
            flags = [bool(read_mask(self._files[index]).any()) for index in range(count)]
            return labels_from_flags(np.array(flags, np.bool_), self._folder)
        raise LabelError("no such file", where=self._tracks, expected="rows of number,first,last for each anomaly")

    def mask(self, index: int) -> Mask | None:
        path = self._files.get(index)
        return None if path is None else read_mask(path)

    def _ranges(self) -> list[tuple[int, int]]:
        with input_errors(self._tracks, LabelError):
            lines = self._tracks.read_text(encoding="utf-8", errors="replace").splitlines()
        ranges = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                _, first, last = (int(float(cell)) for cell in line.split(",")[:3])
            except (ValueError, OverflowError):
                raise LabelError(
                    f"line {number}: {line!r:.60}", where=self._tracks, expected="number,first,last"
                ) from None
            ranges.append((first, last))
        return ranges
