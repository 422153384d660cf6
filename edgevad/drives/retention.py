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
from edgevad.drives.rows import LegRow
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
) -> list[Removal]:
    """Remove legs, oldest first, until the limits hold with `reserve_bytes` more than there are.

    Never the leg under way, never what is marked "keep". A leg that was closed less than `event_margin_s` ago may yet
    turn out to lie before an event, and stays, too.

    Args:
        dry_run: only say what would go.
        current: the drive that is being logged; it stays in the catalogue without legs, too.

    Raises:
        OutputError: a file cannot be removed.
    """
    now_ns = time.time_ns()
    margin_ns = round(retention.event_margin_s * 1e9)
    ordinary: list[LegRow] = []
    near: list[LegRow] = []
    for leg in catalogue.legs(margin_ns=margin_ns):
        if leg.state != "open" and not leg.keep and (leg.closed_ns or 0) <= now_ns - margin_ns:
            (near if leg.events else ordinary).append(leg)
    gone = _too_old(ordinary, retention.max_age_days, now_ns, "age")
    gone += _too_many(_without(ordinary, gone), retention.max_bytes - reserve_bytes, "size")
    if retention.event_max_age_days is not None:
        gone += _too_old(near, retention.event_max_age_days, now_ns, "age (near events)")
    if retention.event_max_bytes is not None:
        gone += _too_many(_without(near, gone), retention.event_max_bytes, "size (near events)")
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


def _too_old(legs: Sequence[LegRow], max_age_days: float, now_ns: int, reason: str) -> list[Removal]:
    oldest_ns = now_ns - max_age_days * _DAY_NS
    return [Removal(leg, reason) for leg in legs if (leg.closed_ns or 0) < oldest_ns]


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
