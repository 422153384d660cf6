"""MATLAB's files: .mat with masks, and the .m script in which UCSD lists its anomalous frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.errors import LabelError

__all__ = ["MaskVolumes", "read_frame_ranges"]

_ENTRY = re.compile(r"TestVideoFile\s*\{\s*(end\s*\+\s*1|\d+)\s*\}\s*\.\s*gt_frame\s*=\s*(\[[^\]]*\]|[^;\n]*)")
_RANGE = re.compile(r"(\d+)(?::(\d+))?")


class MaskVolumes:
    """Cell arrays of masks out of .mat files (up to v7), the last one read kept as bits: they are large.

    Args:
        variable: name of the cell array, 1 x N, each cell an (H, W) array that is 0 where normal.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._last: tuple[Path, list[npt.NDArray[np.uint8]], tuple[int, ...]] | None = None

    def flags(self, path: Path) -> npt.NDArray[np.bool_]:
        """For each frame whether any pixel is anomalous, (N,) bool.

        Raises:
            LabelError: the file is missing, of another format, or without such a variable.
            MissingExtraError: scipy is not installed.
        """
        packed, _ = self._read(path)
        return np.array([bool(bits.any()) for bits in packed], np.bool_)

    def mask(self, path: Path, index: int) -> npt.NDArray[np.bool_] | None:
        """The mask of frame `index`, (H, W) bool; None beyond the last one. Raises like `flags`."""
        packed, shape = self._read(path)
        if not 0 <= index < len(packed):
            return None
        return np.unpackbits(packed[index], count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)

    def _read(self, path: Path) -> tuple[list[npt.NDArray[np.uint8]], tuple[int, ...]]:
        if self._last is None or self._last[0] != path:
            cells = [np.asarray(cell) for cell in _cells(path, self._variable)]
            shape = cells[0].shape
            if len(shape) != 2 or any(cell.shape != shape or cell.dtype.kind not in "biuf" for cell in cells):
                raise LabelError(
                    f"the cells of {self._variable} are no masks of one size",
                    where=path,
                    expected="(H, W) numbers each",
                )
            self._last = path, [np.packbits(cell != 0) for cell in cells], shape
        return self._last[1], self._last[2]


def _cells(path: Path, variable: str) -> list[Any]:
    io = require("scipy.io", extra="report", needed_for="reading .mat files")
    try:
        with path.open("rb") as stream:
            content = io.loadmat(stream, variable_names=[variable])
    except FileNotFoundError:
        raise LabelError("no such file", where=path, expected=f"a .mat file with {variable}") from None
    except NotImplementedError:  # scipy's way to say that it is HDF5
        raise LabelError(
            "a .mat file of version 7.3, which only MATLAB reads", where=path, fix="Save it again with save -v7"
        ) from None
    except Exception as error:  # a broken file makes scipy fail in many ways
        raise LabelError(f"cannot be read as a .mat file ({error})", where=path) from error
    if variable not in content:
        raise LabelError(f"there is no {variable} in it", where=path)
    array = content[variable]
    if array.dtype != object or not array.size:
        raise LabelError(f"{variable} is no cell array", where=path, expected="one cell with a mask for each frame")
    return list(array.reshape(-1))


def read_frame_ranges(path: Path) -> dict[int, tuple[tuple[int, int], ...]]:
    """The anomalous ranges in a script of lines like `TestVideoFile{end+1}.gt_frame = [5:90, 140:200];`.

    Returns, for the number of each clip, counted from 1, its ranges: (first, last) counted from 0, both inside.

    Raises:
        LabelError: the file cannot be read, or has no such line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LabelError(f"cannot be read ({error.strerror or error})", where=path) from error
    found: dict[int, tuple[tuple[int, int], ...]] = {}
    for number, value in _ENTRY.findall(re.sub(r"%.*", "", text)):
        clip = int(number) if number.isdigit() else max(found, default=0) + 1
        found[clip] = tuple(_ranges(value, path))
    if not found:
        raise LabelError(
            "not one line tells of anomalous frames", where=path, expected="TestVideoFile{end+1}.gt_frame = [61:180];"
        )
    return found


def _ranges(value: str, path: Path) -> list[tuple[int, int]]:
    ranges = []
    for part in re.sub(r"\s*:\s*", ":", value.strip("[] \t\r\n")).replace(",", " ").split():
        match = _RANGE.fullmatch(part)
        if match is None or int(match[1]) < 1:
            raise LabelError(f"{part!r} is no range of frames", where=path, expected="first:last, counted from 1")
        ranges.append((int(match[1]) - 1, int(match[2] or match[1]) - 1))
    return ranges
