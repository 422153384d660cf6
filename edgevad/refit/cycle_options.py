"""What can be asked of a run that brings a model up to date."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgevad.errors import OptionError

__all__ = ["DEPTHS", "CycleOptions", "Depth"]

Depth = Literal["auto", "recalibrate", "adapt", "refit"]
DEPTHS: tuple[str, ...] = get_args(Depth)
_MAX_FRAMES, _MAX_SHADOW_FRAMES = 200_000, 10_000_000
# What a run that goes on may be told anew: how long, when, how carefully it is tried.
_NOT_OF_THE_RUN = ("budget_minutes", "while_idle", "busy_file", "longest_wait_h", "overwrite", "shadow_frames")


@dataclass(frozen=True)
class CycleOptions:
    """One run: what is learnt from, how deep, and what becomes of the result.

    Attributes:
        depth: how much of the model may change; "auto": what drift calls for.
        drives: folders of drives, drives, or recordings; empty: the device's own log.
        bundle: the champion; None: the active one.
        model: folder that it was exported from, for `adapt` and `refit`; None: the one that is known of.
        target: device profile, where there is no champion and `model` stands in for it.
        out: where the challenger goes instead of being activated; None: it is activated.
        sign_key_file: private key that the challenger is signed with; None: it is not signed.
        events: folder of the event store, for people's marks; None: without.
        budget_minutes: of work; None: no limit.
        budget_frames: so many frames are chosen at most.
        since_days: only drives of so many days; None: all.
        cameras: only these; empty: all.
        blur: name of what makes people unrecognisable before anything is kept; None: nothing does.
        while_idle: work only while the vehicle does not need the machine.
        busy_file: is there while the vehicle drives; None: there is no such file.
        longest_wait_h: so long it waits for that, at a stretch.
        shadow_frames: live frames that the challenger is tried on beside the champion; 0: none.
        overwrite: replace what is at `out`.
        seed: of the choice of frames and of training.
    """

    depth: Depth = "auto"
    drives: tuple[str, ...] = ()
    bundle: Path | None = None
    model: Path | None = None
    target: str = "cpu"
    out: Path | None = None
    sign_key_file: Path | None = None
    events: Path | None = None
    budget_minutes: float | None = None
    budget_frames: int = 2500
    since_days: float | None = None
    cameras: tuple[str, ...] = ()
    blur: str | None = None
    while_idle: bool = False
    busy_file: Path | None = None
    longest_wait_h: float = 12.0
    shadow_frames: int = 0
    overwrite: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise OptionError(f"no depth {self.depth!r}", expected="one of " + ", ".join(DEPTHS))
        for name, value in (("--budget-minutes", self.budget_minutes), ("--since-days", self.since_days)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} {value:g}", expected="a number above 0")
        if not 100 <= self.budget_frames <= _MAX_FRAMES:
            raise OptionError(f"--budget-frames {self.budget_frames}", expected=f"100 to {_MAX_FRAMES}")
        if not 0 <= self.shadow_frames <= _MAX_SHADOW_FRAMES:
            raise OptionError(f"--shadow {self.shadow_frames}", expected=f"0 to {_MAX_SHADOW_FRAMES} frames")
        if self.out is not None and self.shadow_frames:
            fix = "Leave --out out, or --shadow"
            raise OptionError("--shadow tries what is to be activated here, and --out writes a file", fix=fix)

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in asdict(self).items()}

    def of_the_run(self) -> dict[str, Any]:
        """Those that make a run what it is: one that was killed goes on only where they are the same."""
        return {name: value for name, value in self.to_json().items() if name not in _NOT_OF_THE_RUN}


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value.absolute()) if isinstance(value, Path) else value
