"""Arrays from the bytes of `.npy` and `.npz` files that may come from anywhere.

NumPy's own reader evaluates the header as a Python literal, asks for the memory that it promises, and unpickles where
it is let. Ours are plain arrays as `np.save` writes them, so one regular expression reads their headers, and no memory
is taken before the header and the file agree on how much is needed.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["array_from_npy", "arrays_from_npz"]

_MAGIC = b"\x93NUMPY"
# Versions 1 and 2 of the format differ in how they write the header's length.
_LENGTHS = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I")}
_HEADER = re.compile(
    rb"\{'descr': '([<|][fiu][1248])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:[0-9]{1,12}(?:, ?[0-9]{1,12})*,?)?)\), \} *\n"
)
_MAX_HEADER_BYTES = 1024


def array_from_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of numbers in the `.npy` file `data`, a copy of its own.

    Raises:
        ValueError: it is none, holds anything but numbers, or not as many as its header says.
    """
    length = _LENGTHS.get(data[6:8])
    if data[:6] != _MAGIC or length is None or len(data) < 8 + length.size:
        raise ValueError("this is no npy file")
    start = 8 + length.size
    (size,) = length.unpack_from(data, 8)
    header = _HEADER.fullmatch(data[start : start + min(size, _MAX_HEADER_BYTES)])
    if header is None:
        raise ValueError("its npy header is not that of a plain array of numbers")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(number) for number in header[3].split(b",") if number.strip())
    body = start + size
    if math.prod(shape) * dtype.itemsize != len(data) - body:
        raise ValueError(f"the header promises {dtype} of shape {shape}, and {len(data) - body} bytes follow")
    order: Any = "F" if header[2] == b"True" else "C"
    return np.frombuffer(data, dtype, offset=body).reshape(shape, order=order).copy()


def arrays_from_npz(data: bytes, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays `names` of the `.npz` file `data`, as `np.savez` writes it: stored, one `.npy` file each.

    Raises:
        KeyError: an array is missing.
        ValueError: it is no such file, or one of the arrays is not as `array_from_npy` takes it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = {}
            for name in names:
                info = archive.getinfo(f"{name}.npy")
                # Stored, so that no member can hold more than the file does.
                if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size > len(data):
                    raise ValueError(f"{name} is compressed, encrypted or larger than its file")
                arrays[name] = archive.read(info)
    except KeyError as error:
        raise KeyError(f"{error.args[0]}") from error
    except (zipfile.BadZipFile, ArithmeticError, EOFError, OSError, RuntimeError, struct.error) as error:
        # A name of 64 kB, or what passes for one, is quoted whole.
        raise ValueError(str(error)[:200] or "this is no npz file") from error
    return {name: array_from_npy(array) for name, array in arrays.items()}
