"""The drive log: what the cameras saw and what was thought of it, as MCAP files that Foxglove opens as they are."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from edgevad._extras import require
from edgevad._files import output_errors, sync_directory, writable_directory
from edgevad.drives.camera import CameraLog, LoggedImage, encode_image
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import drive_name, leg_name, marks_in_doubt
from edgevad.drives.leg import LegWriter
from edgevad.drives.lock import FolderLock
from edgevad.drives.messages import (
    EVENTS_TOPIC,
    FRAME,
    IMAGE,
    INCIDENTS_TOPIC,
    SCORE,
    STATE_TOPIC,
    event_message,
    image_message,
    incident_message,
    run_metadata,
    score_message,
    topic_of,
)
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.drives.recovery import open_catalogue, recover, remove_folder
from edgevad.drives.retention import prune
from edgevad.drives.rows import EventRow
from edgevad.errors import EdgevadError, OptionError, OutputError
from edgevad.events.disk import DiskFloor
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.sources.frame import Image

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["DriveLog"]

RETRY_S = 1.0
_CAMERAS_KEPT = 32  # a run over ten thousand clips must not remember all their names
_BETWEEN_NS = 10**9
_STRETCHES_A_LEG = 10**6  # more than there can be, so that no number comes twice in a drive


class DriveLog(Sink):
    """Logs each run as a drive into `directory`; see docs/drives.md for what is in it.

    What an earlier process left unfinished there is recovered by `start`. Where the disk is full or its floor is
    reached, and nothing may be removed for it, the log rests: every method raises until there is space, then a new leg
    begins.

    Raises:
        OptionError: the limits hold not even two legs (on construction).
        MissingExtraError: the packages of the extra `drives` are not installed (on construction).
        StoreError: another process logs there (on construction and from `start`); the catalogue is of a newer edgevad
            (from `start`).
        OutputError: the folder cannot be written (on construction), or the disk is full (from every other method).
    """

    name = "drive log"

    def __init__(
        self, directory: str | PathLike[str], policy: LogPolicy | None = None, retention: LegRetention | None = None
    ) -> None:
        for module in ("mcap.writer", "foxglove_schemas_protobuf.CompressedImage_pb2"):
            require(module, extra="drives", needed_for="The drive log")
        self.policy = policy or LogPolicy()
        self.retention = retention or LegRetention()
        max_bytes = self.retention.max_bytes
        if max_bytes is not None and max_bytes < 2 * self.policy.leg_bytes:
            raise OptionError(
                f"drives limited to {max_bytes / 1e6:g} MB hold not even two legs of"
                f" {self.policy.leg_bytes / 1e6:g} MB",
                fix="Raise max_bytes, or lower leg_bytes",
            )
        self.root = Path(directory)
        try:
            writable_directory(self.root)
        except OutputError as error:
            if "full" not in error.what:  # that may pass, and scoring does not wait for it
                raise
        self._lock = FolderLock(self.root)
        self._floor = DiskFloor(self.root, self.retention.floor_bytes)
        self._catalogue: Catalogue | None = None
        self._run: RunInfo | None = None
        self._of_legs: RunInfo | None = None  # as its legs tell it: the bundle may change in the middle of a drive
        self._drive = ""
        self._leg: LegWriter | None = None
        self._number = 0
        self._stretches = count()
        self._cameras: OrderedDict[str, CameraLog] = OrderedDict()
        self._last_ns = 0
        self._unsaved: dict[int, EventRow] = {}  # events that the catalogue does not know yet
        self._failure: EdgevadError | None = None
        self._rested_s = 0.0

    def start(self, run: RunInfo) -> None:
        self._run = run
        self._of_legs = run
        self._drive = drive_name(run)
        self._last_ns = run.started_ns - _BETWEEN_NS
        with output_errors(self.root):
            self._take_up()
            self._add_drive()
        # After a reload the same run goes on in the same drive.
        self._number = max((leg.number for leg in self._index().legs(self._drive)), default=0)
        self._stretches = count(self._number * _STRETCHES_A_LEG)

    def continues(self, run: RunInfo) -> None:
        """The drive goes on, in a new leg: what a leg says of its bundle holds for all of its scores."""
        assert self._run is not None, "start() comes first"
        self._of_legs = replace(
            self._run,
            bundle=run.bundle,
            bundle_name=run.bundle_name,
            bundle_digest=run.bundle_digest,
            engine=run.engine,
            threshold=run.threshold,
        )
        with self._rests():
            self._close_leg()

    def push(self, result: Result) -> None:
        with self._rests():
            leg = self._leg_now()
            frame = result.frame
            camera = self._camera(frame.source_id)
            log_ns = camera.log_time_ns(frame, self._last_ns + _BETWEEN_NS)
            self._last_ns = max(self._last_ns, log_ns)
            if camera.went_back and camera.leg == self._number:
                # Readers order a leg by time: what came before and after would be mingled.
                self._close_leg()
                leg = self._open_leg()
            camera.leg = self._number
            topic = topic_of(frame.source_id)
            leg.add_json(f"{topic}/{SCORE}", score_message(result), log_ns, frame.timestamp_ns, frame.source_id)
            if camera.state != (result.state, result.fault):
                camera.state = (result.state, result.fault)
                state = {"camera": topic[1:], "state": result.state, "fault": result.fault}
                leg.add_json(STATE_TOPIC, state, log_ns, log_ns)
            images = camera.images(
                frame, log_ns, state=result.state, is_anomaly=result.is_anomaly, encode=self._encoded
            )
            for image in images:
                _add_image(leg, topic, frame.source_id, image)
            self._keep_up(leg)

    def event_began(self, event: Event) -> None:
        self._log_event(event, is_over=False)

    def event(self, event: Event) -> None:
        self._log_event(event, is_over=True)

    def incident(self, incident: Incident) -> None:
        with self._rests():
            leg = self._leg_now()
            now_ns = incident.start_ns if incident.end_ns is None else incident.end_ns
            leg.add_json(INCIDENTS_TOPIC, incident_message(incident), now_ns, now_ns)
            self._keep_up(leg)

    def close(self) -> None:
        try:
            if self._catalogue is not None and self._run is not None:
                with self._rests():
                    self._close_leg()
                    self._save_events()
                    catalogue = self._index()
                    if catalogue.legs(self._drive):
                        catalogue.end_drive(self._drive, time.time_ns())
                    else:
                        catalogue.remove_drive(self._drive)
                        remove_folder(self.root / self._drive)
        finally:
            self._let_go()

    def abandon(self) -> None:
        with suppress(EdgevadError):
            self.close()

    def _let_go(self) -> None:
        catalogue, self._catalogue = self._catalogue, None
        if catalogue is not None:
            catalogue.close()
        self._lock.release()

    # Legs

    def _leg_now(self) -> LegWriter:
        if self._failure is not None:
            if time.monotonic() - self._rested_s < RETRY_S:
                raise self._failure.with_traceback(None)
            self._resume()
        leg = self._leg
        if leg is not None and (
            time.monotonic() - leg.opened_s >= self.policy.leg_s or leg.size_bytes >= self.policy.leg_bytes
        ):
            self._close_leg()
            leg = None
        return leg if leg is not None else self._open_leg()

    def _open_leg(self) -> LegWriter:
        assert self._of_legs is not None, "push comes after start"
        if not self._has_room():
            self._floor.demand()
        folder = self.root / self._drive
        folder.mkdir(exist_ok=True)
        sync_directory(self.root)
        self._number += 1
        metadata = {**run_metadata(self._of_legs, self.policy), "leg": str(self._number)}
        # The file first: of a row without a file the next start would say that a leg is missing.
        self._leg = LegWriter(
            folder / leg_name(self._number), metadata, flush_s=self.policy.flush_s, sync_s=self.policy.sync_s
        )
        self._index().open_leg(self._drive, self._number)
        for camera in self._cameras.values():
            camera.state = None  # every leg tells it
        return self._leg

    def _close_leg(self) -> None:
        leg, self._leg = self._leg, None
        if leg is None:
            return
        try:
            facts = leg.finish()
        except BaseException:
            leg.drop()
            raise
        # The row only once the file has its name: after a kill in between, the file is found and the row put right.
        if facts is None:
            self._index().remove_leg(self._drive, self._number)
            return
        self._index().close_leg(self._drive, self._number, facts, "closed")
        self._index().apply_marks(self._drive, marks_in_doubt(self.root / self._drive))

    def _keep_up(self, leg: LegWriter, *, at_once: bool = False) -> None:
        before_bytes = leg.size_bytes
        if not leg.keep_up(at_once=at_once) or self._floor.allows(leg.size_bytes - before_bytes):
            return
        if not self._has_room():
            self._close_leg()  # what is left of the floor is enough for its index
            self._floor.demand()

    def _has_room(self) -> bool:
        """Above the floor, once what the limits demand has gone: for a leg more than there is, not for each frame."""
        reserve = self.policy.leg_bytes + self.retention.floor_bytes // 10
        with suppress(EdgevadError):
            self._save_events()
        unsaved = list(self._unsaved.values())
        if prune(self.root, self._index(), self.retention, reserve_bytes=reserve, current=self._drive, unsaved=unsaved):
            self._floor = DiskFloor(self.root, self.retention.floor_bytes)  # it looks anew
        return self._floor.allows()

    # Resting

    @contextmanager
    def _rests(self) -> Iterator[None]:
        """What the disk refuses makes the log rest, and is raised."""
        try:
            with output_errors(self.root / self._drive):
                yield
        except EdgevadError as error:
            if error is not self._failure:
                self._rest(error)
            raise

    def _rest(self, error: EdgevadError) -> None:
        self._failure, self._rested_s = error, time.monotonic()
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.drop()
        for camera in self._cameras.values():
            camera.interrupt()

    def _resume(self) -> None:
        self._rested_s = time.monotonic()
        has_room = True
        with suppress(EdgevadError):  # it may be the catalogue, or the folder, that is gone: looked at next
            has_room = self._has_room()
        if not has_room:
            self._floor.demand()
        self._take_up()
        self._add_drive()
        self._save_events()
        self._failure = None

    def _take_up(self) -> None:
        """Look at what there is: at the start, and again after every failure."""
        writable_directory(self.root)
        # Not on construction: after a reload this log is made while the one before it still holds the folder.
        self._lock.acquire()
        if self._catalogue is not None:
            self._catalogue.close()
            self._catalogue = None
        self._catalogue, _ = open_catalogue(self.root)
        recover(self.root, self._catalogue, current=self._drive or None)

    def _add_drive(self) -> None:
        if self._run is not None:
            self._index().add_drive(self._drive, self._run.started_ns, run_metadata(self._run, self.policy))

    def _index(self) -> Catalogue:
        if self._catalogue is None:
            raise OutputError("the drive log is closed", where=self.root)
        return self._catalogue

    # Details

    def _log_event(self, event: Event, *, is_over: bool) -> None:
        camera = self._camera(event.source_id)
        start_ns = camera.log_time_of(event.segment, event.start_ns)
        end_ns = camera.log_time_of(event.segment, event.end_ns)
        # The catalogue first, and while the log rests, too: the legs before an event are evidence, whether or not
        # there is room to write down what came after.
        self._unsaved[event.id] = EventRow(
            self._drive,
            event.id,
            event.source_id,
            event.cause,
            event.peak_score,
            start_ns,
            end_ns if is_over else None,
        )
        with suppress(EdgevadError):
            self._save_events()
        with self._rests():
            leg = self._leg_now()
            message = event_message(event, is_over=is_over, logged_start_ns=start_ns, logged_end_ns=end_ns)
            leg.add_json(EVENTS_TOPIC, message, end_ns, event.end_ns)
            self._keep_up(leg, at_once=True)
            self._save_events()

    def _save_events(self) -> None:
        for event in list(self._unsaved.values()):
            self._index().put_event(event)
            del self._unsaved[event.id]

    def _camera(self, source_id: str) -> CameraLog:
        camera = self._cameras.get(source_id)
        if camera is None:
            camera = self._cameras[source_id] = CameraLog(source_id, self.policy, self._stretches.__next__)
            if len(self._cameras) > _CAMERAS_KEPT:
                self._cameras.popitem(last=False)
        self._cameras.move_to_end(source_id)
        return camera

    def _encoded(self, image: Image) -> bytes:
        return encode_image(image, self.policy)


def _add_image(leg: LegWriter, topic: str, source_id: str, image: LoggedImage) -> None:
    # Its details first: whoever reads on has them when the image comes.
    leg.add_json(f"{topic}/{FRAME}", image.details, image.log_ns, image.recorded_ns, source_id)
    data = image_message(image.jpeg, source_id, image.log_ns)
    leg.add_image(f"{topic}/{IMAGE}", data, image.log_ns, image.recorded_ns, source_id)
