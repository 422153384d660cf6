"""Whether the vehicle needs this machine now: it drives, or others are busy on its cores.

$EDGEVAD_HOME/refit/.driving   touched by the running service every 15 s in which cameras gave frames

A mark's age is not believed where the clock was set: one that is touched while one looks is fresh, whatever its date.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["DrivingMark", "IdleWatch", "cpu_ticks"]

MARK_NAME = ".driving"
TOUCH_EVERY_S = 15.0
# Three touches may be late.
_FRESH_S = 60.0
# Of all cores' time, used by what is not niced.
BUSY_SHARE = 0.5
# A look at the cores means little over less.
_SHARE_OVER_S = 2.0
# After the last sign of driving: a stop at a light is no time to begin.
SETTLE_S = 120.0


class DrivingMark:
    """The running service's side: says that cameras give frames. Costs a comparison a call.

    What cannot be written is left out: watching is worth more than telling that one does.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / MARK_NAME
        self._clock = clock
        self._touched_s = -TOUCH_EVERY_S

    def frames_came(self) -> None:
        """A camera gave a frame just now."""
        now_s = self._clock()
        if now_s - self._touched_s < TOUCH_EVERY_S:
            return
        self._touched_s = now_s
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()


class IdleWatch:
    """The other side: whether there is time now.

    Args:
        folder: where the service leaves its mark (`RefitHome.path`).
        busy_file: a file of the integrator's that is there while the vehicle drives, such as one made by the ignition.
        settle_s: for how long there must have been no sign of driving.
        now, clock, ticks: time.time, time.monotonic and `cpu_ticks`, for tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        busy_file: Path | None = None,
        settle_s: float = SETTLE_S,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        ticks: Callable[[], tuple[int, int] | None] | None = None,
    ) -> None:
        self._mark = folder / MARK_NAME
        self._busy_file = busy_file
        self._settle_s = settle_s
        self._now, self._clock = now, clock
        self._ticks = cpu_ticks if ticks is None else ticks
        self._seen_ns: int | None = None
        self._busy_until_s = float("-inf")
        self._before: tuple[float, tuple[int, int]] | None = None
        self._share = 0.0

    def reason(self) -> str | None:
        """Why this is no time to work, in a few words; None where it is. Costs a few system calls."""
        why = self._why()
        now_s = self._clock()
        if why is not None:
            self._busy_until_s = now_s + self._settle_s
            return why
        if now_s < self._busy_until_s:
            return f"it was busy until {now_s - (self._busy_until_s - self._settle_s):.0f} s ago"
        return None

    def _why(self) -> str | None:
        if self._busy_file is not None and self._busy_file.exists():
            return f"{self._busy_file} is there"
        if self._is_driving():
            return "the cameras give frames"
        share = self._busy_share()
        return f"others use {share:.0%} of the cores" if share > BUSY_SHARE else None

    def _is_driving(self) -> bool:
        try:
            touched_ns = self._mark.stat().st_mtime_ns
        except OSError:
            return False
        before, self._seen_ns = self._seen_ns, touched_ns
        is_recent = abs(self._now() - touched_ns / 1e9) <= _FRESH_S
        return is_recent or (before is not None and before != touched_ns)

    def _busy_share(self) -> float:
        now_s, ticks = self._clock(), self._ticks()
        if ticks is None:
            return 0.0
        if self._before is None:
            self._before = (now_s, ticks)
        elif now_s - self._before[0] >= _SHARE_OVER_S:
            busy, total = (new - old for new, old in zip(ticks, self._before[1], strict=True))
            self._share = busy / total if total > 0 else 0.0
            self._before = (now_s, ticks)
        return self._share


def cpu_ticks() -> tuple[int, int] | None:
    """Of all cores since the machine started: ticks used by what is not niced, and all ticks; None where unknown.

    Niced work, as refitting is, stands in a column of its own in /proc/stat (proc_stat(5)): so it does not see itself.
    """
    try:
        with Path("/proc/stat").open(encoding="ascii") as stream:
            values = [int(word) for word in stream.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    if len(values) < 8:
        return None
    user, _, system, _, _, irq, soft, stolen = values
    return user + system + irq + soft + stolen, sum(values)
