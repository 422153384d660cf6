"""Log lines of a service: text for people, JSON lines for machines, priorities for the journal.

All of edgevad logs through `logging.getLogger("edgevad...")`. Figures that machines should find go along as
`extra={"fields": {...}}`. Secrets are masked whoever logs them, as `without_password` does.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal

from edgevad._masking import without_password
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.service.secrets import without_secrets

if TYPE_CHECKING:
    from edgevad.runtime.session import RunSummary

    _StreamHandler = logging.StreamHandler[IO[str]]
else:
    _StreamHandler = logging.StreamHandler  # of Python 3.10 it takes no type

__all__ = ["LogFormat", "LogSink", "configure_logging", "log_uncaught"]

LogFormat = Literal["auto", "text", "json"]

# Journal priorities, as syslog has them.
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_REMEMBERED = 256


def configure_logging(
    *,
    level: str = "info",
    format: LogFormat = "auto",
    repeat_s: float = 60.0,
    stream: IO[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send edgevad's log lines from `level` on, and Python's warnings, to `stream` (stderr).

    `format` "auto" is text on a terminal and JSON lines elsewhere. The same line again within `repeat_s` is counted
    instead of written. May be called again: the last call holds.
    """
    stream = sys.stderr if stream is None else stream
    as_text = format == "text" or (format == "auto" and stream.isatty())
    handler = _Handler(stream, repeat_s, clock)
    handler.setFormatter((_TextFormatter if as_text else _JsonFormatter)(is_journal=_is_journal(stream)))
    logging.captureWarnings(True)
    for name in ("edgevad", "py.warnings"):
        logger = logging.getLogger(name)
        for older in [one for one in logger.handlers if isinstance(one, _Handler)]:
            logger.removeHandler(older)
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False


def log_uncaught() -> None:
    """From now on what nobody caught, in any thread, is a log line like all others, instead of a bare traceback.

    What libraries raise may hold an address with its password, and the journal is read by many.
    """
    logger = logging.getLogger("edgevad.service")

    def in_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_type is not SystemExit and told.exc_value is not None:
            name = "a thread" if told.thread is None else told.thread.name
            trace = (told.exc_type, told.exc_value, told.exc_traceback)
            logger.critical("an error nobody expected ended %s", name, exc_info=trace)

    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logger.critical("an error nobody expected ended the run", exc_info=(kind, error, trace))

    sys.excepthook, threading.excepthook = in_main, in_thread


class LogSink(Sink):
    """Events, incidents, and what a run came to, as log lines."""

    name = "log"

    def __init__(self) -> None:
        from edgevad.report.run_view import event_line, incident_line

        self._logger = logging.getLogger("edgevad.run")
        self._event_line, self._incident_line = event_line, incident_line

    def start(self, run: RunInfo) -> None:
        self._say(logging.INFO, f"run {run.run_id} of {', '.join(run.sources)} by {run.engine}", run=run.to_json())

    def event_began(self, event: Event) -> None:
        self._say(logging.WARNING, f"began: {self._event_line(event)}", event=event.to_json())

    def event(self, event: Event) -> None:
        self._say(logging.WARNING, self._event_line(event), event=event.to_json())

    def incident(self, incident: Incident) -> None:
        is_bad = incident.lasts and incident.kind in ("camera_lost", "storage")
        is_notable = incident.lasts or incident.kind in ("config", "bundle")
        level = logging.ERROR if is_bad else logging.WARNING if is_notable else logging.INFO
        self._say(level, self._incident_line(incident), incident=incident.to_json())

    def finish(self, summary: RunSummary) -> None:
        counts = {key: value for key, value in summary.to_json().items() if key not in ("events", "cameras")}
        level = logging.INFO if summary.error is None else logging.ERROR
        ended = "ended" if summary.error is None else f"failed: {summary.error}"
        self._say(level, f"run {ended}: {summary.frames} frames, {summary.event_count} events", summary=counts)

    def _say(self, level: int, text: str, **fields: Any) -> None:
        self._logger.log(level, "%s", text, extra={"fields": fields})


class _Handler(_StreamHandler):
    """Writes lines at once, counts those that repeat, and never raises: a log that is gone must not stop the work."""

    def __init__(self, stream: IO[str], repeat_s: float, clock: Callable[[], float]) -> None:
        super().__init__(stream)
        self._repeat_s = repeat_s
        self._clock = clock
        # Of each line: when it was written, and how often it was not since.
        self._seen: OrderedDict[tuple[str, int, str], list[float]] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        now_s = self._clock()
        key = (record.name, record.levelno, _message(record))
        seen = self._seen.pop(key, None)
        if seen is not None and now_s - seen[0] < self._repeat_s:
            seen[1] += 1
            self._seen[key] = seen
            return
        if seen is not None and seen[1]:
            record.repeated = int(seen[1])
        self._seen[key] = [now_s, 0]
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


class _Formatter(logging.Formatter):
    def __init__(self, *, is_journal: bool) -> None:
        super().__init__()
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        # The journal keeps one entry a line, and takes its priority from the line's beginning.
        priority = _PRIORITIES.get(record.levelno, 6)
        return f"<{priority}>{line}" if self._is_journal else line

    def _line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def _trace(self, record: logging.LogRecord) -> str | None:
        return without_password(self.formatException(record.exc_info)) if record.exc_info else None


class _TextFormatter(_Formatter):
    def _line(self, record: logging.LogRecord) -> str:
        trace = self._trace(record)
        text = without_password(_message(record)) + _repeats(record) + (f" | {trace}" if trace else "")
        clock = "" if self._is_journal else _time(record) + " "  # the journal has its own
        return f"{clock}{record.levelname.lower()} {record.name}: {_one_line(text)}"


class _JsonFormatter(_Formatter):
    def _line(self, record: logging.LogRecord) -> str:
        value: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if count := getattr(record, "repeated", 0):
            value["repeated"] = count
        if trace := self._trace(record):
            value["trace"] = trace
        value.update(getattr(record, "fields", None) or {})
        return json.dumps(without_secrets(value), default=str, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # placeholders and arguments do not fit: no reason to lose the line
        return f"{record.msg} {record.args}"


def _repeats(record: logging.LogRecord) -> str:
    count = getattr(record, "repeated", 0)
    return f" (and {count} times since it was last written)" if count else ""


def _one_line(text: str) -> str:
    return "\\n".join(text.splitlines())


def _time(record: logging.LogRecord) -> str:
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{clock}.{int(record.msecs):03d}Z"


def _is_journal(stream: IO[str]) -> bool:
    """Whether `stream` leads to the journal, as systemd tells by device and inode in $JOURNAL_STREAM."""
    told = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return told == f"{found.st_dev}:{found.st_ino}"
