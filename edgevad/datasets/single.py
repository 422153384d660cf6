"""One recording with its labels beside it.

    video.mp4, frames.csv        the Donkeycar recordings this project is developed with (see the README beside them)
    drive.mp4, labels.csv        what `edgevad synth` writes

The label file is in a format of `edgevad.evaluation.labels`; `segment` in it changes wherever the recording stopped and
went on later. The recording is both what is trained on, without its labels, and what is tested on: that is what fully
unsupervised means. Pixels are not labelled.
"""

from __future__ import annotations

from pathlib import Path

from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import entries
from edgevad.datasets.truth import Truth
from edgevad.errors import DatasetError
from edgevad.evaluation.labels import Labels, read_labels

__all__ = ["load", "recognises"]

_LABELS = ("frames.csv", "labels.csv")
_NOTE = "One recording: trained on without its labels, then tested on."


def recognises(folder: Path) -> bool:
    """Whether there is exactly one video, and a label file beside it."""
    return _labels(folder) is not None and len(entries(folder).videos) == 1 and not (folder / "test").is_dir()


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there is no video, or more than one, or no label file."""
    videos, labels = entries(folder).videos, _labels(folder)
    if len(videos) != 1 or labels is None:
        raise DatasetError(
            f"{len(videos)} videos and {'no' if labels is None else 'a'} label file",
            where=folder,
            expected="one video, and frames.csv or labels.csv",
        )
    name, source = folder.absolute().name, str(videos[0])
    test = Clip(name, source, None, _FileTruth(labels))
    return Dataset(name, "single", str(folder), (Clip(name, source),), (test,), _NOTE)


def _labels(folder: Path) -> Path | None:
    return next((folder / name for name in _LABELS if (folder / name).is_file()), None)


class _FileTruth(Truth):
    def __init__(self, path: Path) -> None:
        self._path = path

    def labels(self) -> Labels:
        return read_labels(self._path)
