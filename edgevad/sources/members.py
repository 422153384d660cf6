"""The members of a folder or a glob: one that cannot be read does not take the others with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgevad.errors import SourceUnreadableError
from edgevad.sources.chain import ChainSource
from edgevad.sources.source import Source, printable

__all__ = ["Members"]


class Members:
    """Members opened one by one, and why others could not be."""

    def __init__(self) -> None:
        self._opened: list[Source] = []
        self._errors: list[SourceUnreadableError] = []
        self._reasons: list[str] = []

    def add(self, path: Path, opener: Callable[[], Source | None]) -> None:
        """Add what `opener` opens at `path`, if anything; where that cannot be read, remember why."""
        try:
            source = opener()
        except SourceUnreadableError as error:
            self._errors.append(error)
        except OSError as error:
            self._errors.append(SourceUnreadableError(f"cannot be read ({error.strerror or error})", where=path))
        else:
            if source is not None:
                self._opened.append(source)
            return
        self._reasons.append(printable(f"{path.name}: {self._errors[-1].what}"))

    def chained(self, name: str, kind: str) -> Source | None:
        """All of them as one source, those that could not be opened counted as skipped; None where there are none.

        Raises:
            SourceUnreadableError: not one of them could be opened.
        """
        if self._opened:
            if len(self._opened) == 1 and not self._errors:
                return self._opened[0]
            return ChainSource(self._opened, name=name, kind=kind, unopened=self._reasons)
        if not self._errors:
            return None
        if len(self._errors) == 1:
            raise self._errors[0]
        raise SourceUnreadableError(
            f"none of its {len(self._errors)} members can be read ({self._reasons[0]}; …)", where=name
        )
