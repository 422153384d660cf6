"""Drift: is the world still the one that the bundle was calibrated on? By day and camera, from the log."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevad._files import write_json
from edgevad.bundle.bundle import Bundle
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.folder import open_drives
from edgevad.drives.rows import DriveRow, LegRow
from edgevad.errors import OptionError, OutputError, RefitError, StoreError
from edgevad.refit.drift_advice import Advice, hardest
from edgevad.refit.drift_compare import Comparison, compare
from edgevad.refit.drift_log import LegReader
from edgevad.refit.drift_reference import DriftReference
from edgevad.refit.drift_sample import Sample
from edgevad.refit.drift_tests import MARGIN, Kind, spent

__all__ = ["DriftDay", "DriftReport", "DriftSpec", "drift_of_drives", "drift_of_samples"]


@dataclass(frozen=True)
class DriftSpec:
    """How days are compared with the calibration.

    Attributes:
        alpha: chance that anything is told of a camera at all, ever, though nothing has drifted.
        margin: how far a probability may move (from 0.5, or a share from 0.05) before that counts as drift.
        window_days: a day with little driving is looked at together with the ones before it, so many in all.
        enough_s: seconds of driving that are not little.
        days: so many of the last days are looked at.
    """

    alpha: float = 0.05
    margin: float = MARGIN
    window_days: int = 7
    enough_s: float = 900.0
    days: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise OptionError(f"alpha {self.alpha}", expected="a probability between 0 and 1")
        if not 0 <= self.margin < 0.5:
            raise OptionError(f"margin {self.margin}", expected="a number from 0 to below 0.5")
        if self.window_days < 1 or self.days < 1:
            raise OptionError("days to look at", expected="1 or more")


@dataclass(frozen=True)
class DriftDay:
    """A camera's day.

    Attributes:
        day: "2026-11-25", UTC, of the log's clock.
        camera: `Frame.source_id`.
        look: which one it is of this camera's with this bundle, from 1 on.
        days: how many days were looked at together for it.
        comparison: what became of it.
    """

    day: str
    camera: str
    look: int
    days: int
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        return {
            "day": self.day,
            "camera": self.camera,
            "look": self.look,
            "days": self.days,
            **self.comparison.to_json(),
        }


@dataclass(frozen=True)
class DriftReport:
    """What drifted since the bundle was calibrated.

    Attributes:
        bundle: its name. digest: of it.
        days: in the order in which they were driven.
        advice: what the latest day of the cameras calls for; of several cameras, the most.
        notes: what could not be compared, in sentences.
        spec: how it was compared.
    """

    bundle: str
    digest: str
    days: tuple[DriftDay, ...]
    advice: Advice
    notes: tuple[str, ...]
    spec: DriftSpec

    def latest(self) -> dict[str, DriftDay]:
        """Each camera's last day."""
        return {day.camera: day for day in self.days}

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": self.bundle,
            "digest": self.digest,
            "advice": self.advice.to_json(),
            "drifted": any(day.comparison.has_drifted for day in self.latest().values()),
            "days": [day.to_json() for day in self.days],
            "notes": list(self.notes),
            "spec": asdict(self.spec),
        }


def drift_of_drives(
    root: Path,
    bundle: Bundle,
    *,
    spec: DriftSpec | None = None,
    cameras: Sequence[str] = (),
    cache: Path | None = None,
    on_leg: Callable[[int, int], object] = lambda done, total: None,
) -> DriftReport:
    """Compare the drives logged in `root` with what `bundle` was calibrated on.

    Args:
        cameras: only these; all where none is named.
        cache: folder that remembers what was measured, such as `RefitHome.drift`.
        on_leg: told how many legs have been read, and of how many.

    Raises:
        StoreError: there are no drives.
        BundleError: the bundle is broken.
        RefitError: nothing of the log can be compared with it.
        MissingExtraError: the extra `drives` is not installed.
    """
    spec = spec or DriftSpec()
    reference = DriftReference.of(bundle)
    reader = LegReader(root, reference, bundle.manifest.input, cache)
    with open_drives(root) as catalogue:
        chosen, notes = _chosen(catalogue, reader, spec.days)
        reader.forget_others(catalogue)
    measured: dict[tuple[str, str], list[tuple[int, Sample]]] = defaultdict(list)
    for done, (number, day, drive, leg) in enumerate(chosen, start=1):
        try:
            for camera, sample in reader.read(drive, leg).items():
                if not cameras or camera in cameras:
                    measured[day, camera].append((number, sample))
        except StoreError as error:
            notes.append(f"{drive.name}/{leg.number}: {error.what}")
        on_leg(done, len(chosen))
    figures = len(reference.figures)
    days = {key: Sample.joined(samples, figures) for key, samples in measured.items()}
    if not days:
        raise RefitError("no logged frame can be compared with the bundle", where=root, fix="See: edgevad drives list")
    return drift_of_samples(bundle, reference, days, spec=spec, notes=notes, cache=cache)


def drift_of_samples(
    bundle: Bundle,
    reference: DriftReference,
    days: dict[tuple[str, str], Sample],
    *,
    spec: DriftSpec | None = None,
    notes: Sequence[str] = (),
    cache: Path | None = None,
) -> DriftReport:
    """The same of samples, by day and camera, in the order in which they were driven."""
    spec = spec or DriftSpec()
    looks = _Looks(None if cache is None else cache / "looks.json", bundle.digest)
    found: list[DriftDay] = []
    windows: dict[str, list[Sample]] = defaultdict(list)
    before: dict[str, frozenset[tuple[str, Kind]]] = {}
    for (day, camera), sample in days.items():
        window = [*windows[camera], sample][-spec.window_days :]
        windows[camera] = window
        taken = _enough(window, spec.enough_s)
        joined = Sample.joined(list(enumerate(taken)), len(reference.figures))
        look = looks.number(camera, day)
        comparison = compare(
            reference,
            joined,
            alpha=spent(spec.alpha, look),
            margin=spec.margin,
            before=before.get(camera, frozenset()),
        )
        before[camera] = comparison.found
        found.append(DriftDay(day, camera, look, len(taken), comparison))
    looks.save()
    most = hardest(list({day.camera: day.comparison.advice for day in found}.values()))
    return DriftReport(bundle.manifest.name, bundle.digest, tuple(found), most, (*reference.notes, *notes), spec)


def _enough(window: Sequence[Sample], enough_s: float) -> list[Sample]:
    """The last samples that together are driving enough, or all of them; in order."""
    taken: list[Sample] = []
    driven_s = 0.0
    for sample in reversed(window):
        taken.insert(0, sample)
        driven_s += sample.driven_s
        if driven_s >= enough_s:
            break
    return taken


def _chosen(
    catalogue: Catalogue, reader: LegReader, most_days: int
) -> tuple[list[tuple[int, str, DriveRow, LegRow]], list[str]]:
    """The legs of the last days that may be read: number of their drive, day, drive and leg; and what was left out."""
    drives = {drive.name: drive for drive in catalogue.drives()}
    numbers = {name: number for number, name in enumerate(drives)}
    found, marked = [], 0
    for leg in catalogue.legs():
        if leg.start_ns is None or leg.state in ("open", "broken"):
            continue
        if leg.never_train:
            marked += 1
            continue
        drive = drives[leg.drive]
        day = time.strftime("%Y-%m-%d", time.gmtime(leg.start_ns / 1e9))
        found.append((numbers[leg.drive], day, drive, leg))
    last = list(dict.fromkeys(day for _, day, _, _ in found))[-most_days:]
    found = [one for one in found if one[1] in last]
    other = sum(not reader.is_of_the_bundle(drive, leg) for _, _, drive, leg in found)
    notes = []
    if marked:
        notes.append(f"{marked} legs are marked never-train and were not looked at")
    if other:
        notes.append(f"{other} legs were scored by another bundle: only their images are compared")
    return found, notes


class _Looks:
    """Which days of each camera have been looked at with a bundle, so that a day keeps its number when others go."""

    def __init__(self, path: Path | None, digest: str) -> None:
        self._path = path
        self._digest = digest
        self._days: dict[str, list[str]] = {}
        if path is None:
            return
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["digest"] == digest:
                self._days = {str(camera): [str(day) for day in days] for camera, days in document["days"].items()}

    def number(self, camera: str, day: str) -> int:
        """From 1 on."""
        days = self._days.setdefault(camera, [])
        if day not in days:
            days.append(day)
        return days.index(day) + 1

    def save(self) -> None:
        """Where the disk lets it: otherwise days are counted anew the next time."""
        if self._path is None:
            return
        with suppress(OutputError, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {"digest": self._digest, "days": self._days})
