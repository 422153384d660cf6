"""A data set: its clips for training and for testing."""

from __future__ import annotations

from dataclasses import dataclass

from edgevad.datasets.clip import Clip

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What `open_dataset` found.

    Attributes:
        name: of the data set, for people.
        layout: name of the layout it was read as.
        path: the folder.
        train: clips to train on; their labels, where they have any, are not for training.
        test: labelled clips, in natural order.
        note: what a person comparing figures should know of the split, "" where there is nothing.
    """

    name: str
    layout: str
    path: str
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]
    note: str = ""

    @property
    def has_pixel_labels(self) -> bool:
        """Whether any test clip has pixel masks."""
        return any(clip.has_pixel_labels for clip in self.test)
