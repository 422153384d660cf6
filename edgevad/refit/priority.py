"""Making room for others: refitting gets what the vehicle's own work leaves of cores, disk and memory."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from pathlib import Path

__all__ = ["give_way"]

_NICE = 19
# ioprio_set(2): of a process, by its number; class 3 is served when nobody else asks for the disk.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS, _CLASS_IDLE, _CLASS_SHIFT = 1, 3, 13
# Of -1000 to 1000: when memory runs out, this process goes first, and not the one that watches.
_OOM_SCORE = 800


def give_way() -> list[str]:
    """Lower this process's claim on cores, disk and memory; for good. Call it before threads are started.

    Returns what the system refused, in a few words each: a container may, and the work goes on all the same. Two steps
    that only widen the same are not told where they fail (SCHED_BATCH, the score for running out of memory).
    """
    refused = []
    try:
        os.nice(max(_NICE - os.nice(0), 0))
    except OSError as error:
        refused.append(f"nice: {error.strerror}")
    if (reason := _idle_disk()) is not None:
        refused.append(f"ionice: {reason}")
    with suppress(OSError, AttributeError):  # wakes up no earlier than others' work allows
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(f"{_OOM_SCORE}\n", encoding="ascii")
    return refused


def _idle_disk() -> str | None:
    """Let the disk serve this process when nobody else asks; None where that was done, else why not."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is None or not hasattr(os, "sched_setscheduler"):
        return f"not known on {platform.system()} {platform.machine()}"
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(number, _WHO_PROCESS, 0, _CLASS_IDLE << _CLASS_SHIFT) != 0:
        return os.strerror(ctypes.get_errno())
    return None
