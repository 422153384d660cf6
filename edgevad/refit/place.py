"""Where a device keeps what refitting needs and leaves.

$EDGEVAD_HOME/refit
├── history/<id>/      what was decided about a challenger: verdict.json, page.html, figures
├── history.jsonl      the same, a line each
├── work/<id>/         a run under way, or one that was killed and will go on
├── learned/           what learning slowly added to a bundle, by its digest
├── drift/             what was measured, day by day
└── .lock              held by the process that refits
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgevad.bundle.home import home_directory

__all__ = ["RefitHome"]


@dataclass(frozen=True)
class RefitHome:
    """The folders under `path`; nothing is made before it is needed."""

    path: Path

    @classmethod
    def of_device(cls) -> RefitHome:
        """$EDGEVAD_HOME/refit. Raises OptionError where there is no home folder."""
        return cls(home_directory() / "refit")

    @property
    def history(self) -> Path:
        return self.path / "history"

    @property
    def history_lines(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def learned(self) -> Path:
        return self.path / "learned"

    @property
    def drift(self) -> Path:
        return self.path / "drift"

    @property
    def lock(self) -> Path:
        return self.path / ".lock"
