"""Clips with one label file: a plain layout into which any data set of clips can be brought.

    labels.csv              clip,frame,anomaly: a row for each test frame, clips and frames in natural order
    test/01/000.jpg …       one folder of images for each test clip
    masks/01/000.png …      a mask for each frame, black where normal; a clip may have none
    train/01/000.jpg …      or train_all.mp4, the training clips in one file, with their names and lengths in
    train_clips.csv         name,frames, without a header, so that nothing is smoothed across their ends

It is the layout of the copy of UCSD Ped2 that this project is developed with (its README says what is in it). The rows
are `edgevad.evaluation.labels`' own format. The images carry no clock: 10 Hz is assumed.
"""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path

import numpy as np

from edgevad._files import input_errors
from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import media
from edgevad.datasets.pixels import MaskFolder
from edgevad.datasets.truth import AllNormal, Mask, Truth
from edgevad.errors import DatasetError, LabelError
from edgevad.evaluation.labels import Labels, read_labels

__all__ = ["FPS_HZ", "load", "recognises"]

FPS_HZ = 10.0


def recognises(folder: Path) -> bool:
    """Whether there is a label file beside a folder of test clips."""
    return (folder / "labels.csv").is_file() and (folder / "test").is_dir()


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no test clips, and LabelError where train_clips.csv cannot be read."""
    table = _LabelTable(folder / "labels.csv")
    test = tuple(
        Clip(path.name, str(path), FPS_HZ, _ClipTruth(table, path.name, MaskFolder(folder / "masks" / path.name)))
        for path in media(folder / "test")
    )
    if not test:
        raise DatasetError("no test clips", where=folder / "test", expected="one folder of images for each clip")
    train = tuple(Clip(path.name, str(path), FPS_HZ) for path in media(folder / "train"))
    video = folder / "train_all.mp4"
    if not train and video.is_file():
        train = (Clip(video.stem, str(video), None, _joined(folder / "train_clips.csv")),)
    return Dataset(folder.absolute().name, "clips", str(folder), train, test)


class _LabelTable:
    """The label file, read once for all clips."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def by_clip(self) -> dict[str, Labels]:
        whole = read_labels(self.path)
        if whole.segment is None:
            raise LabelError("there is no column clip", where=self.path, expected="the header clip,frame,anomaly")
        with self.path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            column = [name.strip().lower() for name in next(rows)].index("clip")
            names = list(dict.fromkeys(cells[column].strip() for cells in rows if cells))
        found = {}
        for number, name in enumerate(names):
            inside = whole.segment == number
            level = whole.level[inside]
            found[name] = Labels(level, ("",) * len(level), None, f"{self.path} (clip {name})")
        return found


class _ClipTruth(Truth):
    def __init__(self, table: _LabelTable, name: str, masks: MaskFolder) -> None:
        self._table = table
        self._name = name
        self._masks = masks
        self.has_pixels = masks.folder.is_dir()

    def labels(self) -> Labels:
        labels = self._table.by_clip.get(self._name)
        if labels is None:
            raise LabelError(f"clip {self._name} has no row", where=self._table.path, expected="a row for each frame")
        if self.has_pixels:
            self._masks.require_count(len(labels))
        return labels

    def mask(self, index: int) -> Mask | None:
        return self._masks.mask(index) if self.has_pixels else None


def _joined(table: Path) -> Truth | None:
    """The ends of the clips in a file that joins them; None where nobody wrote them down."""
    if not table.is_file():
        return None
    with input_errors(table, LabelError), table.open(encoding="utf-8-sig", newline="") as stream:
        rows = [cells for cells in csv.reader(stream) if cells]
    try:
        lengths = [int(frames) for _, frames in rows]
    except ValueError:
        raise LabelError("cannot be read", where=table, expected="rows of name,frames without a header") from None
    return AllNormal(table, np.repeat(np.arange(len(lengths), dtype=np.int64), lengths))
