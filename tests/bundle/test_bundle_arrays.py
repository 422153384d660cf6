from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny import put_file

from edgevad.bundle import Bundle
from edgevad.bundle.arrays import array_from_npy, arrays_from_npz
from edgevad.errors import BundleError


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def header(text: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + body


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        np.arange(5),
        np.float32(3.5),
        np.zeros((0, 3), np.uint8),
        np.arange(3, dtype=np.int32)[::-1],
    ],
)
def test_what_numpy_writes_is_read(array: np.ndarray) -> None:
    found = array_from_npy(npy(array))
    assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, array.tolist())
    assert found.flags.writeable
    buffer = io.BytesIO()
    np.savez(buffer, one=array, two=array)
    assert arrays_from_npz(buffer.getvalue(), ["two"])["two"].tolist() == array.tolist()


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 999999999999), }\n"
HOSTILE = {
    "nothing": b"",
    "text": b"score,1,2\n",
    "magic alone": b"\x93NUMPY",
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "version 3": header(HUGE, version=b"\x03\x00"),
    "a huge array": header(HUGE, bytes(100)),
    "a negative size": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8), }\n", bytes(64)),
    "one value less": npy(np.arange(10))[:-8],
    "one byte more": npy(np.arange(10)) + b"\0",
    "objects": npy(np.array([{}], dtype=object), pickled=True),
    "texts": npy(np.array(["a"])),
    "records": npy(np.zeros(2, [("a", "<f4")])),
    "big endian": npy(np.arange(3, dtype=">i4")),
    "an expression": header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**40,), }\n"),
    "deep parentheses": header("{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 900 + ")" * 900 + ", }\n"),
    "another key": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'x': 1, }\n", bytes(8)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused_without_taking_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"npy|header"):
            array_from_npy(HOSTILE[name])
        with pytest.raises(ValueError, match=r"npy|header"):
            arrays_from_npz(npz({"score.npy": HOSTILE[name]}), ["score"])
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_archives_of_arrays_are_stored_and_whole() -> None:
    member = {"score.npy": npy(np.zeros(1 << 20))}
    with pytest.raises(ValueError, match="compressed"):
        arrays_from_npz(npz(member, zipfile.ZIP_DEFLATED), ["score"])
    with pytest.raises(KeyError, match="frames"):
        arrays_from_npz(npz(member), ["score", "frames"])
    whole = npz(member)
    for data in (b"", b"PK", whole[: len(whole) // 2], whole[:-30], npy(np.zeros(3))):
        with pytest.raises(ValueError, match=r"."):
            arrays_from_npz(data, ["score"])
    damaged = bytearray(whole)
    damaged[5000] ^= 1
    with pytest.raises(ValueError, match="CRC"):
        arrays_from_npz(bytes(damaged), ["score"])


def test_what_a_file_says_of_itself_is_not_quoted_at_length() -> None:
    data = bytearray(npz({"score.npy": npy(np.zeros(10_000))}))
    data[26:28] = b"\xff\xff"  # the length of the name, in the member's own header
    with pytest.raises(ValueError, match=r"differ|score") as caught:
        arrays_from_npz(bytes(data), ["score"])
    assert len(str(caught.value)) <= 200


@pytest.mark.parametrize("name", ["selftest.npz", "scores.npz"])
@pytest.mark.parametrize("data", [npz({"score.npy": HOSTILE["a huge array"]}), npz({}), b"x", HOSTILE["objects"]])
def test_a_bundle_says_which_file_it_was(tiny_bundle: Path, tmp_path: Path, name: str, data: bytes) -> None:
    import shutil

    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    put_file(copy, name, data)
    with pytest.raises(BundleError, match=rf"{name}: (the arrays cannot be read|an array is missing)") as caught:
        Bundle.open(copy).check()
    assert "\n" not in str(caught.value)
