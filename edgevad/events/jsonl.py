"""Results as JSON lines: frames.jsonl, events.jsonl and incidents.jsonl, one line each; then summary.json.

They grow while the run goes on: every line is handed to the operating system at once (`tail -f` shows it, and it
outlives this process); an event is also on the disk at once and outlives a loss of power. An incident that lasts has
two lines of one id.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack, suppress
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgevad._files import output_errors, writable_directory, write_json
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.sink import Sink

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["EVENTS_NAME", "FRAMES_NAME", "INCIDENTS_NAME", "SUMMARY_NAME", "JsonlSink"]

FRAMES_NAME = "frames.jsonl"
EVENTS_NAME = "events.jsonl"
INCIDENTS_NAME = "incidents.jsonl"
SUMMARY_NAME = "summary.json"


class JsonlSink(Sink):
    """Writes its files into `directory`, replacing those of an earlier run.

    The earlier run's summary goes at once, so that it never stands beside frames that are not its own.

    Raises:
        OutputError: the folder cannot be written, or the disk is full (on construction and from every method).
    """

    def __init__(self, directory: str | PathLike[str]) -> None:
        folder = writable_directory(directory)
        self.frames_path = folder / FRAMES_NAME
        self.events_path = folder / EVENTS_NAME
        self.incidents_path = folder / INCIDENTS_NAME
        self.summary_path = folder / SUMMARY_NAME
        with output_errors(self.summary_path):
            self.summary_path.unlink(missing_ok=True)
        with ExitStack() as opened:
            self._frames = opened.enter_context(_lines(self.frames_path))
            self._events = opened.enter_context(_lines(self.events_path))
            self._incidents = opened.enter_context(_lines(self.incidents_path))
            self._streams = opened.pop_all()
        self._quoted: dict[str, str] = {}

    def push(self, result: Result) -> None:
        frame = result.frame
        source = self._quoted.get(frame.source_id)
        if source is None:
            # Only the source at hand is kept: a run over ten thousand clips must not remember their names.
            source = json.dumps(frame.source_id)
            self._quoted = {frame.source_id: source}
        # Written by hand: a quarter of the time that json.dumps takes, on every frame.
        line = (
            f'{{"frame": {frame.index}, "timestamp_ns": {frame.timestamp_ns}, "source_id": {source}, '
            f'"segment": {frame.segment}, "frame_score": {_number(result.frame_score)}, '
            f'"anomaly_score": {_number(result.anomaly_score)}, "cause": {_quoted(result.cause)}, '
            f'"fault": {_quoted(result.fault)}, '
            f'"deviates": [{", ".join(f"{value:.5g}" for value in result.deviates)}], '
            f'"is_anomaly": {"true" if result.is_anomaly else "false"}, "state": "{result.state}", '
            f'"latency_ms": {1e3 * result.latency_s:.3f}}}\n'
        )
        with output_errors(self.frames_path):
            self._frames.write(line)

    def event(self, event: Event) -> None:
        self._write(self._events, self.events_path, event.to_json())

    def incident(self, incident: Incident) -> None:
        self._write(self._incidents, self.incidents_path, incident.to_json())

    def finish(self, summary: RunSummary) -> None:
        write_json(self.summary_path, summary.to_json())

    def close(self) -> None:
        with output_errors(self.frames_path.parent):
            self._streams.close()

    def abandon(self) -> None:
        # A stream that could not be flushed says so again when it is closed.
        with suppress(OSError):
            self._streams.close()

    def _write(self, stream: IO[str], path: Path, value: object) -> None:
        with output_errors(path):
            stream.write(json.dumps(value, allow_nan=False) + "\n")
            _sync(stream)


def _lines(path: Path) -> IO[str]:
    # Buffered by line: of a camera that stalls, the last frames must not wait for the next one.
    with output_errors(path):
        return path.open("w", buffering=1, encoding="utf-8", newline="\n")


def _sync(stream: IO[str]) -> None:
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        # Pipes and terminals have nothing to sync.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _quoted(name: str | None) -> str:
    # The manifest lets only plain words be names of parts, and faults are words of ours.
    return "null" if name is None else f'"{name}"'


def _number(value: float | None) -> str:
    # Nine digits bring back any float32.
    return "null" if value is None else f"{value:.9g}"
