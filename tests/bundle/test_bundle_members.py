from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny import edit_manifest, file_entry, put_file

from edgevad.bundle import Bundle, activate
from edgevad.bundle import members as members_module
from edgevad.bundle.members import FolderMembers, HeldMembers, check_names, check_sizes
from edgevad.errors import BundleError, ManifestError


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


LEADING_ELSEWHERE = [
    "../model.onnx",
    "/etc/passwd",
    "a/b.npy",
    "a\\b.npy",
    "..\\model.onnx",
    "C:model.onnx",
    "C:\\model.onnx",
    "..",
    ".",
    "",
    ".hidden",
    "trailing.",
    "trailing ",
    "two words",
    "new\nline",
    "nul\0.npy",
    "NUL",
    "con.txt",
    "COM1.npz",
    "müller.npy",
    "y" * 300,
]


@pytest.mark.parametrize("name", LEADING_ELSEWHERE)
def test_a_name_that_is_more_than_a_plain_file_name_is_refused(copy: Path, edgevad_home: Path, name: str) -> None:
    with pytest.raises(BundleError, match="a member is called"):
        check_names([name], copy)
    edit_manifest(copy, files={**Bundle.open(copy).manifest.to_json()["files"], name: file_entry(b"")})
    for refuse in (Bundle.open, activate):
        with pytest.raises(ManifestError, match="does not hold together: a member is called") as caught:
            refuse(copy)
        assert "\n" not in str(caught.value)
    assert not edgevad_home.exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx", "a", "A-b_c.1", "x" * 100, "console.txt", "com10"])
def test_plain_names_are_taken(tmp_path: Path, name: str) -> None:
    check_names([name], tmp_path)


def test_names_that_differ_in_case_would_be_one_file_on_some_systems(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"two members are called Model\.onnx"):
        check_names(["model.onnx", "Model.onnx"], copy)
    put_file(copy, "BANK.npy", b"")
    put_file(copy, "bank.npy", b"")
    with pytest.raises(BundleError, match="two members are called"):
        Bundle.open(copy)


def test_a_manifest_does_not_vouch_for_itself_or_its_signature(copy: Path) -> None:
    for name in ("manifest.json", "signature.json"):
        files = Bundle.open(copy).manifest.to_json()["files"]
        edit_manifest(copy, files={**files, name: file_entry(b"")})
        with pytest.raises(ManifestError, match=f"two members are called {name}"):
            Bundle.open(copy)
        edit_manifest(copy, files=files)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "signature.json", "unlisted.bin"])
def test_links_are_refused_wherever_they_lead(copy: Path, tmp_path: Path, edgevad_home: Path, name: str) -> None:
    inside = copy / name
    outside = tmp_path / "outside"
    outside.write_bytes(inside.read_bytes() if inside.exists() else b"")  # even to the very same bytes
    inside.unlink(missing_ok=True)
    inside.symlink_to(outside)
    for refuse in (Bundle.open, activate):
        with pytest.raises(BundleError, match=f"{name}: is a link; expected a regular file"):
            refuse(copy)
    assert not edgevad_home.exists()


def test_a_link_that_came_after_the_folder_was_listed_is_refused(copy: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(copy)
    (copy / "model.onnx").rename(tmp_path / "moved.onnx")
    (copy / "model.onnx").symlink_to(tmp_path / "moved.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: is a link"):
        bundle.graph()


def test_folders_and_pipes_are_refused_and_nobody_waits_for_a_pipe(copy: Path) -> None:
    (copy / "weights").mkdir()
    with pytest.raises(BundleError, match="weights: is a folder"):
        Bundle.open(copy)
    (copy / "weights").rmdir()
    bundle = Bundle.open(copy)
    (copy / "model.onnx").unlink()
    os.mkfifo(copy / "model.onnx")
    for refuse in (bundle.graph, lambda: Bundle.open(copy)):
        with pytest.raises(BundleError, match=r"model\.onnx: is no regular file"):
            refuse()


def test_a_file_that_the_manifest_does_not_list_is_refused_and_a_hidden_one_is_no_part(copy: Path) -> None:
    (copy / ".DS_Store").write_bytes(b"left by a file manager")
    assert set(Bundle.open(copy).files()) == {"manifest.json", "model.onnx", "selftest.npz", "scores.npz"}
    (copy / "extra.so").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"holds extra\.so, which its manifest does not list"):
        Bundle.open(copy)


def test_what_is_too_large_is_refused_before_it_is_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (copy / "manifest.json").open("ab") as stream:
        stream.truncate(2 << 30)  # sparse: takes no room, and would take 2 GB of memory to read
    monkeypatch.setattr(FolderMembers, "read", lambda *_: pytest.fail("something was read"))
    with pytest.raises(BundleError, match=r"manifest\.json has 2147483648 bytes; expected at most 1048576"):
        Bundle.open(copy)


def test_sizes_have_caps_each_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "MAX_MEMBER_BYTES", 100)
    monkeypatch.setattr(members_module, "MAX_TOTAL_BYTES", 250)
    check_sizes({"a": 100, "b": 100, "c": 50}, tmp_path)
    for sizes, message in (
        ({"a": 101}, "a has 101 bytes; expected at most 100"),
        ({"a": -1}, "a has -1 bytes"),
        ({"a": 100, "b": 100, "c": 51}, "its files have 251 bytes; expected at most 250"),
        ({str(k): 0 for k in range(65)}, "holds 65 files; expected at most 64"),
    ):
        with pytest.raises(BundleError, match=message):
            check_sizes(sizes, tmp_path)


def test_a_folder_of_many_files_is_not_read_to_its_end(tmp_path: Path) -> None:
    for k in range(65):
        (tmp_path / f"{k}.bin").touch()
    with pytest.raises(BundleError, match="holds more than 64 files"):
        Bundle.open(tmp_path)


def test_sizes_in_the_manifest_are_capped_too(copy: Path) -> None:
    files = Bundle.open(copy).manifest.to_json()["files"]
    for size in (1 << 40, -1, 1.5, True, "12", None):
        edit_manifest(copy, files={**files, "model.onnx": {**files["model.onnx"], "bytes": size}})
        with pytest.raises(ManifestError, match=r"does not hold together: (model\.onnx has|the size of)"):
            Bundle.open(copy)


def test_a_file_that_changes_while_it_is_read_is_noticed(copy: Path) -> None:
    bundle = Bundle.open(copy)
    with (copy / "model.onnx").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BundleError, match=r"model\.onnx: changed while it was read"):
        bundle.graph()


def test_files_in_memory_are_a_bundle_too(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    held = Bundle.of(HeldMembers(bundle.files()), tiny_bundle)
    assert held.digest == bundle.digest
    assert held.graph() == bundle.graph()
