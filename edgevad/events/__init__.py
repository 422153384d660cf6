"""What the runtime noticed, and where it is written down."""

from __future__ import annotations

from edgevad.events.dispatch import Dispatcher
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.jsonl import JsonlSink
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink

__all__ = ["Dispatcher", "Event", "Incident", "JsonlSink", "RunInfo", "Sink"]
