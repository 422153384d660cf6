"""Moments as people type them."""

from __future__ import annotations

import re
import time
from datetime import datetime

from edgevad._sqlite import MOST
from edgevad.errors import OptionError

__all__ = ["parse_when"]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def parse_when(text: str, *, option: str, now_ns: int | None = None) -> int:
    """Unix time in nanoseconds of "90m" (so long ago), "2026-11-24", or "2026-11-24T08:30" (local, unless it says);
    within 64 bits, which is three hundred years on either side of 1970.

    Raises:
        OptionError: it is none of these.
    """
    ago = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", text.strip())
    if ago is not None:
        now_ns = time.time_ns() if now_ns is None else now_ns
        return max(now_ns - round(float(ago[1]) * _UNITS_S[ago[2]] * 1e9), -MOST)
    try:
        # Python 3.10 does not know the Z.
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
        return max(-MOST, min(round(moment.timestamp() * 1e9), MOST))
    except (ValueError, OverflowError, OSError):
        raise OptionError(
            f"{option} {text!r} is no moment", expected="30m, 12h or 7d ago, or a date: 2026-11-24, 2026-11-24T08:30"
        ) from None
