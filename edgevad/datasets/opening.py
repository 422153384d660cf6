"""From a folder to a data set."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from edgevad._files import input_errors
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.layouts import LAYOUTS, Layout
from edgevad.errors import DatasetError, OptionError

__all__ = ["open_dataset"]


def open_dataset(path: str | PathLike[str], layout: str | None = None) -> Dataset:
    """Open the data set in the folder `path`; `layout` is a key of `LAYOUTS`, None to recognise it.

    Quick: folders are listed, labels are left for later.

    Raises:
        OptionError: there is no layout of that name.
        DatasetError: the folder is missing, looks like no layout or like several, or has no clips.
    """
    if layout is not None and layout not in LAYOUTS:
        raise OptionError(f"unknown layout {layout!r}", expected=", ".join(LAYOUTS))
    folder = Path(path).expanduser()
    with input_errors(folder, DatasetError):
        if not folder.is_dir():
            what = "this is not a folder" if folder.exists() else "no such folder"
            raise DatasetError(what, where=folder, expected="the folder of a data set")
        return (LAYOUTS[layout] if layout is not None else _recognised(folder)).load(folder)


def _recognised(folder: Path) -> Layout:
    found = [layout for layout in LAYOUTS.values() if layout.recognises(folder)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and like ".join(f"{layout.name} ({layout.title})" for layout in found)
        raise DatasetError(f"looks like {names}", where=folder, fix=f"Say which: --layout {found[0].name}")
    known = "; ".join(f"{layout.name}: {layout.outline}" for layout in LAYOUTS.values())
    raise DatasetError("looks like no data set known here", where=folder, expected=f"one of these layouts ({known})")
