"""A folder of drives from outside: opening its catalogue, checking its files, marking drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgevad.bundle.home import home_directory
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import CATALOGUE_NAME, leg_name, legs_in, read_marks, write_marks
from edgevad.drives.reading import check_leg
from edgevad.drives.rows import LegRow
from edgevad.errors import OptionError, StoreError

__all__ = ["LegVerdict", "default_drives_directory", "mark", "open_drives", "verify"]


@dataclass(frozen=True)
class LegVerdict:
    """What became of checking one leg.

    Attributes:
        verdict: "whole"; "open": it is being written, or was cut off; "broken"; "missing": it is in the catalogue and
            there is no file; "unknown": the catalogue does not know the file.
        reason: in words, where it is not whole.
    """

    drive: str
    number: int
    verdict: Literal["whole", "open", "broken", "missing", "unknown"]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def default_drives_directory() -> Path:
    """Where drives are logged unless another folder is named.

    Raises:
        OptionError: there is no home folder.
    """
    return home_directory() / "drives"


def open_drives(root: Path) -> Catalogue:
    """The catalogue of the drives below `root`.

    Raises:
        StoreError: there are no drives, or their catalogue is missing or broken.
    """
    if not root.is_dir():
        raise StoreError("there are no drives", where=root, fix="edgevad run --log DIR logs some")
    if not (root / CATALOGUE_NAME).is_file():
        if next(legs_in(root), None) is None:
            raise StoreError("there are no drives", where=root, fix="edgevad run --log DIR logs some")
        raise StoreError(
            "the catalogue of drives is missing",
            where=root / CATALOGUE_NAME,
            fix=f"Make it anew from the drives: edgevad drives recover --dir {root}",
        )
    return Catalogue(root)


def verify(
    root: Path,
    catalogue: Catalogue,
    drives: Sequence[str] = (),
    *,
    on_leg: Callable[[int], object] | None = None,
) -> list[LegVerdict]:
    """Read every leg of `drives`, or of all, and hold it against its checksums, its index and the catalogue.

    `on_leg` is told how many have been read.

    Raises:
        StoreError: there is no drive of that name.
    """
    # The files first, and a second look at what seems wrong: legs are opened, closed and removed meanwhile.
    files = list(legs_in(root))
    names = _names(catalogue, drives)
    rows = {(leg.drive, leg.number): leg for leg in catalogue.legs() if leg.drive in names}
    verdicts = []
    for done, row in enumerate(sorted(rows.values(), key=lambda leg: (leg.drive, leg.number)), start=1):
        verdicts.append(_verdict(root, row))
        if on_leg is not None:
            on_leg(done)
    now = {(leg.drive, leg.number) for leg in catalogue.legs()}
    verdicts = [one for one in verdicts if one.verdict != "missing" or (one.drive, one.number) in now]
    for drive, number, path in files:
        known = (drive, number) in rows or (drive, number) in now
        if not known and (drive in names or not drives) and path.exists():
            verdicts.append(LegVerdict(drive, number, "unknown", f"{path.name} is not in the catalogue"))
    return verdicts


def mark(
    root: Path, catalogue: Catalogue, name: str, *, keep: bool | None = None, never_train: bool | None = None
) -> str:
    """Mark the drive `name`, or one leg of it ("DRIVE/3"); None leaves a mark as it is. Return the drive's name.

    Raises:
        OptionError: it is no name of a drive or leg.
        StoreError: there is no such drive or leg.
        OutputError: the marks cannot be written.
    """
    drive, _, text = name.partition("/")
    number_text = text.removesuffix(".mcap")
    is_number = number_text.isascii() and number_text.isdigit() and len(number_text) < 10
    if text and not (is_number and int(number_text) > 0):
        raise OptionError(f"{text!r} is no leg's number", where=name, expected="DRIVE or DRIVE/NUMBER")
    number = int(number_text) if text else 0
    _names(catalogue, [drive])
    known = {leg.number for leg in catalogue.legs(drive)}
    if number and number not in known:
        raise StoreError(f"the drive has no leg {number}", where=root / drive)
    marks = read_marks(root / drive)
    for key, on in (("keep", keep), ("never_train", never_train)):
        if on is not None:
            marks.set(key, on, number, known)
    write_marks(root / drive, marks)  # the file first: the catalogue can be made anew from it
    catalogue.apply_marks(drive, marks)
    return drive


def _verdict(root: Path, row: LegRow) -> LegVerdict:
    path = root / row.drive / leg_name(row.number)
    if row.state == "open":
        return LegVerdict(row.drive, row.number, "open", "it is under way, or was cut off")
    if not path.is_file():
        return LegVerdict(row.drive, row.number, "missing", "there is no file")
    try:
        check_leg(path, row.sha256)
    except StoreError as error:
        return LegVerdict(row.drive, row.number, "broken", error.what)
    return LegVerdict(row.drive, row.number, "whole")


def _names(catalogue: Catalogue, wanted: Sequence[str]) -> set[str]:
    known = {drive.name for drive in catalogue.drives()}
    for name in wanted:
        if name not in known:
            raise StoreError(f"there is no drive {name!r}", where=catalogue.path.parent, fix="See: edgevad drives list")
    return set(wanted) or known
