"""How long a refit may work, and when it has to wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgevad.errors import RefitError
from edgevad.refit.idle import IdleWatch
from edgevad.refit.observer import RefitObserver

__all__ = ["BudgetSpentError", "NotIdleError", "NotNowError", "Pace"]

# So often the machine is looked at while working, and while waiting.
_LOOK_S, _WAIT_S = 1.0, 5.0


class NotNowError(RefitError):
    """It cannot go on now; what was done is kept, and the same run goes on there later."""


class BudgetSpentError(NotNowError):
    """The minutes that were given are over; what was done is kept, and the next run goes on there."""


class NotIdleError(NotNowError):
    """The vehicle drove, or its cores were busy, for as long as one was ready to wait."""


class Pace:
    """Counts the time worked, pauses left out, and says when to pause.

    Args:
        budget_s: of work, from now on; None: no limit.
        idle: who knows whether there is time; None: always.
        longest_wait_s: so long it waits for the machine to become idle, at a stretch.
        clock, sleep: time.monotonic and time.sleep, for tests.
    """

    def __init__(
        self,
        *,
        budget_s: float | None = None,
        idle: IdleWatch | None = None,
        longest_wait_s: float = 12 * 3600.0,
        observer: RefitObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._budget_s, self._idle, self._longest_wait_s = budget_s, idle, longest_wait_s
        self._observer = RefitObserver() if observer is None else observer
        self._clock, self._sleep = clock, sleep
        self._started_s = clock()
        self._waited_s = 0.0
        self._looked_s = float("-inf")
        self._reason: str | None = None
        self._began_s: float | None = None  # the wait under way

    @property
    def worked_s(self) -> float:
        """Seconds of work so far."""
        return self._clock() - self._started_s - self._waited_s

    @property
    def waited_s(self) -> float:
        """Seconds this run waited."""
        return self._waited_s

    @property
    def left_s(self) -> float | None:
        """Seconds of work that may still be done, 0 or more; None where there is no limit."""
        return None if self._budget_s is None else max(self._budget_s - self.worked_s, 0.0)

    def must_pause(self) -> bool:
        """Whether the machine is needed for something else. Cheap: looks once a second at most."""
        now_s = self._clock()
        if self._idle is not None and now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._reason = self._idle.reason()
        return self._reason is not None

    def pause(self) -> bool:
        """As `must_pause`, for work that waits by itself for as long as this says True; that time counts as waited.

        Raises:
            NotIdleError: the machine has been busy for longer than one is ready to wait.
        """
        now_s = self._clock()
        if not self.must_pause():
            if self._began_s is not None:
                self._waited_s += now_s - self._began_s
                self._began_s = None
            return False
        if self._began_s is None:
            self._began_s = now_s
            self._observer.note(f"waiting: {self._reason}")
        if now_s - self._began_s > self._longest_wait_s:
            self._waited_s += now_s - self._began_s
            self._began_s = None
            raise NotIdleError(
                f"no time was free for {self._longest_wait_s / 3600:g} hours ({self._reason})",
                fix="Nothing is lost: run it again later, or without --while-idle",
            )
        return True

    def breathe(self, *, to_the_end: bool = False) -> None:
        """Between two pieces of work: wait while the machine is needed, and stop where the time is over.

        `to_the_end`: what is left is short, and stopping there would only make the next run longer.

        Raises:
            BudgetSpentError: the budget is spent.
            NotIdleError: the machine was busy for longer than one was ready to wait.
        """
        while self.pause():
            self._sleep(_WAIT_S)
        if self.left_s == 0.0 and not to_the_end:
            assert self._budget_s is not None
            raise BudgetSpentError(
                f"the {self._budget_s / 60:g} minutes are spent",
                fix="Nothing is lost: run the same command again, and it goes on there; or give more --budget-minutes",
            )
