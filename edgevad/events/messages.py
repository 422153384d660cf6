"""What is told to others about events and incidents, and the state of the device as a whole."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo

__all__ = ["DeviceStatus", "event_message", "incident_message"]

_CAMERA_KINDS = ("camera_lost", "camera_fault")


def event_message(run: RunInfo, event: Event, phase: Literal["began", "ended"]) -> bytes:
    """An event as JSON; "began" holds what is known of it so far, and comes again as "ended" with the same `id`."""
    return _encoded("event", run, {"phase": phase, **event.to_json()})


def incident_message(run: RunInfo, incident: Incident) -> bytes:
    """An incident as JSON; `end_ns` is null while it lasts."""
    return _encoded("incident", run, incident.to_json())


def _encoded(kind: str, run: RunInfo, body: dict[str, Any]) -> bytes:
    document = {
        "type": kind,
        "device": run.device,
        "run_id": run.run_id,
        "bundle": run.bundle_name,
        "bundle_digest": run.bundle_digest,
        "created_ns": time.time_ns(),
        **body,
    }
    return json.dumps(document, allow_nan=False).encode()


class DeviceStatus:
    """Whether the device as a whole, and each of its cameras, is "normal", sees an "anomaly" or has a "fault"."""

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._open: dict[int, str] = {}  # events that last, and their cameras
        self._faults: dict[str, str] = {}  # incidents of cameras that last, and their cameras

    def continues(self, run: RunInfo) -> None:
        """Another bundle is in use."""
        self._run = run

    def event_began(self, event: Event) -> None:
        self._open[event.id] = event.source_id

    def event(self, event: Event) -> None:
        self._open.pop(event.id, None)

    def incident(self, incident: Incident) -> None:
        if incident.kind in _CAMERA_KINDS:
            if incident.lasts:
                self._faults[incident.id] = incident.source_id
            else:
                self._faults.pop(incident.id, None)

    @property
    def state(self) -> str:
        """The worst there is: a camera that sees nothing says nothing about what another one sees."""
        return "anomaly" if self._open else "fault" if self._faults else "normal"

    @property
    def cameras(self) -> dict[str, str]:
        states = dict.fromkeys(self._run.sources, "normal")
        states.update(dict.fromkeys(self._open.values(), "anomaly"))
        states.update(dict.fromkeys(self._faults.values(), "fault"))
        return states

    def to_json(self) -> dict[str, Any]:
        run = self._run
        return {
            "online": True,
            "state": self.state,
            "cameras": self.cameras,
            "device": run.device,
            "run_id": run.run_id,
            "started_ns": run.started_ns,
            "bundle": run.bundle_name,
            "bundle_digest": run.bundle_digest,
            "engine": run.engine,
        }

    def offline(self, reason: str) -> dict[str, Any]:
        return {"online": False, "device": self._run.device, "run_id": self._run.run_id, "reason": reason}
