"""CUHK Avenue as published.

    training_videos/01.avi … 16.avi
    testing_videos/01.avi … 21.avi
    ground_truth_demo/testing_label_mask/1_label.mat … 21_label.mat

Each .mat file holds `volLabel`, a 1 x N cell array with a mask for each of the N frames of the video of that number:
the authors' own script ground_truth_show.m (in ground_truth_demo) reads them so, and so does anomalib's loader. A frame
is anomalous where its mask has any pixel. By this ground truth all of clip 18 is anomalous, unlike in the frame labels
that others use (StevenLiuWen/ano_pred_cvpr2018, issue 49), so figures differ a little between papers.
"""

from __future__ import annotations

from pathlib import Path

from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import entries, first_folder
from edgevad.datasets.matlab import MaskVolumes
from edgevad.datasets.truth import Mask, Truth, labels_from_flags
from edgevad.errors import DatasetError, LabelError
from edgevad.evaluation.labels import Labels

__all__ = ["load", "recognises"]

_NOTE = "Frame labels come from the pixel masks, by which all of clip 18 is anomalous; some papers use others."
_INSIDE = "Avenue Dataset"


def recognises(folder: Path) -> bool:
    """Whether there are test videos beside training videos or masks."""
    root = _root(folder)
    return (root / "testing_videos").is_dir() and ((root / "training_videos").is_dir() or _masks(folder) is not None)


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no test videos."""
    root = _root(folder)
    videos = entries(root / "testing_videos").videos
    if not videos:
        raise DatasetError("no test videos", where=root / "testing_videos", expected="01.avi, 02.avi, …")
    masks = _masks(folder) or folder / "ground_truth_demo" / "testing_label_mask"
    volumes = MaskVolumes("volLabel")
    test = tuple(Clip(path.stem, str(path), None, _AvenueTruth(masks, path.stem, volumes)) for path in videos)
    train = tuple(Clip(path.stem, str(path)) for path in entries(root / "training_videos").videos)
    return Dataset("CUHK Avenue", "avenue", str(folder), train, test, _NOTE)


def _root(folder: Path) -> Path:
    """Where the videos are: its own zip file unpacks into a folder of that name, beside the ground truth."""
    return folder / _INSIDE if (folder / _INSIDE / "testing_videos").is_dir() else folder


def _masks(folder: Path) -> Path | None:
    inside = "ground_truth_demo/testing_label_mask"
    return first_folder(folder, inside, "testing_label_mask", f"{_INSIDE}/{inside}", f"../{inside}")


class _AvenueTruth(Truth):
    def __init__(self, folder: Path, stem: str, volumes: MaskVolumes) -> None:
        self._path = folder / f"{stem.lstrip('0') or '0'}_label.mat"
        self._volumes = volumes
        self.has_pixels = self._path.is_file()

    def labels(self) -> Labels:
        if not self.has_pixels:
            raise LabelError(
                "no such file", where=self._path, expected="the masks of this clip, from ground_truth_demo"
            )
        return labels_from_flags(self._volumes.flags(self._path), self._path)

    def mask(self, index: int) -> Mask | None:
        return self._volumes.mask(self._path, index) if self.has_pixels else None
