"""Bundles that nobody would make by hand: whatever is in them, one clear error at most, and not a byte out of place.

EDGEVAD_FUZZ=20000 python -m pytest tests/bundle/test_bundle_fuzz.py   # so many examples of each, other ones every time
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import file_entry

from edgevad.bundle import Bundle, activate, pack_bundle
from edgevad.errors import EdgevadError

DEEP = int(os.environ.get("EDGEVAD_FUZZ", "0"))


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=DEEP or examples,
        derandomize=not DEEP,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@dataclass(frozen=True)
class Ground:
    """Where hostile bundles are let loose.

    Attributes:
        root: everything; what is not below one of the other folders must stay as it is.
        bundle: the folder bundle of this example.
        file: the archive of this example.
        out: where bundles are packed to.
        files: what a good bundle consists of.
        archive: the same as one file.
    """

    root: Path
    bundle: Path
    file: Path
    out: Path
    files: dict[str, bytes] = field(repr=False)
    archive: bytes = field(repr=False)

    def attempt(self, path: Path, *, run: bool = True) -> bool:
        """Everything that is done with a bundle; whether it was taken."""
        before = self.elsewhere()
        message = ""
        try:
            bundle = Bundle.open(path)
            bundle.check()
            pack_bundle(path, self.out / "x.edgevad", overwrite=True)
            pack_bundle(self.out / "x.edgevad", self.out / "x", overwrite=True)
            assert Bundle.open(self.out / "x").files() == bundle.files()
            if run:
                activate(path)
        except EdgevadError as error:
            message = str(error)
        assert "\n" not in message
        assert len(message) < 2000
        assert self.elsewhere() == before
        assert {path.name for path in self.out.iterdir()} <= {"x", "x.edgevad"}
        return not message

    def write(self, files: dict[str, bytes]) -> Path:
        shutil.rmtree(self.bundle, ignore_errors=True)
        self.bundle.mkdir()
        for name, data in files.items():
            (self.bundle / name).write_bytes(data)
        return self.bundle

    def elsewhere(self) -> dict[str, bytes | None]:
        """Every file and folder under `root` but those that may be written."""
        free = (self.bundle, self.file, self.out, self.root / "home")
        found: dict[str, bytes | None] = {}
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if Path(folder, name) not in free]
            found[folder] = None
            for path in (Path(folder, name) for name in names):
                if path not in free:
                    found[str(path)] = path.read_bytes()
        return found


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp("fuzz")
    here = root / "work" / "here"
    for folder in (here / "bundle", here / "out", root / "etc"):
        folder.mkdir(parents=True)
    for sentinel in ("etc/passwd", "work/model.onnx", "work/evil", "work/here/evil", "evil"):
        (root / sentinel).write_text("stays as it is")
    archive = pack_bundle(tiny_bundle, root / "good.edgevad").path.read_bytes()
    files = dict(Bundle.open(tiny_bundle).files())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEVAD_HOME", str(root / "home"))
        patch.chdir(here)
        patch.setattr(os, "fsync", lambda _: None)  # nobody cuts the power here, and a disk is slow
        yield Ground(root, here / "bundle", here / "x.edgevad", here / "out", files, archive)


NUMBERS = st.integers() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0, -1, 2**31, 2**63, 1e308])
LEAVES = (
    st.none() | st.booleans() | NUMBERS | st.text(max_size=30) | st.sampled_from(["fp32", "int8", "../x", "\ud800"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead there."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, original: Any) -> Any:
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([path for path in places(value) if path]))
        holder = value
        for key in way:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "delete", "swap", "scale", "wrap"]))
        if change == "delete":
            del holder[last]
        elif change == "swap":
            other = draw(st.sampled_from([path for path in places(value) if path]))
            with suppress(KeyError, IndexError, TypeError):  # what one swap moved the next may not find
                found = value
                for key in other:
                    found = found[key]
                holder[last] = copy.deepcopy(found)
        elif change == "scale" and isinstance(holder[last], (int, float)):
            holder[last] = holder[last] * draw(st.sampled_from([-1, 0, 0.5, 2, 1e9, 10**18]))
        elif change == "wrap":
            holder[last] = [holder[last]] if draw(st.booleans()) else {"x": holder[last]}
        else:
            holder[last] = draw(VALUES)
    return value


@fuzz(120)
@given(data=st.data())
def test_mutated_manifests(ground: Ground, data: st.DataObject) -> None:
    manifest = data.draw(mutated(json.loads(ground.files["manifest.json"])))
    ground.attempt(ground.write({**ground.files, "manifest.json": json.dumps(manifest).encode()}))


@fuzz(100)
@given(
    content=VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200) | st.text().map(str.encode)
)
def test_arbitrary_manifests(ground: Ground, content: bytes) -> None:
    assert not ground.attempt(ground.write({**ground.files, "manifest.json": content}))


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """`original` with a few bits flipped, cut short, or with something put in, taken out or moved."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        last = max(len(data) - 1, 0)
        at = draw(
            st.integers(max(last - 500, 0) if draw(st.booleans()) else 0, last)
        )  # where a directory is, or anywhere
        count = draw(st.integers(1, 64))
        change = draw(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "overwrite"]))
        if change == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[at:]
        elif change == "remove":
            del data[at : at + count]
        elif change == "repeat":
            data[at:at] = data[at : at + count]
        else:
            new = draw(st.binary(max_size=16) | st.sampled_from([bytes(4), b"\xff" * 4, b"PK\x05\x06", b"PK\x01\x02"]))
            data[at : at + (len(new) if change == "overwrite" else 0)] = new
    return bytes(data)


@fuzz(100)
@given(data=st.data())
def test_damaged_manifests(ground: Ground, data: st.DataObject) -> None:
    ground.attempt(ground.write({**ground.files, "manifest.json": data.draw(damaged(ground.files["manifest.json"]))}))


@fuzz(250)
@given(data=st.data())
def test_damaged_archives(ground: Ground, data: st.DataObject) -> None:
    ground.file.write_bytes(data.draw(damaged(ground.archive)))
    if ground.attempt(ground.file):  # then nothing that matters was hit
        assert Bundle.open(ground.file).files() == ground.files


NAMES = st.sampled_from(
    [
        "../evil",
        "../../evil",
        "evil",
        "/evil",
        "a/../../evil",
        "..\\evil",
        "C:evil",
        "work/",
        "nul",
        ".",
        "",
        "a\0b",
        ".evil",
    ]
) | st.text(max_size=12)
SMALL = st.sampled_from([0, 1, 8, 9, 0xFFFF, 0xFFFFFFFF, 0x80000000]) | st.integers(0, 0xFFFFFFFF)


def archive_of(
    members: list[tuple[str, bytes]],
    wrong: Callable[[int, int], int] = lambda value, bits: value,
    agree: Callable[[], bool] = lambda: True,
    attributes: Callable[[], int] = lambda: 0o100644 << 16,
) -> bytes:
    """A zip archive, field by field: `wrong` is given each number and its bits, `agree` says if both headers do."""
    body, directory = b"", b""
    for name, content in members:
        raw = name.encode("utf-8", "surrogatepass")

        def header(raw: bytes = raw, content: bytes = content) -> bytes:
            checks = (wrong(number, 32) for number in (zlib.crc32(content), len(content), len(content)))
            return struct.pack("<4H3I2H", wrong(0, 16), wrong(0, 16), 0, 33, *checks, wrong(len(raw), 16), wrong(0, 16))

        listed = header()
        own = listed if agree() else header()
        directory += b"PK\x01\x02" + struct.pack("<2H", 0x314, 20) + listed
        directory += struct.pack("<3H2I", 0, 0, 0, attributes(), wrong(len(body), 32)) + raw
        body += b"PK\x03\x04" + struct.pack("<H", 20) + own + raw + content
    count = wrong(len(members), 16)
    sizes = wrong(len(directory), 32), wrong(len(body), 32)
    return body + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, *sizes, 0)


def test_an_archive_made_by_hand_is_the_one_that_is_written(ground: Ground) -> None:
    assert archive_of(list(ground.files.items())) == ground.archive


@st.composite
def archives(draw: st.DrawFn, good: dict[str, bytes], root: Path) -> bytes:
    """An archive whose parts are each as they should be, or not."""
    members = list(good.items())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(NAMES | st.just(f"{root}/evil") | st.sampled_from(sorted(good)))
        members.insert(draw(st.integers(0, len(members))), (name, draw(st.binary(max_size=40))))
    if draw(st.booleans()):
        members.pop(draw(st.integers(0, len(members) - 1)))
    if draw(st.booleans()):
        members = draw(st.permutations(members))
    kinds = st.sampled_from([0o100644 << 16] * 8 + [0o120777 << 16, 0o040755 << 16, 0x10, 0])
    return archive_of(
        members,
        lambda value, bits: draw(SMALL) & (1 << bits) - 1 if draw(st.integers(0, 60)) == 60 else value,
        lambda: draw(st.integers(0, 3)) > 0,
        lambda: draw(kinds),
    )


@fuzz(250)
@given(data=st.data())
def test_made_up_archives(ground: Ground, data: st.DataObject) -> None:
    ground.file.write_bytes(data.draw(archives(ground.files, ground.root)))
    if ground.attempt(ground.file):
        assert Bundle.open(ground.file).files() == ground.files


@fuzz(150)
@given(data=st.data())
def test_members_that_the_manifest_vouches_for(ground: Ground, data: st.DataObject) -> None:
    """Checksums in order, content not: what is left is the readers of arrays and graphs. No engine is asked."""
    name = data.draw(st.sampled_from(["selftest.npz", "scores.npz", "model.onnx"]))
    content = data.draw(damaged(ground.files[name]) | st.binary(max_size=100))
    manifest = json.loads(ground.files["manifest.json"])
    manifest["files"][name] = file_entry(content)
    files = {**ground.files, name: content, "manifest.json": json.dumps(manifest).encode()}
    ground.attempt(ground.write(files), run=False)
