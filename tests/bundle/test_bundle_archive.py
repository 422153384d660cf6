from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import file_entry

from edgevad.bundle import Bundle, activate, pack_bundle
from edgevad.bundle import archive as archive_module
from edgevad.bundle.archive import ArchiveMembers, write_archive
from edgevad.errors import BundleError, ChecksumMismatchError, EdgevadError

END, ENTRY = 22, 46  # bytes of the record at the end, and of a directory entry before its name


@pytest.fixture
def packed(tiny_bundle: Path, tmp_path: Path) -> Path:
    return pack_bundle(tiny_bundle, tmp_path / "tiny.edgevad").path


def zipped(path: Path, files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> Path:
    """An archive as another tool may write it; `change` is called for each member before it is written."""
    with zipfile.ZipFile(path, "w", strict_timestamps=False) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            change(info)
            archive.writestr(info, data)
    return path


def refused(path: Path, home: Path, message: str) -> None:
    """The bundle is refused in one line, and nothing is written for it."""
    for refuse in (Bundle.open, activate):
        with pytest.raises(BundleError, match=message) as caught:
            refuse(path)
        assert "\n" not in str(caught.value)
    assert not home.exists()


def test_it_is_read_in_place_and_holds_the_same_bytes(tiny_bundle: Path, packed: Path) -> None:
    folder, file = Bundle.open(tiny_bundle), Bundle.open(packed)
    assert file.files() == folder.files()
    assert (file.digest, file.manifest) == (folder.digest, folder.manifest)
    assert file.selftest()["frames"].tobytes() == folder.selftest()["frames"].tobytes()
    assert [path.name for path in packed.parent.iterdir()] == ["tiny.edgevad"]
    with zipfile.ZipFile(packed) as archive:  # and any other tool can look into it
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "model.onnx", "scores.npz", "selftest.npz"]


def test_the_same_files_give_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    folder = pack_bundle(packed, tmp_path / "folder").path
    for path in folder.iterdir():
        path.touch(mode=0o600)
    assert pack_bundle(folder, tmp_path / "again.edgevad").path.read_bytes() == packed.read_bytes()


def test_one_flipped_bit_anywhere_is_noticed(packed: Path) -> None:
    data = packed.read_bytes()
    places = [*range(0, 2000, 7), *range(2000, len(data), 997), *range(len(data) - 400, len(data))]
    unnoticed = []
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        packed.write_bytes(damaged)
        try:
            Bundle.open(packed)
        except EdgevadError:
            continue
        unnoticed.append(place)
    # What says which zip wrote a member, or which one is needed, changes nothing of what is read.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        harmless = harmless_places(archive, data)
    assert set(unnoticed) <= harmless
    assert len(unnoticed) < len(places) / 10


def harmless_places(archive: zipfile.ZipFile, data: bytes) -> set[int]:
    at = archive.start_dir
    places: set[int] = set()
    for info in archive.infolist():
        places |= {info.header_offset + 4, info.header_offset + 5}  # version needed
        places |= {at + 4, at + 5, at + 6, at + 7}  # made by, version needed
        places |= set(range(at + 36, at + 42)) | {at + 12, at + 13, at + 14, at + 15}  # attributes
        at += ENTRY + len(info.filename)
    return places


@pytest.mark.parametrize("cut", [1, END, 400, -10, -3000])
def test_a_truncated_file_is_refused(packed: Path, edgevad_home: Path, cut: int) -> None:
    data = packed.read_bytes()
    packed.write_bytes(data[:cut] if cut < 0 else data[: len(data) - cut])
    refused(packed, edgevad_home, r"tiny\.edgevad: (was cut short|its directory|holds more)")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\x03\x04", b"a text file named like a bundle\n", b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, edgevad_home: Path, data: bytes) -> None:
    (tmp_path / "x.edgevad").write_bytes(data)
    refused(tmp_path / "x.edgevad", edgevad_home, r"x\.edgevad: (this is no \.edgevad file|was cut short)")


def test_nothing_may_stand_before_behind_or_between(packed: Path, edgevad_home: Path) -> None:
    data = packed.read_bytes()
    for other, message in (
        (b"#!/bin/sh\n" + data, r"this is no \.edgevad file"),
        (data[:4] + b"x" + data[4:], "its directory"),
        (data + b"x", "was cut short, or something was added"),
        (data + data, "its directory does not hold together"),
        (data[:-2] + struct.pack("<H", 3) + b"abc", "was cut short, or something was added"),
    ):
        packed.write_bytes(other)
        refused(packed, edgevad_home, message)


def test_a_member_in_no_directory_is_refused(tiny_bundle: Path, tmp_path: Path, edgevad_home: Path) -> None:
    path = zipped(tmp_path / "x.edgevad", {"hidden.bin": b"payload", **Bundle.open(tiny_bundle).files()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist.pop(0)  # its bytes stay where they are
        archive._didModify = True  # type: ignore[attr-defined]
    refused(path, edgevad_home, r"its directory and the header of manifest\.json do not agree")


def test_each_name_once(tiny_bundle: Path, tmp_path: Path, edgevad_home: Path) -> None:
    files = Bundle.open(tiny_bundle).files()
    with zipfile.ZipFile(tmp_path / "x.edgevad", "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(zipfile.ZipInfo("model.onnx"), b"another")
    refused(tmp_path / "x.edgevad", edgevad_home, r"two members are called model\.onnx")
    path = zipped(tmp_path / "y.edgevad", {**files, "Model.ONNX": b"another"})
    refused(path, edgevad_home, r"two members are called Model\.ONNX")


def test_only_stored_members(tiny_bundle: Path, tmp_path: Path, edgevad_home: Path) -> None:
    def bomb(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_DEFLATED

    files = {**Bundle.open(tiny_bundle).files(), "zeros.bin": bytes(50 << 20)}
    path = zipped(tmp_path / "x.edgevad", files, bomb)
    assert path.stat().st_size < 1 << 20
    refused(path, edgevad_home, r"manifest\.json is compressed; expected stored members")


def test_encrypted_members_links_and_folders_are_refused(tiny_bundle: Path, tmp_path: Path, edgevad_home: Path) -> None:
    files = Bundle.open(tiny_bundle).files()

    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    def device(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFCHR | 0o666) << 16

    def folder(info: zipfile.ZipInfo) -> None:
        info.external_attr |= 0x10

    path = tmp_path / "x.edgevad"
    refused(zipped(path, files, link), edgevad_home, r"manifest\.json is a link; expected regular files")
    refused(zipped(path, files, device), edgevad_home, "is no regular file")
    refused(zipped(path, files, folder), edgevad_home, "is no regular file")
    data = bytearray(zipped(path, files).read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    for flags in (6, directory + 8):
        data[flags] |= 1
    path.write_bytes(data)
    refused(path, edgevad_home, r"manifest\.json is encrypted")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/cron.d/evil", "a/b", "C:\\evil", "..\\evil", "CON", ".bashrc", "e\u0301"]
)
def test_names_that_lead_elsewhere_are_refused(
    tiny_bundle: Path, tmp_path: Path, edgevad_home: Path, name: str
) -> None:
    path = zipped(tmp_path / "x.edgevad", {**Bundle.open(tiny_bundle).files(), name: b"evil"})
    refused(path, edgevad_home, "a member is called")
    with pytest.raises(BundleError, match="a member is called"):
        pack_bundle(path, tmp_path / "out" / "folder")
    assert not (tmp_path / "out").exists()


def test_a_header_that_says_other_than_the_directory_is_refused(packed: Path, edgevad_home: Path) -> None:
    data = packed.read_bytes()
    second = data.index(b"PK\x03\x04", 4)
    for at, what in (
        (6, "flags"),
        (8, "method"),
        (14, "crc"),
        (18, "packed"),
        (22, "size"),
        (26, "name length"),
        (30, "name"),
    ):
        damaged = bytearray(data)
        damaged[second + at] ^= 4
        packed.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"its directory and the header of \w+\.\w+ do not agree"):
            Bundle.open(packed)
        assert what


def test_sizes_that_differ_from_the_manifests_are_refused_unread(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**Bundle.open(tiny_bundle).files()}
    files["model.onnx"] += b"x"
    path = zipped(tmp_path / "x.edgevad", files)
    read = ArchiveMembers.read
    names: list[str] = []
    monkeypatch.setattr(ArchiveMembers, "read", lambda self, name: names.append(name) or read(self, name))  # type: ignore[func-returns-value]
    with pytest.raises(ChecksumMismatchError, match=r"model\.onnx: not the file that was exported \(\d+ bytes\)"):
        Bundle.open(path)
    assert names == ["manifest.json"]


def test_a_member_that_the_manifest_does_not_list_is_refused(
    tiny_bundle: Path, tmp_path: Path, edgevad_home: Path
) -> None:
    path = zipped(tmp_path / "x.edgevad", {**Bundle.open(tiny_bundle).files(), "extra.so": b"x"})
    refused(path, edgevad_home, r"holds extra\.so, which its manifest does not list")


def test_a_wrong_hash_is_refused(tiny_bundle: Path, tmp_path: Path, edgevad_home: Path) -> None:
    files = dict(Bundle.open(tiny_bundle).files())
    files["model.onnx"] = files["model.onnx"][:-1] + bytes([files["model.onnx"][-1] ^ 1])
    path = zipped(tmp_path / "x.edgevad", files)  # with the checksum of the zip in order
    refused(path, edgevad_home, r"x\.edgevad/model\.onnx: not the file that was exported \(SHA-256")


def test_a_large_file_is_refused_before_it_is_read(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_TOTAL_BYTES", 100)
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 0)
    with pytest.raises(BundleError, match=r"has \d+ bytes; expected at most 100 of them in its members"):
        Bundle.open(packed)


def test_many_members_are_refused(tmp_path: Path, edgevad_home: Path) -> None:
    path = zipped(tmp_path / "x.edgevad", {f"{k}.bin": b"" for k in range(65)})
    refused(path, edgevad_home, "lists 65 members; expected 1 to 64")


def test_a_member_that_is_no_longer_there_is_one_error(packed: Path) -> None:
    bundle = Bundle.open(packed)
    packed.write_bytes(b"")
    with pytest.raises(BundleError, match=r"became shorter while model\.onnx was read"):
        bundle.graph()
    packed.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.graph()


def test_a_file_replaced_under_a_bundle_that_is_open_is_noticed(packed: Path, tiny_motion_bundle: Path) -> None:
    bundle = Bundle.open(packed)
    pack_bundle(tiny_motion_bundle, packed, overwrite=True)
    with pytest.raises(ChecksumMismatchError):
        bundle.graph()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    files = {"b.bin": b"", "a.bin": bytes(range(256)), "manifest.json": json.dumps({"x": file_entry(b"")}).encode()}
    with (tmp_path / "x.edgevad").open("wb") as stream:
        write_archive(stream, files)
    members = ArchiveMembers(tmp_path / "x.edgevad")
    assert {name: members.read(name) for name in members.sizes} == files
    assert list(members.sizes) == list(files)
