"""Writes events into the event store as they happen, with thumbnail, heatmap and a clip from before to after."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

from edgevad.errors import EdgevadError
from edgevad.events.clip import affordable, clip_suffix
from edgevad.events.event import Event
from edgevad.events.footage import ClosedClip, Footage
from edgevad.events.incident import Incident
from edgevad.events.media import media_name
from edgevad.events.recorder_spec import RecorderSpec
from edgevad.events.run_info import RunInfo
from edgevad.events.runs import Runs
from edgevad.events.shelf import Shelf
from edgevad.events.sink import Sink
from edgevad.events.stored import StoredEvent

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["Recorder", "RecorderSpec"]

RETRY_S = 1.0
# A chain of ten thousand recordings must not leave ten thousand pre-rolls behind.
MAX_CAMERAS = 16
NICENESS = 10


class Recorder(Sink):
    """The one writer of an event store; opening it brings in order what an earlier run has left behind.

    While the disk is full or at its floor, every method raises that as `OutputError`, after it has done what it can:
    rows wait in memory, clips are not made, and begin late where their event still lasts when there is space again.

    Attributes:
        shelf: the store, and what waits to be written to it.

    Raises:
        StoreError: another process records into this store.
        OutputError: the store cannot be written (on construction, but for a full disk, and from every method).
    """

    name = "event store"

    def __init__(self, directory: str | PathLike[str] | None = None, spec: RecorderSpec | None = None) -> None:
        # The encoders are tried here, which takes its time, and not when the first event comes.
        self.spec = affordable(RecorderSpec() if spec is None else spec)
        self.shelf = Shelf(directory, floor_bytes=self.spec.floor_bytes, retention=self.spec.retention)
        self._cameras: OrderedDict[str, Footage] = OrderedDict()
        self._rows: dict[str, StoredEvent] = {}  # that last, or whose clip is being written
        self._run: RunInfo | None = None
        self._runs = Runs()
        self._retry_s = 0.0
        self._problem: EdgevadError | None = None
        self._closed = False

    def start(self, run: RunInfo) -> None:
        self.continues(run)
        if run.is_live and threading.current_thread() is not threading.main_thread():
            # Encoding may wait; scoring may not. Linux keeps niceness by thread.
            thread = threading.get_native_id()
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
        self._flush()
        self._problem = None  # push tells it again if it lasts; a start that fails would be tried for ever

    def continues(self, run: RunInfo) -> None:
        self._run = run
        self._runs.start(run)

    def push(self, result: Result) -> None:
        camera = self._camera(result.frame.source_id)
        self._closed_clip(camera.push(result))
        now_s = time.monotonic()
        if now_s >= self._retry_s:
            self._retry_s = now_s + RETRY_S
            self._flush()
            with self._noting():
                self.shelf.prune_now_and_then()
            for row in [self._rows[name] for name in map(str, sorted(camera.missed)) if name in self._rows]:
                self._film(camera, row)
        with self._noting():
            self.shelf.floor.demand()
        self._tell()

    def event_began(self, event: Event) -> None:
        camera = self._camera(event.source_id)
        # The row first: it is what must not be lost.
        row = self._put(StoredEvent.of_event(self._runs.of_event(event, lasts=True), event, time.time_ns(), lasts=True))
        self._flush()
        row = self._picture(camera, row)
        camera.missed.add(event.id)
        self._film(camera, row)
        self._flush()
        self._tell()

    def event(self, event: Event) -> None:
        camera = self._camera(event.source_id)
        fresh = StoredEvent.of_event(self._runs.of_event(event, lasts=False), event, time.time_ns(), lasts=False)
        known = self._rows.get(fresh.id) or self.shelf.known(fresh)
        if known is not None:
            media = {name: getattr(known, name) for name in ("clip", "clip_start_ns", "clip_end_ns", "stored_ns")}
            fresh = replace(fresh, **media, thumbnail=known.thumbnail, heatmap=known.heatmap)
        self._picture(camera, self._put(fresh))
        self._closed_clip(camera.event_over(event.id, event.end_ns))
        if not camera.films(event.id):
            self._rows.pop(fresh.id, None)
        self._flush()
        self._tell()

    def incident(self, incident: Incident) -> None:
        fresh = StoredEvent.of_incident(self._runs.of_incident(incident), incident, time.time_ns())
        self._put(fresh)
        if not incident.lasts:
            self._rows.pop(fresh.id, None)
        if incident.kind == "camera_lost" and incident.source_id in self._cameras:
            self._closed_clip(self._cameras[incident.source_id].close_clip())
        self._flush()
        self._tell()

    def finish(self, summary: RunSummary) -> None:
        self._end()
        self._tell()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._end()
        with self._noting():
            self.shelf.close()
        self._tell()

    def abandon(self) -> None:
        with suppress(EdgevadError):
            self.close()

    def _camera(self, name: str) -> Footage:
        camera = self._cameras.get(name)
        if camera is None:
            camera = self._cameras[name] = Footage(self.spec)
            idle = [other for other, footage in self._cameras.items() if footage.clip is None and other != name]
            most = MAX_CAMERAS if self._run is None else max(MAX_CAMERAS, len(self._run.sources))
            for other in idle[: max(len(self._cameras) - most, 0)]:
                del self._cameras[other]
        self._cameras.move_to_end(name)
        return camera

    def _put(self, row: StoredEvent) -> StoredEvent:
        """Have `row` written at the next flush, and remember it while it may change."""
        self._rows[row.id] = row
        self.shelf.put(row)
        return row

    def _flush(self) -> None:
        with self._noting():
            self.shelf.flush()
            if self.shelf.notices and self._run is not None:
                self._pass_on_notices(self._run)
                self.shelf.flush()

    def _pass_on_notices(self, run: RunInfo) -> None:
        """What happened when the store was opened is told to everybody, and is a row of it."""
        notices, self.shelf.notices = self.shelf.notices, []
        for notice in notices:
            self.shelf.put(StoredEvent.of_incident(run, notice, time.time_ns()))
            if self.on_incident is not None:
                self.on_incident(notice)

    def _picture(self, camera: Footage, row: StoredEvent) -> StoredEvent:
        """Thumbnail and heatmap of the peak so far."""
        peak = camera.peak
        if peak is None or camera.pictured is peak:
            return row
        with self._noting():
            thumbnail, heatmap = self._name(row, ".jpg"), None
            self.shelf.write(thumbnail, peak.thumbnail())
            heat = peak.heat_image()
            if heat is not None:
                heatmap = self._name(row, ".png")
                self.shelf.write(heatmap, heat)
            camera.pictured = peak
            self._put(replace(row, thumbnail=thumbnail, heatmap=heatmap))
        return self._rows[row.id]

    def _film(self, camera: Footage, row: StoredEvent) -> None:
        """Give an event its clip: the one being written, if that has time left, or a new one."""
        event = int(row.id)
        if camera.can_join():
            camera.join_clip(event)
        else:
            self._closed_clip(camera.close_clip())
            with self._noting():
                self.shelf.demand_quota()
                path = self.shelf.directory / self._name(row, clip_suffix())
                camera.start_clip(path, event, row.start_ns, self.shelf.floor)
        clip = camera.clip
        if clip is not None:
            relative = clip.path.relative_to(self.shelf.directory).as_posix()
            self._put(replace(self._rows[row.id], clip=relative, clip_start_ns=clip.start_ns))

    def _name(self, row: StoredEvent, suffix: str) -> str:
        return media_name(row.run.run_id, row.id, row.stored_ns, suffix)

    def _closed_clip(self, closed: ClosedClip | None) -> None:
        if closed is None:
            return
        self._problem = self._problem or closed.error
        for event in closed.events:
            row = self._rows.get(str(event))
            if row is not None:
                if closed.end_ns is None:
                    row = replace(row, clip=None, clip_start_ns=None)
                self._put(replace(row, clip_end_ns=closed.end_ns))
                if row.end_ns is not None:
                    del self._rows[row.id]
        with self._noting():
            self.shelf.flush()
            self.shelf.prune_now_and_then()

    def _end(self) -> None:
        """Finish the clips; what lasts on has been interrupted by the end of the run."""
        for camera in self._cameras.values():
            self._closed_clip(camera.close_clip())
        for row in list(self._rows.values()):
            if row.end_ns is None:
                camera_at = self._cameras.get(row.camera)
                end_ns = camera_at.last_ns if camera_at is not None and row.peak_frame is not None else time.time_ns()
                self._put(replace(row, end_ns=max(end_ns, row.start_ns), interrupted=True))
        self._rows.clear()
        self._flush()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note an error of ours down for `_tell`: it must not end what else there is to do."""
        try:
            yield
        except EdgevadError as error:
            self._problem = self._problem or error

    def _tell(self) -> None:
        """Raise what went wrong, once everything that could be done was done."""
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem
