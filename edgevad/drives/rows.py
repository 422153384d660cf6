"""What the catalogue says of a drive, a leg, an event."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["DriveRow", "EventRow", "LegRow", "LegState"]

LegState = Literal["open", "closed", "recovered", "broken"]


@dataclass(frozen=True)
class DriveRow:
    """A drive: one run.

    Attributes:
        started_ns, ended_ns: Unix time; `ended_ns` is None while it is logged, and after a kill until it is recovered.
        info: what the run said about itself (`RunInfo`, and the edgevad that logged it), as texts.
    """

    name: str
    run_id: str
    started_ns: int
    ended_ns: int | None
    info: dict[str, str]


@dataclass(frozen=True)
class LegRow:
    """A leg: one file of a drive.

    Attributes:
        start_ns, end_ns: log times (Unix time) of its first and last message; None while it is open.
        closed_ns: when its file was finished.
        events: how many events lie in it, or reach into it.
        keep: it is never removed by a limit. `never_train`: nothing is to be learned from it.
    """

    drive: str
    number: int
    state: LegState
    start_ns: int | None
    end_ns: int | None
    closed_ns: int | None
    size_bytes: int
    images: int
    frames: int
    cameras: tuple[str, ...]
    sha256: str
    keep: bool
    never_train: bool
    events: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cameras": list(self.cameras)}


@dataclass(frozen=True)
class EventRow:
    """An event of a drive; times are log times, `end_ns` is None while it lasts."""

    drive: str
    id: int
    source_id: str
    cause: str
    peak_score: float
    start_ns: int
    end_ns: int | None
