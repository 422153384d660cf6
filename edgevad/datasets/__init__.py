"""Public data sets as people have them on disk: which clips there are, and what is labelled in them.

    dataset = open_dataset("UCSD_Anomaly_Dataset.v1p2/UCSDped2")
    for clip in dataset.test:
        print(clip.name, clip.source, clip.labels.level, clip.mask(0))

Nothing is downloaded, converted or copied; labels and masks are read when they are asked for.
"""

from __future__ import annotations

from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.layouts import LAYOUTS
from edgevad.datasets.opening import open_dataset
from edgevad.datasets.recording import ClipLabels, labelled_recording

__all__ = ["LAYOUTS", "Clip", "ClipLabels", "Dataset", "labelled_recording", "open_dataset"]
