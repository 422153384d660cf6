"""ShanghaiTech Campus as published.

    training/videos/01_001.avi …                 scene and clip
    testing/frames/01_0014/000.jpg …             the test clips are images only
    testing/test_frame_mask/01_0014.npy          (N,) with 0 or 1 for each frame
    testing/test_pixel_mask/01_0014.npy          (N, H, W) with 0 where normal

So anomalib's loader and its documentation have it (which reads the masks by their first axis), and so do the file
lists in public code. Masks beside `testing`, training frames extracted to training/frames/01_001/, and clips without
the folder `frames` (lenhoanh/ABMA, docs/dataset_tree.md) are met as well. The videos state 24 or 25 Hz each
(cvlab-yonsei/MNAD, issue 12); for the test images, which state nothing, 24 Hz is assumed.
"""

from __future__ import annotations

from pathlib import Path

from edgevad.datasets.arrays import ArrayTruth
from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import first_folder, media
from edgevad.errors import DatasetError

__all__ = ["FPS_HZ", "load", "recognises"]

FPS_HZ = 24.0
_CLIP = r"\d\d_\d{3,4}"


def recognises(folder: Path) -> bool:
    """Whether there are test clips called after scene and clip, or vectors of frame labels."""
    frame_masks = first_folder(folder, "testing/test_frame_mask", "test_frame_mask")
    return (folder / "testing").is_dir() and (frame_masks is not None or bool(_test_clips(folder)))


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no test clips."""
    clips = _test_clips(folder)
    if not clips:
        raise DatasetError("no test clips", where=folder / "testing" / "frames", expected="folders 01_0014, 01_0015, …")
    frames = _masks(folder, "test_frame_mask")
    pixels = _masks(folder, "test_pixel_mask")
    test = tuple(
        Clip(path.name, str(path), FPS_HZ, ArrayTruth(frames / f"{path.name}.npy", pixels / f"{path.name}.npy"))
        for path in clips
    )
    train = tuple(
        Clip(path.stem, str(path), FPS_HZ if path.is_dir() else None)
        for path in _first(folder / "training", "videos", "converted_videos", "frames", ".")
    )
    return Dataset("ShanghaiTech Campus", "shanghaitech", str(folder), train, test)


def _test_clips(folder: Path) -> tuple[Path, ...]:
    return _first(folder / "testing", "frames", ".")


def _first(folder: Path, *places: str) -> tuple[Path, ...]:
    """The clips in the first of `places` in `folder` that has any."""
    return next((clips for place in places if (clips := media(folder / place, _CLIP))), ())


def _masks(folder: Path, name: str) -> Path:
    return first_folder(folder, f"testing/{name}", name) or folder / "testing" / name
