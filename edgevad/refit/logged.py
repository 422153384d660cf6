"""Reading a logged drive with everything that was noted of each image: state, score, events, marks."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.drives.messages import EVENTS_TOPIC, FRAME, SCORE
from edgevad.drives.reading import NEEDED_FOR, event_row, leg_errors
from edgevad.drives.rows import EventRow
from edgevad.events.stored import EventMark
from edgevad.refit.footage import CONFIRMED, DISMISSED, INSIDE, NEAR, Footage, FrameIndex, Leg
from edgevad.sources.frame import Frame
from edgevad.sources.mcap import McapSource, open_mcap

__all__ = ["NEAR_S", "DriveNotes", "LoggedFootage"]

#: A frame this close to an event, in seconds, or to a fault of the lens, is near it.
NEAR_S = 2.0
# A score that has waited so long gets no image any more: no pre-roll is longer.
_WAIT_NS = 60 * 10**9
_LASTS_NS = np.iinfo(np.int64).max // 2


class _Note(NamedTuple):
    """Of one image."""

    leg: Leg
    timestamp_ns: int
    state: str
    around_event: bool


@dataclass
class DriveNotes:
    """What the legs of a drive say beside their images; told leg by leg with `read`.

    Attributes:
        images: for each camera, stretch and log time to what is noted of each image.
        anomaly: for each camera, log time to the anomaly score of each image.
        events: by id, the last that was said of each.
    """

    images: dict[str, dict[tuple[int, int], _Note]] = field(default_factory=lambda: defaultdict(dict))
    anomaly: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    events: dict[int, EventRow] = field(default_factory=dict)
    _scores: dict[str, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))

    def read(self, leg: Leg, *, events_only: bool = False) -> None:
        """Add what `leg` says. No image is decoded, and of thirty scores a second only those that have an image.

        Raises:
            StoreError: it is broken.
        """
        reader_module = require("mcap.reader", extra="drives", needed_for=NEEDED_FOR)
        with leg_errors(leg.path), leg.path.open("rb") as stream:
            reader = reader_module.make_reader(stream, validate_crcs=True)
            summary = reader.get_summary()
            if summary is None:
                raise ValueError("it has no index")
            wanted = () if events_only else (FRAME, SCORE)
            topics = [one.topic for one in summary.channels.values() if one.topic.rpartition("/")[2] in wanted]
            new: dict[str, list[int]] = defaultdict(list)
            for _, channel, message in reader.iter_messages(topics=[*topics, EVENTS_TOPIC]):
                camera = channel.metadata.get("source_id") or channel.topic
                if channel.topic == EVENTS_TOPIC:
                    if (row := event_row(leg.path.parent.name, json.loads(message.data))) is not None:
                        self.add_event(row)
                elif channel.topic.endswith(f"/{SCORE}"):
                    self._scores[camera][message.log_time] = message.data
                else:
                    self._add_image(leg, camera, message.log_time, json.loads(message.data))
                    new[camera].append(message.log_time)
            for camera, times in new.items():
                self._match(camera, times)

    def forget_images(self, leg: Leg) -> None:
        """What was read of the images in `leg`, which turned out to be broken; its events stay."""
        for images in self.images.values():
            for key in [key for key, note in images.items() if note.leg == leg]:
                del images[key]

    def add_event(self, row: EventRow) -> None:
        """One that is over stays so."""
        known = self.events.get(row.id)
        if known is None or known.end_ns is None or row.end_ns is not None:
            self.events[row.id] = row

    def _add_image(self, leg: Leg, camera: str, log_ns: int, details: Mapping[str, Any]) -> None:
        times = [details.get(name) for name in ("timestamp_ns", "stretch")]
        if not all(isinstance(value, int) and abs(value) < 2**63 for value in times):
            raise ValueError("edgevad.Frame without its times")
        state, around = str(details.get("state", "")), bool(details.get("around_event"))
        note = _Note(leg, details["timestamp_ns"], state, around)
        self.images[camera][details["stretch"], log_ns] = note

    def _match(self, camera: str, times: Sequence[int]) -> None:
        # Images from before an event are written after it, maybe in the next leg: their scores wait for them.
        waiting = self._scores[camera]
        for log_ns in times:
            if (data := waiting.pop(log_ns, None)) is not None:
                value = json.loads(data).get("anomaly_score")
                is_number = isinstance(value, int | float) and math.isfinite(value)
                self.anomaly[camera][log_ns] = float(value) if is_number else math.nan
        newest_ns = max(waiting, default=0)
        for log_ns in [one for one in waiting if newest_ns - one > _WAIT_NS]:
            del waiting[log_ns]


class LoggedFootage(Footage):
    """One camera of the logged drive in `folder`, as far as `notes` were taken of it.

    Args:
        legs: those that `notes` were taken of.
        marks: what people said about the drive's events, by id.
    """

    def __init__(
        self, folder: Path, camera: str, legs: Sequence[Leg], notes: DriveNotes, marks: Mapping[int, EventMark]
    ) -> None:
        # As the legs are read back: by stretch, whatever the clock did between two of them, and then by time.
        keys = sorted(notes.images[camera])
        found = [notes.images[camera][key] for key in keys]
        used = {note.leg for note in found}
        legs = tuple(leg for leg in legs if leg in used)
        # A few numbers an image and no objects: a device may have a million of them.
        number = {leg: k for k, leg in enumerate(legs)}
        self._leg_of = np.array([number[note.leg] for note in found], np.int32)
        self._stretch = np.array([stretch for stretch, _ in keys], np.int64)
        index = _index(keys, found, notes.anomaly[camera], _events_of(notes, camera), marks)
        super().__init__(folder.name, str(folder), camera, legs, index, clock=True)

    def frames(self, rows: npt.NDArray[np.int64]) -> Generator[tuple[int, Frame], None, None]:
        row_of = {(int(self._stretch[row]), int(self.index.time_ns[row])): int(row) for row in rows}
        if not row_of:
            return
        paths = [self.legs[k].path for k in np.unique(self._leg_of[rows])]
        source = open_mcap(paths, name=f"{self.path}?camera={self.camera}", camera=self.camera)
        with source:
            for member in getattr(source, "members", (source,)):
                assert isinstance(member, McapSource)
                logged = member.logged_frames(
                    lambda log_ns, details: details is not None and (details["stretch"], log_ns) in row_of
                )
                with closing(logged):
                    for frame, log_ns, details in logged:
                        assert details is not None
                        yield row_of[details["stretch"], log_ns], frame


def _events_of(notes: DriveNotes, camera: str) -> list[EventRow]:
    return [event for event in notes.events.values() if event.source_id == camera]


def _index(
    keys: Sequence[tuple[int, int]],
    notes: Sequence[_Note],
    scores: Mapping[int, float],
    events: Sequence[EventRow],
    marks: Mapping[int, EventMark],
) -> FrameIndex:
    time_ns = np.array([log_ns for _, log_ns in keys], np.int64)
    stretches = np.array([stretch for stretch, _ in keys], np.int64)
    stretch = np.unique(stretches, return_inverse=True)[1].astype(np.int32)
    index = FrameIndex.of_times(time_ns, np.array([note.timestamp_ns for note in notes], np.int64), stretch)
    states = np.array([note.state for note in notes], dtype=object)
    fault = np.asarray(states == "fault", np.bool_)
    event = _events_at(time_ns, events, marks)
    event[(event == 0) & _is_near(fault, time_ns)] = NEAR
    event[(event == 0) & np.asarray(states == "anomaly", np.bool_)] = INSIDE  # of an event too short to be recorded
    return replace(
        index,
        fault=fault,
        anomaly=np.array([scores.get(log_ns, math.nan) for _, log_ns in keys], np.float32),
        dense=np.array([note.around_event for note in notes], np.bool_),
        event=event,
    )


def _events_at(
    time_ns: npt.NDArray[np.int64], events: Sequence[EventRow], marks: Mapping[int, EventMark]
) -> npt.NDArray[np.uint8]:
    """What frames at the times (N,) have to do with `events` (N,)."""
    found = np.zeros(len(time_ns), np.uint8)
    for event in events:
        # One without an end lasts; where the clock was set back meanwhile, it ends before it began.
        end_ns = _LASTS_NS if event.end_ns is None else max(event.start_ns, event.end_ns)
        margin_ns = round(NEAR_S * 1e9)
        is_near = (time_ns >= event.start_ns - margin_ns) & (time_ns <= end_ns + margin_ns)
        is_inside = (time_ns >= event.start_ns) & (time_ns <= end_ns)
        mark = marks.get(event.id, "")
        if mark == "":
            code = np.where(is_inside, INSIDE, NEAR * is_near)
        else:
            code = (CONFIRMED if mark == "confirmed" else DISMISSED) * is_near
        found = np.maximum(found, code.astype(np.uint8))
    return found


def _is_near(flag: npt.NDArray[np.bool_], time_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether frames at the times (N,) are within `NEAR_S` of one for which `flag` (N,) holds."""
    marked = np.sort(time_ns[flag])
    if not len(marked):
        return np.zeros(len(time_ns), np.bool_)
    after = np.searchsorted(marked, time_ns).clip(max=len(marked) - 1)
    before = (after - 1).clip(min=0)
    distance_ns = np.minimum(np.abs(marked[after] - time_ns), np.abs(marked[before] - time_ns))
    return np.asarray(distance_ns <= NEAR_S * 1e9, np.bool_)
