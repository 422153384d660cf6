"""IITB-Corridor as published, in two archives.

    Train_IITB-Corridor/Train/000001/000001.avi …
    Test_IITB-Corridor/Test/000209/000209.avi …
    Test_IITB-Corridor/Test_Annotation/Annotation/000209/000209.npy       0 or 1 for each frame

No description by its authors could be found; the paths are those of scripts that read the archives (one each for the
videos and for the annotation, and the data preparation of two published methods). It is read as well without the outer
folders (Train/, Test/), with the frames extracted (Test/000209/0000.jpg), with the videos not in folders
(Test/000209.mp4), and with the annotation gathered in `Annotation`, `groundtruth` or `anomaly_labels`. That the numbers
are 0 and 1 is what those scripts take for granted; anything else is refused. Pixels are not annotated. The videos know
their frame rate; for extracted frames 25 Hz is assumed.
"""

from __future__ import annotations

from pathlib import Path

from edgevad.datasets.arrays import ArrayTruth
from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import clip_source, first_folder, media
from edgevad.errors import DatasetError

__all__ = ["FPS_HZ", "load", "recognises"]

FPS_HZ = 25.0
_CLIP = r"\d{6}"
_TEST = ("Test_IITB-Corridor/Test", "Test_IITB_Corridor/Test", "Test", "testing")
_TRAIN = ("Train_IITB-Corridor/Train", "Train_IITB_Corridor/Train", "Train", "training")
_ANNOTATION = (
    "Test_IITB-Corridor/Test_Annotation/Annotation",
    "Test_IITB_Corridor/Test_Annotation/Annotation",
    "Test_Annotation/Annotation",
    "Test_Annotation",
    "Annotation",
    "groundtruth",
    "anomaly_labels",
)


def recognises(folder: Path) -> bool:
    """Whether there are test clips called by six digits."""
    return bool(_clips(folder, _TEST))


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no test clips."""
    clips = _clips(folder, _TEST)
    if not clips:
        raise DatasetError("no test clips", where=folder, expected="Test/000209, Test/000210, …: videos or folders")
    test = tuple(_clip(path, ArrayTruth(_annotation(folder, path))) for path in clips)
    train = tuple(_clip(path, None) for path in _clips(folder, _TRAIN))
    return Dataset("IITB-Corridor", "corridor", str(folder), train, test)


def _clips(folder: Path, places: tuple[str, ...]) -> tuple[Path, ...]:
    place = first_folder(folder, *places)
    return () if place is None else media(place, _CLIP)


def _clip(path: Path, truth: ArrayTruth | None) -> Clip:
    source = clip_source(path)
    return Clip(path.stem, source, FPS_HZ if Path(source).is_dir() else None, truth)


def _annotation(folder: Path, clip: Path) -> Path:
    """The file about `clip`: NAME/NAME.npy or NAME.npy in the folder of annotations, or beside the frames."""
    name = f"{clip.stem}.npy"
    places = [folder / place for place in _ANNOTATION if (folder / place).is_dir()]
    candidates = [place / clip.stem / name for place in places] + [place / name for place in places]
    candidates.append(clip / name)
    return next((path for path in candidates if path.is_file()), candidates[0])
