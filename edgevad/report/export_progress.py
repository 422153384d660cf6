"""A progress bar for an export, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgevad.export.options import ExportObserver
from edgevad.report.stage_bars import StageBars, stage_bars

__all__ = ["export_progress"]


class _Bars(ExportObserver):
    def __init__(self, bars: StageBars) -> None:
        self.stage, self.advance = bars.stage, bars.advance  # type: ignore[method-assign]


@contextmanager
def export_progress() -> Iterator[ExportObserver]:
    """An `ExportObserver` that draws one bar per stage while the block runs."""
    with stage_bars() as bars:
        yield _Bars(bars)
