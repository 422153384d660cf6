"""Whether something works, told as one incident however often it fails."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable

from edgevad.errors import OutputError
from edgevad.events.incident import Incident

__all__ = ["Health", "Report"]

Report = Callable[[Incident], None]

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Health:
    """Turns failures and successes of one outlet into incidents: one when it begins to fail, ended when it works again.

    Something that fails, works and fails again by turns is one incident: it is over only when the outlet works and
    nothing has failed for `settle_s` seconds. Safe to use from several threads.

    Args:
        name: of the outlet, as people call it.
        report: takes the incidents.
        patience_s: failures are kept quiet until they have gone on for this long.
    """

    def __init__(
        self,
        name: str,
        report: Report,
        *,
        settle_s: float = 10.0,
        patience_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.failures = 0
        self._report = report
        self._settle_s = settle_s
        self._patience_s = patience_s
        self._clock = clock
        self._lock = threading.Lock()
        self._works = True
        self._incident: Incident | None = None
        self._failing_since_s = self._failed_s = 0.0
        self._failures_before = 0

    @property
    def is_failing(self) -> bool:
        """There is an incident that lasts."""
        return self._incident is not None

    def failed(self, error: BaseException, cause: str | None = None) -> None:
        """It failed just now; an `OutputError` makes the incident one of "storage", everything else one of "sink"."""
        now_s = self._clock()
        with self._lock:
            if self._works and self._incident is None:
                self._failing_since_s, self._failures_before = now_s, self.failures
            self.failures += 1
            self._works, self._failed_s = False, now_s
            if self._incident is not None or now_s - self._failing_since_s < self._patience_s:
                return
            incident = self._incident = self._begun(error, cause)
        self._report(incident)

    def worked(self) -> None:
        """It worked just now."""
        if self._works and self._incident is None:
            return  # nearly always; a race here is put right by the next call
        with self._lock:
            self._works = True
        self.settle()

    def settle(self) -> None:
        """Call now and then: tells the end of an incident once it has lain `settle_s` behind."""
        with self._lock:
            incident = self._incident
            if incident is None or not self._works or self._clock() - self._failed_s < self._settle_s:
                return
            self._incident = None
            failures = self.failures - self._failures_before
        self._report(incident.ended(f"{self.name} works again after {failures} failure{'s' * (failures != 1)}"))

    def gone(self) -> None:
        """The outlet is used no more: an incident that still lasts is over."""
        with self._lock:
            incident, self._incident = self._incident, None
        if incident is not None:
            self._report(incident.ended(f"{self.name} was closed, failing; {incident.detail}"))

    def _begun(self, error: BaseException, cause: str | None) -> Incident:
        detail = f"{self.name}: {str(error) or type(error).__name__}"
        if not isinstance(error, OutputError):
            return Incident("sink", cause or "failing", detail)
        reason = error.__cause__
        is_full = (isinstance(reason, OSError) and reason.errno in _FULL) or "full" in error.what
        return Incident("storage", cause or ("full" if is_full else "unwritable"), detail)
