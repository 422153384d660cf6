from __future__ import annotations

import fcntl
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny import edit_manifest, put_file

from edgevad.bundle import Bundle, Slots, activate, active_bundle, pack_bundle
from edgevad.bundle.blocked import blocked_bundles, unblock
from edgevad.errors import (
    BackendError,
    BlockedBundleError,
    BundleError,
    ChecksumMismatchError,
    OptionError,
    OutputError,
)


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


@pytest.fixture
def slots(edgevad_home: Path) -> Slots:
    return Slots.of_device()


def named(bundle: Path, to: Path) -> Path:
    """A copy of `bundle` that is called like its folder."""
    copy = Path(shutil.copytree(bundle, to))
    edit_manifest(copy, name=to.name)
    return copy


def in_slots(slots: Slots) -> tuple[tuple[str, str], tuple[str, str] | None]:
    """Name and state of what is in use, and of the other one."""
    current, other = slots.current, slots.other
    assert current is not None
    return (current.name, current.state), None if other is None else (other.name, other.state)


def test_a_new_bundle_is_on_trial_and_the_first_one_is_not(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    assert in_slots(slots) == (("one", "healthy"), None)
    slots.activate(named(tiny_bundle, tmp_path / "two"), why="made last night")
    assert in_slots(slots) == (("two", "trial"), ("one", "healthy"))
    assert slots.current is not None
    assert slots.current.why == "made last night"
    assert slots.settle(slots.current.digest)
    assert not slots.settle(slots.current.digest)
    assert in_slots(slots) == (("two", "healthy"), ("one", "healthy"))


def test_the_way_back_stays_what_has_proved_itself(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        slots.activate(named(tiny_bundle, tmp_path / name))
    assert in_slots(slots) == (("three", "trial"), ("one", "healthy"))
    slots.activate(named(tiny_bundle, tmp_path / "four"), trial=False)
    assert in_slots(slots) == (("four", "healthy"), ("one", "healthy"))
    slots.activate(named(tiny_bundle, tmp_path / "five"))
    assert in_slots(slots) == (("five", "trial"), ("four", "healthy"))


def test_a_rollback_blocks_for_good_until_somebody_says_otherwise(
    slots: Slots, tiny_bundle: Path, tmp_path: Path
) -> None:
    slots.activate(named(tiny_bundle, tmp_path / "good"))
    bad = named(tiny_bundle, tmp_path / "bad")
    slots.activate(bad)
    assert slots.rollback("it gives no numbers").name == "good"
    assert in_slots(slots) == (("good", "healthy"), ("bad", "failed"))
    refusal = "this bundle was tried on this device and failed: it gives no numbers"
    for call in (lambda: slots.activate(bad), lambda: slots.rollback("back again")):
        with pytest.raises(BlockedBundleError, match=refusal):
            call()
    # Whatever happens to the file that says why.
    [file] = (slots.home / "blocked").iterdir()
    file.write_text("not JSON")
    with pytest.raises(BlockedBundleError, match="the reason cannot be read any more"):
        slots.activate(bad)
    slots.activate(bad, unblock=True)
    assert in_slots(slots) == (("bad", "trial"), ("good", "healthy"))
    assert slots.blocked() == []


def test_a_rollback_without_a_block_may_be_taken_back(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    slots.activate(named(tiny_bundle, tmp_path / "two"), trial=False)
    assert slots.rollback("to compare", block=False).name == "one"
    assert slots.rollback("to compare", block=False).name == "two"
    assert in_slots(slots) == (("two", "healthy"), ("one", "healthy"))


def test_a_rollback_of_a_bundle_that_is_not_in_use_any_more_only_blocks_it(
    slots: Slots, tiny_bundle: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        slots.activate(named(tiny_bundle, tmp_path / name))
    left = slots.current
    assert left is not None
    slots.activate(named(tiny_bundle, tmp_path / "three"))
    assert slots.rollback("it was slow", leaving=left.digest).name == "three"
    assert in_slots(slots) == (("three", "trial"), ("one", "healthy"))
    assert [one.digest for one in blocked_bundles()] == [left.digest]


def test_there_is_no_way_back_to_nothing_or_to_a_broken_bundle(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle is active"):
        slots.rollback("")
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    with pytest.raises(BundleError, match="there is no other bundle to go back to"):
        slots.rollback("")
    slots.activate(named(tiny_bundle, tmp_path / "two"))
    assert slots.other is not None
    (slots.other.path / "model.onnx").write_bytes(b"bad sectors")
    with pytest.raises(ChecksumMismatchError):
        slots.rollback("")
    assert in_slots(slots) == (("two", "trial"), ("one", "healthy"))
    assert slots.blocked() == []


def test_the_active_bundle_is_not_copied_again(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    one, two = named(tiny_bundle, tmp_path / "one"), named(tiny_bundle, tmp_path / "two")
    slots.activate(one)
    slots.activate(two)
    mark = slots.mark()
    slots.activate(two)
    assert slots.mark() == mark
    assert in_slots(slots) == (("two", "trial"), ("one", "healthy"))
    slots.activate(two, trial=False)
    assert in_slots(slots) == (("two", "healthy"), ("one", "healthy"))
    slots.activate(one)
    assert slots.mark() != mark
    assert in_slots(slots) == (("one", "healthy"), ("two", "healthy"))


def test_a_start_counts_as_a_crash_when_the_next_one_comes_in_the_same_boot(
    slots: Slots, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        slots.activate(named(tiny_bundle, tmp_path / name))

    def start(boot: str) -> tuple[int, int]:
        monkeypatch.setattr("edgevad.bundle.slots.boot_id", lambda: boot)
        info = slots.started()
        assert info is not None
        return info.trial.crashes, info.trial.power_cuts

    assert start("monday") == (0, 0)
    assert start("monday") == (1, 0)
    assert slots.current is not None
    slots.ended(slots.current.digest)
    assert start("monday") == (1, 0)
    # The driver turned the key: no crash; but one who does so within a minute, again and again, may be a bundle.
    assert start("tuesday") == (1, 1)
    assert start("wednesday") == (1, 2)
    assert slots.update(slots.current.digest, lambda trial: replace(trial, running_s=trial.running_s + 90.0))
    assert start("thursday") == (1, 0)
    # What has passed its trial is not counted.
    slots.settle(slots.current.digest)
    assert start("thursday") == (0, 0)


def test_records_that_cannot_be_read_keep_nobody_from_starting(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        slots.activate(named(tiny_bundle, tmp_path / name))
    for text in ("", "[]", "{}", '{"version": 1, "bundles": {"x": {"name": 1}}}', '{"version": 9, "bundles": {}}'):
        (slots.home / "slots.json").write_text(text)
        info = slots.started()
        assert info is not None
        assert (info.name, info.state) == ("two", "healthy")


def test_what_is_no_digest_is_not_looked_for_on_the_disk(edgevad_home: Path) -> None:
    with pytest.raises(OptionError, match="no digest of a bundle"):
        unblock("../trust")


@pytest.mark.parametrize("is_there", [False, True])
def test_there_is_a_way_back_from_a_bundle_whose_manifest_is_broken(
    slots: Slots, tiny_bundle: Path, tmp_path: Path, is_there: bool
) -> None:
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    slots.activate(named(tiny_bundle, tmp_path / "two"))
    manifest = active_bundle() / "manifest.json"
    manifest.unlink()
    if is_there:
        manifest.mkdir()
    assert slots.rollback("the disk lost it").name == "one"
    assert in_slots(slots)[0] == ("one", "healthy")
    assert not slots.blocked()


def test_a_broken_way_back_is_never_in_use(
    slots: Slots, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the bundle in use is on trial, a third one has the other slot made current for a moment."""
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    slots.activate(named(tiny_bundle, tmp_path / "two"))
    assert slots.other is not None
    (slots.other.path / "model.onnx").write_bytes(b"")
    in_use: list[str] = []
    inner = Slots._point

    def point(self: Slots, slot: Path) -> None:
        inner(self, slot)
        in_use.append(Bundle.open(active_bundle()).manifest.name)  # which is whole

    monkeypatch.setattr(Slots, "_point", point)
    slots.activate(named(tiny_bundle, tmp_path / "three"))
    assert in_use == ["three"]
    assert in_slots(slots) == (("three", "healthy"), ("two", "trial"))


def test_an_activation_does_not_sweep_away_the_link_of_a_rollback(
    slots: Slots, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    slots.activate(named(tiny_bundle, tmp_path / "two"))
    third = named(tiny_bundle, tmp_path / "three")
    begun = threading.Event()
    other: list[threading.Thread] = []
    inner = Path.symlink_to

    def symlink_to(self: Path, target: Path, target_is_directory: bool = False) -> None:
        inner(self, target, target_is_directory)
        if not begun.is_set():
            begun.set()
            other.append(threading.Thread(target=slots.activate, args=(third,)))
            other[0].start()
            time.sleep(0.2)

    monkeypatch.setattr(Path, "symlink_to", symlink_to)
    assert slots.rollback("no good").name == "one"
    other[0].join(10)
    assert in_slots(slots)[0] == ("three", "trial")


def test_a_disk_that_may_not_be_written_is_not_asked_where_nothing_is_on_trial(
    slots: Slots, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.activate(tiny_bundle)
    monkeypatch.setattr("edgevad.bundle.slots._locked", None)
    started = slots.started()
    assert started is not None
    slots.ended(started.digest)


def test_there_is_no_way_back_to_a_bundle_without_a_manifest(slots: Slots, tiny_bundle: Path, tmp_path: Path) -> None:
    slots.activate(named(tiny_bundle, tmp_path / "one"))
    slots.activate(named(tiny_bundle, tmp_path / "two"))
    assert slots.other is not None
    (slots.other.path / "manifest.json").unlink()
    with pytest.raises(BundleError, match="no manifest there"):
        slots.rollback("no good")
    assert in_slots(slots)[0] == ("two", "trial")
