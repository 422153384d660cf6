"""An edgevad sink that raises a GPIO line while something is out of the ordinary: a lamp, a relay, another computer.

[plugins.gpio]
chip = "/dev/gpiochip0"
line = 17
active_low = false
raise_on_fault = true  # also while a camera is lost or its lens covered
"""

from __future__ import annotations

from typing import Any, Protocol

from edgevad.errors import ConfigError, SinkError
from edgevad.events import Event, Incident, RunInfo, Sink

__all__ = ["GpioSink", "Line", "open_line", "sink_from"]

_DEFAULTS: dict[str, Any] = {"chip": "/dev/gpiochip0", "line": None, "active_low": False, "raise_on_fault": False}


class Line(Protocol):
    """One output."""

    def set(self, raised: bool) -> None: ...
    def close(self) -> None: ...


class GpioSink(Sink):
    """Raises its line from the moment an event is certain until all events are over.

    Args:
        line: set low at the start and at the end of every run.
        raise_on_fault: also while a camera is lost, or shows nothing.
    """

    name = "gpio"
    wants_results = False  # events say it all: no frame needs to wait for this sink

    def __init__(self, line: Line, *, raise_on_fault: bool = False) -> None:
        self._line = line
        self._raise_on_fault = raise_on_fault
        self._reasons: set[int | str] = set()  # ids of what lasts: events have numbers, incidents words

    def start(self, run: RunInfo) -> None:
        self._reasons.clear()
        self._line.set(False)

    def event_began(self, event: Event) -> None:
        self._change(event.id, lasts=True)

    def event(self, event: Event) -> None:
        self._change(event.id, lasts=False)

    def incident(self, incident: Incident) -> None:
        if self._raise_on_fault and incident.kind in ("camera_lost", "camera_fault"):
            self._change(incident.id, lasts=incident.lasts)

    def close(self) -> None:
        self._line.close()

    def _change(self, reason: int | str, *, lasts: bool) -> None:
        (self._reasons.add if lasts else self._reasons.discard)(reason)
        self._line.set(bool(self._reasons))


def sink_from(settings: dict[str, Any]) -> GpioSink:
    """What the entry point names: a sink of the settings under [plugins.gpio].

    Raises:
        ConfigError: a setting is unknown, missing or of the wrong kind.
        SinkError: there is no such line, or it is in use.
    """
    unknown = sorted(set(settings) - set(_DEFAULTS))
    if unknown:
        raise ConfigError(f"has no setting {unknown[0]!r}", where="plugins.gpio", expected=", ".join(_DEFAULTS))
    found = {**_DEFAULTS, **settings}
    if type(found["line"]) is not int or found["line"] < 0:
        raise ConfigError("line is no number", where="plugins.gpio", expected="the line's offset, as gpioinfo shows it")
    line = open_line(str(found["chip"]), found["line"], active_low=bool(found["active_low"]))
    return GpioSink(line, raise_on_fault=bool(found["raise_on_fault"]))


def open_line(chip: str, offset: int, *, active_low: bool) -> Line:
    """The line as an output, low, through Linux's GPIO character device."""
    try:
        import gpiod
        from gpiod.line import Direction, Value
    except ImportError as error:
        raise SinkError(
            "needs Python's gpiod", where="plugins.gpio", fix="pip install 'edgevad-gpio[gpiod]'"
        ) from error
    settings = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value.INACTIVE, active_low=active_low)
    try:
        request = gpiod.request_lines(chip, consumer="edgevad", config={offset: settings})
    except (OSError, ValueError) as error:
        raise SinkError(f"line {offset} cannot be used ({error})", where=chip) from error

    class Requested:
        def set(self, raised: bool) -> None:
            try:
                request.set_value(offset, Value.ACTIVE if raised else Value.INACTIVE)
            except OSError as error:
                raise SinkError(f"line {offset} cannot be set ({error})", where=chip) from error

        def close(self) -> None:
            # A lamp must not go on telling of a run that is over. After a second close there is no request.
            if request:
                request.set_value(offset, Value.INACTIVE)
                request.release()

    return Requested()
