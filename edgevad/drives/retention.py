"""Removing what the limits do not allow to be kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgevad._files import output_errors
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import leg_name
from edgevad.drives.policy import LegRetention
from edgevad.drives.recovery import remove_folder
from edgevad.drives.rows import EventRow, LegRow
from edgevad.events.ages import count_too_old
from edgevad.events.disk import free_bytes

__all__ = ["Removal", "prune"]

_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class Removal:
    """A leg that went, and the limit that demanded it."""

    leg: LegRow
    reason: str


def prune(
    root: Path,
    catalogue: Catalogue,
    retention: LegRetention,
    *,
    reserve_bytes: int = 0,
    dry_run: bool = False,
    current: str | None = None,
    unsaved: Sequence[EventRow] = (),
) -> list[Removal]:
    """Remove legs, in the order in which they were logged, until the limits hold with `reserve_bytes` more.

    Never the leg under way, never what is marked "keep". A leg that was closed less than `event_margin_s` ago may yet
    turn out to lie before an event, and stays, too.

    Args:
        dry_run: only say what would go.
        current: the drive that is being logged; it stays in the catalogue without legs, too.
        unsaved: events that the catalogue does not know yet.

    Raises:
        OutputError: a file cannot be removed.
    """
    now_ns = time.time_ns()
    margin_ns = round(retention.event_margin_s * 1e9)
    closed = [leg for leg in catalogue.legs(margin_ns=margin_ns, unsaved=unsaved) if leg.state != "open"]
    ordinary: list[LegRow] = []
    near: list[LegRow] = []
    recent_bytes = {False: 0, True: 0}  # what must not go yet takes its room all the same
    for leg in closed:
        if leg.keep:
            continue
        if _is_recent(catalogue, leg, now_ns, margin_ns):
            recent_bytes[leg.events > 0] += leg.size_bytes
        else:
            (near if leg.events else ordinary).append(leg)
    gone = _too_old(ordinary, closed, retention.max_age_days, now_ns, "age")
    if retention.max_bytes is not None:
        room_bytes = retention.max_bytes - reserve_bytes - recent_bytes[False]
        gone += _too_many(_without(ordinary, gone), room_bytes, "size")
    gone += _too_old(near, closed, retention.event_max_age_days, now_ns, "age (near events)")
    if retention.event_max_bytes is not None:
        room_bytes = retention.event_max_bytes - recent_bytes[True]
        gone += _too_many(_without(near, gone), room_bytes, "size (near events)")
    missing_bytes = retention.floor_bytes + reserve_bytes - free_bytes(root) - sum(item.leg.size_bytes for item in gone)
    for leg in _without(ordinary, gone):
        if missing_bytes <= 0:
            break
        gone.append(Removal(leg, "disk floor"))
        missing_bytes -= leg.size_bytes
    if not dry_run:
        for removal in gone:
            _remove(root, catalogue, removal.leg)
        _forget_empty(root, catalogue, {removal.leg.drive for removal in gone if removal.leg.drive != current})
    return gone


def _is_recent(catalogue: Catalogue, leg: LegRow, now_ns: int, margin_ns: int) -> bool:
    ago_s = catalogue.closed_ago_s(leg)
    if ago_s is not None:
        return ago_s * 1e9 < margin_ns
    # By another process: one that was closed later than now was so by a clock that has been set since.
    return now_ns - margin_ns < (leg.closed_ns or 0) <= now_ns


def _too_old(
    legs: Sequence[LegRow], closed: Sequence[LegRow], max_age_days: float | None, now_ns: int, reason: str
) -> list[Removal]:
    """Those of `legs` beyond this age; `closed` are all there are, by which the clock is judged."""
    if max_age_days is None:
        return []
    count = count_too_old([leg.closed_ns or 0 for leg in closed], now_ns, max_age_days * _DAY_NS)
    old = {(leg.drive, leg.number) for leg in closed[:count]}
    return [Removal(leg, reason) for leg in legs if (leg.drive, leg.number) in old]


def _too_many(legs: Sequence[LegRow], max_bytes: int, reason: str) -> list[Removal]:
    excess_bytes = sum(leg.size_bytes for leg in legs) - max_bytes
    gone = []
    for leg in legs:
        if excess_bytes <= 0:
            break
        gone.append(Removal(leg, reason))
        excess_bytes -= leg.size_bytes
    return gone


def _without(legs: Sequence[LegRow], gone: Sequence[Removal]) -> list[LegRow]:
    keys = {(removal.leg.drive, removal.leg.number) for removal in gone}
    return [leg for leg in legs if (leg.drive, leg.number) not in keys]


def _remove(root: Path, catalogue: Catalogue, leg: LegRow) -> None:
    path = root / leg.drive / leg_name(leg.number)
    with output_errors(path):
        path.unlink(missing_ok=True)
    # A row without a file is put right at the next start; a full disk must not keep files from going.
    with suppress(Exception):
        catalogue.remove_leg(leg.drive, leg.number)


def _forget_empty(root: Path, catalogue: Catalogue, drives: set[str]) -> None:
    with_legs = {leg.drive for leg in catalogue.legs()}
    for drive in drives - with_legs:
        catalogue.remove_drive(drive)
        remove_folder(root / drive)
