"""What is remembered of the bundles in the two slots: `$EDGEVAD_HOME/slots.json`.

A record belongs to a digest, not to a slot: whatever is killed between the writing of a bundle, of its record and of
the link, a record never speaks of another bundle. A file that cannot be read says nothing, and keeps nobody from
starting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from edgevad._files import write_json

__all__ = ["Record", "SlotState", "Trial", "boot_id", "read_records", "write_records"]

SlotState = Literal["trial", "healthy", "failed"]

_VERSION = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A start that came so far before the power went was no start that brings the machine down.
_CAME_UP_S = 60.0


@dataclass(frozen=True)
class Trial:
    """How a newly activated bundle has done so far. Seconds are of running, however often the vehicle was parked.

    Attributes:
        running_s: frames were scored for so long; `watched_s` is the same summed over the cameras.
        alarms: events that began meanwhile; `alarm_s` of the seconds in `watched_s` were inside events.
        crashes: starts after which the process was gone without an end (killed, by a signal or the watchdog).
        power_cuts: starts in a row that the power ended within a minute: a bundle may take the whole machine down.
        under_way: boot id of the start that has not ended yet, "" where there is none; `started_at_s` is what
            `running_s` was then.
        before_ms: what 95 % of the frames took this machine with the bundle before, at most; 0 where nobody knows.
    """

    running_s: float = 0.0
    watched_s: float = 0.0
    alarms: int = 0
    alarm_s: float = 0.0
    crashes: int = 0
    power_cuts: int = 0
    under_way: str = ""
    started_at_s: float = 0.0
    before_ms: float = 0.0

    def started(self, boot: str) -> Trial:
        """The same at the next start, in the boot of this id."""
        crashes, cuts = self.crashes, self.power_cuts
        if self.under_way and self.under_way == boot:
            crashes += 1
        elif self.under_way:
            cuts = cuts + 1 if self.running_s - self.started_at_s < _CAME_UP_S else 0
        return replace(self, crashes=crashes, power_cuts=cuts, under_way=boot, started_at_s=self.running_s)

    def ended(self) -> Trial:
        """The same after an end that nobody has to worry about."""
        return replace(self, under_way="", power_cuts=0)


@dataclass(frozen=True)
class Record:
    """What is remembered of one bundle.

    Attributes:
        name: what people call it.
        state: "trial" within its health window, "failed" where that sent it back, else "healthy".
        why: why it was activated, or what failed.
        activated_ns: Unix time.
        trial: how it has done, within its health window.
    """

    name: str
    state: SlotState
    why: str = ""
    activated_ns: int = 0
    trial: Trial = field(default_factory=Trial)


def read_records(path: Path) -> dict[str, Record]:
    """The records by digest; none where the file is not there, or is not what `write_records` wrote."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        bundles = value["bundles"] if value["version"] == _VERSION else {}
        return {digest: _record(entry) for digest, entry in bundles.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_records(path: Path, records: Mapping[str, Record]) -> None:
    """Raises OutputError where the file cannot be written; it is the old one or the new one."""
    write_json(path, {"version": _VERSION, "bundles": {digest: asdict(one) for digest, one in records.items()}})


def boot_id() -> str:
    """Another one after every boot of the machine; "unknown" where the machine does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or "unknown"
    except (OSError, ValueError):
        return "unknown"


def _record(value: Mapping[str, Any]) -> Record:
    state, trial = value["state"], value["trial"]
    if state not in get_args(SlotState):
        raise ValueError(state)
    numbers = {name: type(default)(trial[name]) for name, default in asdict(Trial()).items()}
    if not all(math.isfinite(number) for number in numbers.values() if isinstance(number, float)):
        raise ValueError(trial)
    return Record(
        str(value["name"]), cast(SlotState, state), str(value["why"]), int(value["activated_ns"]), Trial(**numbers)
    )
