"""Killed before each change of the disk: one valid bundle is in use, and the same command ends the work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import edit_manifest

from edgevad.bundle import Bundle, Slots
from edgevad.bundle.slot_state import Trial
from edgevad.errors import BundleError

_CHANGES = ("replace", "rename", "symlink", "unlink", "mkdir", "rmdir", "fsync")


def killed_at(step: int, call: Callable[[], object]) -> bool:
    """Run `call` in a process that ends before its n-th change of the disk; whether it was ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = step

    def counting(inner: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            return inner(*arguments, **more)

        return counted

    for name in _CHANGES:
        setattr(os, name, counting(getattr(os, name)))
    try:
        call()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.fixture
def bundles(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three bundles; that they prove themselves is not what is tested."""
    monkeypatch.setattr("edgevad.runtime.selftest.self_test", lambda bundle, *, on_build=None: 0.0)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a killed process takes nothing from the disk's cache
    found = {}
    for name in ("a", "b", "c"):
        found[name] = Path(shutil.copytree(tiny_bundle, tmp_path / name))
        edit_manifest(found[name], name=name)
    return found


def name_in_use(slots: Slots) -> str | None:
    """What is in use, after it was found to be whole."""
    current = slots.current
    if current is None:
        return None
    assert Bundle.open(current.path).digest == current.digest
    return current.name


def each_step(home: Path, call: Callable[[], object], check: Callable[[Slots], None]) -> int:
    """Kill `call` at every one of its steps, each time from the same beginning; how many there are."""
    before = home.with_name("before")
    if home.exists():
        shutil.copytree(home, before, symlinks=True)
    for step in range(200):
        shutil.rmtree(home, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, home, symlinks=True)
        was_killed = killed_at(step, call)
        check(Slots(home))
        if not was_killed:
            return step
    raise AssertionError("it never ends")


def test_the_first_activation(edgevad_home: Path, bundles: dict[str, Path]) -> None:
    def check(slots: Slots) -> None:
        assert name_in_use(slots) in (None, "a")
        slots.activate(bundles["a"])
        assert name_in_use(slots) == "a"
        assert sorted(path.name for path in (edgevad_home / "slots").iterdir()) == ["a"]

    assert each_step(edgevad_home, lambda: Slots.of_device().activate(bundles["a"]), check) > 10


def test_an_activation(edgevad_home: Path, bundles: dict[str, Path]) -> None:
    Slots.of_device().activate(bundles["a"])
    Slots.of_device().activate(bundles["b"], trial=False)

    def check(slots: Slots) -> None:
        name = name_in_use(slots)
        assert name in ("b", "c")
        assert slots.current is not None
        assert slots.current.state == ("trial" if name == "c" else "healthy")
        slots.activate(bundles["c"])
        assert name_in_use(slots) == "c"
        assert slots.current.state == ("trial" if name == "c" else "healthy") or slots.current.trial == Trial()
        assert slots.other is not None
        assert (slots.other.name, slots.other.state) == ("b", "healthy")
        assert sorted(path.name for path in (edgevad_home / "slots").iterdir()) == ["a", "b"]

    assert each_step(edgevad_home, lambda: Slots.of_device().activate(bundles["c"]), check) > 10


def test_an_activation_while_another_bundle_is_on_trial(edgevad_home: Path, bundles: dict[str, Path]) -> None:
    Slots.of_device().activate(bundles["a"])
    Slots.of_device().activate(bundles["b"])

    def check(slots: Slots) -> None:
        # The one that proved itself comes in between, and stays the way back.
        name = name_in_use(slots)
        assert name in ("a", "b", "c")
        slots.activate(bundles["c"])
        assert name_in_use(slots) == "c"
        assert slots.current is not None
        assert slots.current.state == "trial"
        assert slots.other is not None
        assert (slots.other.name, slots.other.state) == ("a", "healthy")

    assert each_step(edgevad_home, lambda: Slots.of_device().activate(bundles["c"]), check) > 10


def test_a_rollback(edgevad_home: Path, bundles: dict[str, Path]) -> None:
    Slots.of_device().activate(bundles["a"])
    Slots.of_device().activate(bundles["b"])

    def check(slots: Slots) -> None:
        assert name_in_use(slots) in ("a", "b")
        is_blocked = bool(slots.blocked())
        started = slots.started()
        assert started is not None
        # Once it is put down that it failed, it is not started again.
        assert started.name == ("a" if is_blocked else "b")
        if not is_blocked:
            slots.rollback("it failed")
        assert name_in_use(slots) == "a"
        assert [one.name for one in slots.blocked()] == ["b"]
        with pytest.raises(BundleError):
            slots.rollback("it failed")

    assert each_step(edgevad_home, lambda: Slots.of_device().rollback("it failed"), check) > 3
