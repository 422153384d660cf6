"""Whether this machine's clock can be believed: events bear its time."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from edgevad.service.finding import Finding, failed, good, warning

__all__ = ["check_clock", "is_synchronised"]

# When this was written: no clock that is right says an earlier time.
_EARLIEST_S = 1_764_000_000
_TIME_ERROR = 5
_RTC = Path("/sys/class/rtc/rtc0/since_epoch")
_MAX_RTC_S = 120.0


def check_clock(now_s: float | None = None, synchronised: bool | None = None, rtc: Path = _RTC) -> Finding:
    """The year, whether the kernel takes the clock for synchronised, and the clock that runs while all is off."""
    now_s = time.time() if now_s is None else now_s
    synchronised = is_synchronised() if synchronised is None else synchronised
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < _EARLIEST_S:
        fix = "timedatectl set-ntp true with a network; without one the board needs a battery for its clock (RTC)"
        return failed("clock", f"{found} cannot be", fix)
    if synchronised is None:
        return warning("clock", f"{found}; the kernel does not tell whether it is synchronised")
    try:
        rtc_s = float(rtc.read_text())
    except (OSError, ValueError):
        rtc_s = None
    kept = "no clock runs while the machine is off" if rtc_s is None else ""
    if rtc_s is not None and abs(rtc_s - now_s) > _MAX_RTC_S:
        kept = f"the clock that runs while the machine is off is {abs(rtc_s - now_s):.0f} s away"
    if not synchronised:
        fix = "timedatectl set-ntp true, or a GPS receiver with chrony; times jump when a network is found"
        return warning("clock", f"{found}, not synchronised" + (f"; {kept}" if kept else ""), fix)
    if kept:
        return warning(
            "clock", f"{found}, synchronised; {kept}", "It starts wrong: sudo hwclock --systohc, or a battery"
        )
    return good("clock", f"{found}, synchronised")


def is_synchronised() -> bool | None:
    """What the kernel says (adjtimex), whichever program keeps the time; None where it does not say."""
    try:
        # struct timex has 208 bytes; all zero asks and changes nothing.
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)
