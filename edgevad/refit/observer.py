"""Who is told how the refitting of a model goes."""

from __future__ import annotations

__all__ = ["RefitObserver"]


class RefitObserver:
    """Gets told how it goes; the default says nothing. The command line draws a progress bar with it."""

    def stage(self, what: str, total: int | None = None) -> None:
        """Something begins, in words for people, with `total` units to go if that is known."""

    def advance(self, done: int) -> None:
        """`done` units of it are over."""

    def note(self, sentence: str) -> None:
        """Something people should know of."""
