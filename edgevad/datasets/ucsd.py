"""UCSD Ped1 and Ped2 as published.

    UCSDped2/Train/Train001/001.tif …
    UCSDped2/Test/Test001/001.tif …
    UCSDped2/Test/Test001_gt/001.bmp …      pixel masks: all clips of Ped2, ten of Ped1
    UCSDped2/Test/UCSDped2.m                frame ranges, counted from 1, both ends inside; line n is about clip n

The README of the data set itself (v1p2) tells of the folders, the ranges and the masks. How the lines of the .m file
look, several ranges in one included, is how it is quoted and parsed in public code, e.g. for Ped1
`TestVideoFile{end+1}.gt_frame = [5:90, 140:200];`. The ranges are the frame labels; where the file is missing or has no
line for a clip, a frame is anomalous where its mask has any pixel. The images carry no clock: 10 Hz is assumed.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import entries, media
from edgevad.datasets.matlab import read_frame_ranges
from edgevad.datasets.pixels import MaskFolder
from edgevad.datasets.truth import Mask, Truth, labels_from_flags, labels_from_ranges
from edgevad.errors import DatasetError, LabelError
from edgevad.evaluation.labels import Labels

__all__ = ["FPS_HZ", "load", "recognises"]

FPS_HZ = 10.0
_PARTS = ("UCSDped1", "UCSDped2")
_TEST = r"Test\d+"


def recognises(folder: Path) -> bool:
    """Whether there are test clips with masks beside them, a list of frame ranges, or TIFF frames."""
    if any((folder / part / "Test").is_dir() for part in _PARTS):
        return True
    test = folder / "Test"
    if any(re.fullmatch(_TEST + "_gt", path.name) for path in entries(test).folders) or _script(test) is not None:
        return True
    clips = media(test, _TEST)
    return bool(clips) and any(image.suffix.lower() in (".tif", ".tiff") for image in entries(clips[0]).images[:1])


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no test clips, or `folder` holds both Ped1 and Ped2."""
    parts = [folder / part for part in _PARTS if (folder / part / "Test").is_dir()]
    if len(parts) > 1:
        raise DatasetError("holds two data sets", where=folder, fix=f"Name one of them: {parts[0]} or {parts[1]}")
    root = parts[0] if parts else folder
    test = root / "Test"
    script = _script(test)
    clips = tuple(Clip(path.name, str(path), FPS_HZ, _UcsdTruth(path, script)) for path in media(test, _TEST))
    if not clips:
        raise DatasetError("no test clips", where=test, expected="folders Test001, Test002, …")
    train = tuple(Clip(path.name, str(path), FPS_HZ) for path in media(root / "Train", r"Train\d+"))
    name = {"ucsdped1": "UCSD Ped1", "ucsdped2": "UCSD Ped2"}.get(
        (script.stem if script else root.name).lower(), "UCSD"
    )
    return Dataset(name, "ucsd", str(root), train, clips)


def _script(test: Path) -> Path | None:
    return next(iter(sorted(path for path in test.glob("UCSD*.m") if not path.name.startswith("."))), None)


class _UcsdTruth(Truth):
    def __init__(self, clip: Path, script: Path | None) -> None:
        self._clip = clip
        self._script = script
        self._masks = MaskFolder(clip.with_name(clip.name + "_gt"))
        self.has_pixels = self._masks.folder.is_dir()

    def labels(self) -> Labels:
        count = len(entries(self._clip).images)
        if self.has_pixels:
            self._masks.require_count(count)
        ranges = None if self._script is None else read_frame_ranges(self._script).get(_number(self._clip))
        if ranges is not None and self._script is not None:
            return labels_from_ranges(ranges, f"{self._script} ({self._clip.name})", count)
        if self.has_pixels:
            return labels_from_flags(self._masks.flags(), self._masks.folder)
        raise LabelError(
            f"no ground truth for {self._clip.name}",
            where=self._clip.parent if self._script is None else self._script,
            expected=f"its line in UCSDped1.m or UCSDped2.m, or masks in {self._masks.folder.name}",
        )

    def mask(self, index: int) -> Mask | None:
        return self._masks.mask(index) if self.has_pixels else None


def _number(clip: Path) -> int:
    return int(clip.name.removeprefix("Test"))
