"""A run under way: which steps are done, and what each left, so that a run that was killed goes on where it was.

work/<id>/
├── run.json       options, champion, and every step that is done with what came of it; replaced as a whole
├── selection/     what is learnt from (edgevad/refit/selection.py)
├── champion/      where no bundle was named: the model as it was, as a bundle
├── model/         adapt and refit: the model folder, with its checkpoint while that is unfinished
├── challenger/    the bundle that came of it
└── verdict.json   what the gate says

A step is done when run.json says so. Everything it leaves is put in place whole; one that was cut off is done again and
comes to the same, so nothing has to be known of how far it had come.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgevad._files import output_errors, try_lock, write_json
from edgevad.errors import RefitError
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.place import RefitHome

__all__ = ["RunFolder", "find_unfinished", "only_one", "sweep_work"]

_FORMAT = 1
_INFO = "run.json"


@dataclass
class RunFolder:
    """A run's folder and what is written down of it.

    Attributes:
        path: the folder; its name is the run's id.
        options: those that make the run what it is (`CycleOptions.of_the_run`).
        champion: digest of the bundle it is about to replace.
        depth: "recalibrate", "adapt" or "refit", once that is decided.
        steps: what came of each step that is done, in their order, as plain JSON.
        worked_s: seconds of work so far.
    """

    path: Path
    options: dict[str, Any]
    champion: str
    depth: str | None = None
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    worked_s: float = 0.0
    started: str = ""

    @classmethod
    def begin(cls, home: RefitHome, options: CycleOptions, champion: str) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            OutputError: it cannot be written.
        """
        now = datetime.now(timezone.utc)
        name = f"{now:%Y%m%dT%H%M%S}-{options.depth}-{uuid.uuid4().hex[:6]}"
        run = cls(home.work / name, options.of_the_run(), champion, started=now.isoformat(timespec="seconds"))
        with output_errors(run.path):
            run.path.mkdir(parents=True)
        run.write()
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Raises RefitError where there is no run in the folder that could go on."""
        try:
            value = json.loads((path / _INFO).read_text(encoding="utf-8"))
            if value["format"] != _FORMAT:
                raise ValueError(f"format {value['format']!r}")
            depth = value["depth"]
            return cls(
                path,
                dict(value["options"]),
                str(value["champion"]),
                None if depth is None else str(depth),
                {str(name): dict(found) for name, found in value["steps"].items()},
                float(value["worked_s"]),
                str(value["started"]),
            )
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise RefitError(f"a run that cannot go on ({error})", where=path) from error

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def selection(self) -> Path:
        return self.path / "selection"

    @property
    def champion_bundle(self) -> Path:
        return self.path / "champion"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def challenger(self) -> Path:
        return self.path / "challenger"

    def finish(self, step: str, result: dict[str, Any]) -> None:
        """Write down that `step` is done, and what came of it."""
        self.steps[step] = result
        self.write()

    def write(self) -> None:
        """Raises OutputError where the disk refuses."""
        write_json(
            self.path / _INFO,
            {
                "format": _FORMAT,
                "options": self.options,
                "champion": self.champion,
                "depth": self.depth,
                "steps": self.steps,
                "worked_s": round(self.worked_s, 3),
                "started": self.started,
            },
        )

    def drop(self) -> None:
        """Remove the folder: the run is over, and history has what is to be kept."""
        # run.json first: a folder without it is nobody's, and is swept whatever else of it is left.
        with output_errors(self.path):
            (self.path / _INFO).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


def find_unfinished(home: RefitHome) -> list[RunFolder]:
    """Runs that could go on, the latest first."""
    found = []
    with suppress(OSError):
        for path in sorted(home.work.iterdir(), reverse=True):
            with suppress(RefitError):
                found.append(RunFolder.open(path))
    return found


def sweep_work(home: RefitHome, keep: Path | None) -> list[str]:
    """Remove every run but `keep`: what was left half made, and runs of another champion or other options.

    Only for who holds the lock. Returns the ids of runs that were removed.
    """
    removed = []
    with suppress(OSError):
        for path in list(home.work.iterdir()):
            if keep is not None and path.name == keep.name:
                continue
            if (path / _INFO).exists():
                removed.append(path.name)
            if path.is_dir() and not path.is_symlink():
                RunFolder(path, {}, "").drop()
            else:
                path.unlink(missing_ok=True)
    return removed


@contextmanager
def only_one(home: RefitHome) -> Iterator[None]:
    """Hold the lock of all that refits on this device; the system takes it back however the process ends.

    Raises:
        RefitError: somebody else holds it.
        OutputError: it cannot be written.
    """
    with output_errors(home.path):
        home.path.mkdir(parents=True, exist_ok=True)
    handle = try_lock(home.lock)
    if handle is None:
        raise RefitError("a model is being brought up to date already", where=home.lock, fix="Wait for it to end")
    try:
        yield
    finally:
        os.close(handle)
