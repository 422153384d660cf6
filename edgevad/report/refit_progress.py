"""Progress of a run that brings a model up to date, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgevad.refit.observer import RefitObserver
from edgevad.report.stage_bars import StageBars, stage_bars

__all__ = ["refit_progress"]


class _Bars(RefitObserver):
    def __init__(self, bars: StageBars) -> None:
        self.stage, self.advance, self.note = bars.stage, bars.advance, bars.note  # type: ignore[method-assign]


@contextmanager
def refit_progress() -> Iterator[RefitObserver]:
    """A `RefitObserver` that draws one bar per stage while the block runs."""
    with stage_bars() as bars:
        yield _Bars(bars)
