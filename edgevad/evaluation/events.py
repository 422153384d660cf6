"""Labelled events against predicted ones: what was found, what was missed, what was a false alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.evaluation.labels import ANOMALY, NORMAL

__all__ = ["UNNAMED", "EventMatch", "LabelledEvent", "event_kinds", "labelled_events", "match_events"]

# What an anomaly is called to which the label file gives no name.
UNNAMED = "anomaly"


@dataclass(frozen=True)
class LabelledEvent:
    """A run of anomalous frames of one name within one segment; `first` and `last` are indexes, both inside."""

    name: str
    first: int
    last: int
    segment: int


@dataclass(frozen=True)
class EventMatch:
    """How predicted events meet the labelled ones.

    Attributes:
        labelled: the labelled events, in order.
        found: for each of them, whether any predicted event overlaps it.
        false_alarms: for each predicted event, whether it overlaps no frame that is anomalous or ambiguous.
    """

    labelled: tuple[LabelledEvent, ...]
    found: tuple[bool, ...]
    false_alarms: tuple[bool, ...]

    @property
    def recall(self) -> float | None:
        """Share of the labelled events that were found."""
        return sum(self.found) / len(self.found) if self.found else None

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """For each name, in order of first appearance: (events found, events in all)."""
        counts: dict[str, tuple[int, int]] = {}
        for event, found in zip(self.labelled, self.found, strict=True):
            before, total = counts.get(event.name, (0, 0))
            counts[event.name] = before + found, total + 1
        return counts


def event_kinds(level: npt.NDArray[np.int8], event: Sequence[str]) -> npt.NDArray[np.str_]:
    """The name of each frame's anomaly (N,): as labelled, `UNNAMED` where that is empty, "" where there is none."""
    kinds = [(name or UNNAMED) if at == ANOMALY else "" for at, name in zip(level, event, strict=True)]
    return np.array(kinds, dtype=np.str_)


def labelled_events(
    level: npt.NDArray[np.int8], event: Sequence[str], segment: npt.NDArray[np.integer]
) -> tuple[LabelledEvent, ...]:
    """The runs of anomalous frames, cut where the name or the segment changes; all arguments have N entries."""
    kind = event_kinds(level, event)
    if not len(kind):
        return ()
    changes = np.flatnonzero((kind[1:] != kind[:-1]) | (segment[1:] != segment[:-1])) + 1
    starts = [0, *changes.tolist()]
    ends = [*changes.tolist(), len(kind)]
    return tuple(
        LabelledEvent(str(kind[start]), start, end - 1, int(segment[start]))
        for start, end in zip(starts, ends, strict=True)
        if kind[start]
    )


def match_events(
    labelled: Sequence[LabelledEvent], level: npt.NDArray[np.int8], predicted: Sequence[tuple[int, int]]
) -> EventMatch:
    """Hold the `predicted` events (first and last frame, both inside) against the labels, `level` (N,)."""
    found = tuple(any(first <= event.last and last >= event.first for first, last in predicted) for event in labelled)
    false_alarms = tuple(bool((level[first : last + 1] == NORMAL).all()) for first, last in predicted)
    return EventMatch(tuple(labelled), found, false_alarms)
