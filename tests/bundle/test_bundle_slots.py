from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny import put_file

from edgevad.bundle import Bundle, activate, active_bundle, pack_bundle
from edgevad.errors import BackendError, BundleError, ChecksumMismatchError, OutputError


def changed(bundle: Path, to: Path, name: str, data: bytes) -> Path:
    """A copy of `bundle` with another file `name`, and a manifest that vouches for it."""
    copy = Path(shutil.copytree(bundle, to))
    put_file(copy, name, data)
    return copy


def wrong_selftest(bundle: Path, to: Path) -> Path:
    """A copy of `bundle` whose self-test expects 1 % more than its graph gives."""
    arrays = Bundle.open(bundle).selftest()
    np.savez(to.with_suffix(".npz"), **{**arrays, "score": arrays["score"] * np.float32(1.01)})
    return changed(bundle, to, "selftest.npz", to.with_suffix(".npz").read_bytes())


def test_nothing_is_active_at_first(edgevad_home: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle is active\. Run edgevad activate BUNDLE once, or pass --bundle"):
        active_bundle()


def test_slots_take_turns_and_the_one_before_stays(
    edgevad_home: Path, tiny_bundle: Path, tiny_motion_bundle: Path
) -> None:
    activate(tiny_bundle)
    assert active_bundle() == edgevad_home / "slots" / "a"
    held = active_bundle()

    activate(tiny_motion_bundle)
    assert active_bundle() == edgevad_home / "slots" / "b"
    assert Bundle.open(active_bundle()).manifest.input.motion is not None
    # Whoever had opened the old one still has it, whole.
    assert Bundle.open(held).manifest.input.motion is None

    activate(tiny_bundle)
    assert active_bundle() == edgevad_home / "slots" / "a"
    names = [".activate.lock", ".slots.lock", "current", "slots", "slots.json"]
    assert sorted(path.name for path in edgevad_home.iterdir()) == names
    assert (edgevad_home / "current").is_symlink()


def test_a_bundle_that_fails_its_selftest_changes_nothing(
    edgevad_home: Path, tiny_bundle: Path, tiny_motion_bundle: Path, tmp_path: Path
) -> None:
    activate(tiny_bundle)
    activate(tiny_motion_bundle)

    with pytest.raises(BundleError, match=r"self-test frame \d scores .* on this machine; expected") as caught:
        activate(wrong_selftest(tiny_bundle, tmp_path / "wrong"))
    assert str(caught.value).startswith(str(tmp_path / "wrong" / "selftest.npz"))

    assert active_bundle().name == "b"
    assert Bundle.open(active_bundle()).manifest.input.motion is not None
    # The way back is still the one it was.
    assert Bundle.open(edgevad_home / "slots" / "a").selftest()["score"] == pytest.approx(
        Bundle.open(tiny_bundle).selftest()["score"]
    )
    assert sorted(path.name for path in (edgevad_home / "slots").iterdir()) == ["a", "b"]


def test_a_graph_that_the_engine_refuses_changes_nothing(edgevad_home: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    # Correct as a file, and with an operator that is given too little.
    graph = onnx.load_from_string((tiny_bundle / "model.onnx").read_bytes())
    del next(node for node in graph.graph.node if node.op_type == "Sub").input[1]
    with pytest.raises(BackendError, match="refuses the graph"):
        activate(changed(tiny_bundle, tmp_path / "wrong", "model.onnx", graph.SerializeToString()))
    with pytest.raises(BundleError, match="no bundle is active"):
        active_bundle()


def test_what_is_no_graph_is_refused_before_anything_is_copied(
    edgevad_home: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: is no ONNX graph"):
        activate(changed(tiny_bundle, tmp_path / "wrong", "model.onnx", b"not a graph"))
    assert not edgevad_home.exists()


def test_a_file_is_expanded_into_the_slot(edgevad_home: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    packed = pack_bundle(tiny_bundle, tmp_path / "tiny.edgevad")
    active = activate(packed.path)
    assert active.path == edgevad_home / "slots" / "a"
    assert active.digest == packed.digest == Bundle.open(tiny_bundle).digest
    assert {path.name: path.read_bytes() for path in active.path.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_bundle.iterdir()
    }


def test_a_damaged_bundle_is_refused_before_anything_is_copied(
    edgevad_home: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ChecksumMismatchError):
        activate(copy)
    assert not edgevad_home.exists()


def test_what_a_killed_activation_left_goes_with_the_next(
    edgevad_home: Path, tiny_bundle: Path, tiny_motion_bundle: Path
) -> None:
    activate(tiny_bundle)
    for name in (".a.x1.part", ".b.x2.old", ".staged"):
        (edgevad_home / "slots" / name / "replaced").mkdir(parents=True)
    activate(tiny_motion_bundle)
    assert sorted(path.name for path in (edgevad_home / "slots").iterdir()) == ["a", "b"]


def test_two_activations_do_not_mix(edgevad_home: Path, tiny_bundle: Path) -> None:
    edgevad_home.mkdir()
    with (edgevad_home / ".activate.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another activation is under way"):
            activate(tiny_bundle)
    activate(tiny_bundle)


def test_a_home_that_cannot_be_written_is_one_error(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEVAD_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="a file is in the way"):
        activate(tiny_bundle)


def test_a_home_that_cannot_be_looked_at_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVAD_HOME", str(tmp_path / ("x" * 300)))
    with pytest.raises(BundleError, match="cannot be read"):
        active_bundle()
