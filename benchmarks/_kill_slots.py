"""A subject of benchmarks.kills: bundles activated, on trial, gone back from, by one process after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._kills import Verdict, acknowledge
from edgevad.bundle import Bundle, Slots
from edgevad.bundle.blocked import unblock
from edgevad.runtime.scorer import Scorer
from edgevad.spec import InputSpec
from tests.tiny import edit_manifest, write_tiny_bundle

__all__ = ["check", "run"]

NAMES = ("first", "second", "third")


def run(directory: Path) -> None:
    """Activate, settle and roll back until killed."""
    os.environ["EDGEVAD_HOME"] = str(directory / "home")
    bundles = _bundles(directory)
    slots = Slots.of_device()
    step = 0
    while True:
        name = NAMES[step % len(NAMES)]
        for one in slots.blocked():
            unblock(one.digest)  # or soon there is none left
        slots.activate(bundles[name])
        current = slots.current
        assert current is not None
        acknowledge(active=name)
        slots.started()
        if step % 2:
            slots.settle(current.digest)
        elif slots.other is not None:
            slots.rollback("the benchmark says so")
            acknowledge(left=current.digest)
        step += 1


def check(directory: Path, acknowledged: Sequence[dict[str, Any]]) -> Verdict:
    """One bundle is in use, whole, and starts; what failed is not tried again."""
    os.environ["EDGEVAD_HOME"] = str(directory / "home")
    verdict, slots = Verdict(), Slots.of_device()
    was_active = any("active" in facts for facts in acknowledged) or (directory / "was-active").exists()
    if was_active:
        (directory / "was-active").touch()
    started = slots.started()
    if started is None:
        if was_active:
            verdict.problems.append("no bundle is in use")
        return verdict
    with Scorer.from_bundle(Bundle.open(started.path)):
        pass  # every checksum held, and the engine gave the scores it was exported with
    if started.digest in {one.digest for one in slots.blocked()}:
        verdict.problems.append(f"{started.name} is in use, and blocked")
    if acknowledged and "left" in acknowledged[-1]:
        left = acknowledged[-1]["left"]
        # The next activation may have unblocked it by now, which is what was asked for.
        other = slots.other
        if started.digest == left and other is not None and other.state == "failed":
            verdict.problems.append("what was gone back from is in use again")
    return verdict


def _bundles(directory: Path) -> dict[str, Path]:
    found = {}
    for name in NAMES:
        path = found[name] = directory / name
        if not (directory / f"{name}.whole").exists():
            shutil.rmtree(path, ignore_errors=True)
            write_tiny_bundle(path, InputSpec(32, 32))
            edit_manifest(path, name=name)
            (directory / f"{name}.whole").touch()
    return found
