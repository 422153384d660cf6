"""What sinks that tell somebody over a network have in common: a queue on the disk, and a thread that empties it."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from edgevad._files import writable_directory
from edgevad.errors import OutputError
from edgevad.events.event import Event
from edgevad.events.health import Health
from edgevad.events.incident import Incident
from edgevad.events.messages import event_message, incident_message
from edgevad.events.outbox import Outbox, OutboxLimits
from edgevad.events.run_info import RunInfo
from edgevad.events.runs import Runs
from edgevad.events.sink import Sink

__all__ = ["BackOff", "OutboxSink"]

# Shorter outages are nobody's business.
_PATIENCE_S = 5.0
# The thread may sit in a connection attempt; what it has not sent stays on the disk.
_CLOSE_S = 1.0


class BackOff:
    """Growing waits between attempts, each drawn from the upper half of its range: a fleet must not come at once."""

    def __init__(self, least_s: float = 1.0, most_s: float = 30.0) -> None:
        self._least_s = self._next_s = least_s
        self._most_s = most_s

    def wait_s(self) -> float:
        """How long to wait this time."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, self._most_s)
        return wait_s

    def reset(self) -> None:
        self._next_s = self._least_s


class OutboxSink(Sink):
    """Writes events and incidents into an `Outbox`; `_serve`, in a thread of its own, sends them off.

    Attributes:
        outbox: None before `start`.
        refused: messages dropped since the receiver will never take them.

    Raises:
        OutputError: the queue's folder cannot be written (on construction); the disk is full (from every method).
        SinkError: another run has the queue open (from `start`).
    """

    wants_results = False

    def __init__(self, name: str, outbox: str | PathLike[str], limits: OutboxLimits | None = None) -> None:
        self.name = name
        self.outbox: Outbox | None = None
        self.refused = 0
        self._path = Path(outbox)
        self._limits = limits
        self._runs = Runs()
        self._changed = threading.Condition()
        self._closing = False
        self._is_dropping = False
        self._taken = 0  # sequence number of the last message that the receiver has
        self._health = Health(name, self._tell, settle_s=0.0, patience_s=_PATIENCE_S)
        self._thread = threading.Thread(target=self._work, name=f"edgevad-{name}", daemon=True)
        writable_directory(self._path.parent)

    def start(self, run: RunInfo) -> None:
        outbox = Outbox(self._path, self._limits)
        if outbox.set_aside is not None:
            detail = f"{self.name}: its queue could not be used and is now {outbox.set_aside}; a new one is begun"
            self._tell(Incident.once("storage", "damaged", detail))
        self.outbox = outbox
        self._runs.start(run)
        self._thread.start()

    def continues(self, run: RunInfo) -> None:
        self._runs.start(run)

    def event_began(self, event: Event) -> None:
        self._post("event", event_message(self._runs.of_event(event, lasts=True), event, "began"))

    def event(self, event: Event) -> None:
        self._post("event", event_message(self._runs.of_event(event, lasts=False), event, "ended"))

    def incident(self, incident: Incident) -> None:
        self._post("incident", incident_message(self._runs.of_incident(incident), incident))

    def close(self) -> None:
        self._closing = True
        self._wake()
        if self._thread.ident is None:
            self._release()
        else:
            self._thread.join(_CLOSE_S)

    def figures(self) -> Mapping[str, int]:
        """Messages `waiting`, `dropped` (too many or too old) and `refused`; `failing` is 1 during an outage."""
        outbox = self.outbox
        return {
            "waiting": 0 if outbox is None else outbox.waiting,
            "dropped": 0 if outbox is None else outbox.dropped,
            "refused": self.refused,
            "failing": int(self._health.is_failing),
        }

    def _post(self, topic: str, body: bytes) -> None:
        outbox = self.outbox
        assert outbox is not None
        dropped = outbox.append(topic, body)
        if dropped and not self._is_dropping:
            detail = f"{self.name}: its queue on the disk is full, the oldest messages are dropped"
            self._tell(Incident.once("sink", "overflow", detail))
        self._is_dropping = bool(dropped)
        self._wake()

    def _work(self) -> None:
        outbox = self.outbox
        assert outbox is not None
        try:
            while not self._closing:
                try:
                    self._serve(outbox)
                except Exception as error:  # whatever happens here, the messages are on the disk and it goes on
                    self._health.failed(error)
                    self._wait(1.0)
        finally:
            outbox.close()
            self._release()
            self._health.gone()

    def _serve(self, outbox: Outbox) -> None:
        """Send what is in the queue, until something goes wrong or `_closing`; called again and again."""
        raise NotImplementedError

    def _settle(self, outbox: Outbox, sequence: int) -> None:
        """The receiver has all messages up to this one."""
        self._taken = sequence
        try:
            outbox.done(sequence)
        except OutputError:
            return  # a disk that is full; it goes with the next one, and is not sent again in this run

    def _release(self) -> None:
        """Let go of what the constructor took; called last, once or more."""

    def _flush(self, outbox: Outbox) -> None:
        """Bring what is only in memory to the disk, where there is room again; that there is none was told already."""
        try:
            outbox.flush()
        except OutputError:
            return

    def _wake(self) -> None:
        """There is something to do for the thread."""
        with self._changed:
            self._changed.notify_all()

    def _wait(self, timeout_s: float) -> None:
        """Until something changes, or this long."""
        with self._changed:
            if not self._closing:
                self._changed.wait(timeout_s)

    def _pause(self, timeout_s: float) -> None:
        """This long, whatever changes, unless it is to be closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout_s)

    def _tell(self, incident: Incident) -> None:
        if self.on_incident is not None:
            self.on_incident(incident)
