"""A subject of benchmarks.kills: a refit of a small model, the gate, and the swap, over and over on one device.

Held after every kill: exactly one bundle is in use, it is whole and proves itself, and the service starts on it. Held
of every refit that came to its end, however often it was cut off: the new model is that of a refit that was never cut
off, to the bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._kills import Verdict, acknowledge

__all__ = ["LONGEST_LIFE_S", "PRELOAD", "check", "run"]

# A lap takes some twenty seconds: most lives end within one, and some of each step's do.
LONGEST_LIFE_S = 30.0
PRELOAD = ("torch", "onnxscript", "onnxruntime", "sklearn.decomposition", "edgevad.export", "edgevad.model.training")
_READY, _EXPECTED = "ready.json", "expected.json"
_CONFIG = """
[[camera]]
name = "front"
source = "{drive}"
[detection]
threshold = 1e6
[logging]
level = "error"
"""


def run(directory: Path) -> None:
    """Refit, activate another bundle, go back to the first one; until killed."""
    os.environ["EDGEVAD_HOME"] = str(directory / "home")
    if not (directory / _READY).exists():
        _prepare(directory)
    from edgevad.bundle.slots import Slots
    from edgevad.refit.cycle import run_cycle
    from edgevad.refit.place import RefitHome
    from edgevad.refit.run_folder import find_unfinished

    slots = Slots.of_device()
    acknowledge(did="started")
    while True:
        unfinished = find_unfinished(RefitHome.of_device())
        steps = list(unfinished[0].steps) if unfinished else []
        if not unfinished:
            _back_to_the_first(slots, directory)
        result = run_cycle(_options(directory))
        files = result.steps["learn"]["files"]
        acknowledge(did="refit", outcome=result.outcome, files=files, went_on=bool(unfinished), after=steps)
        slots.activate(directory / "second.edgevad", why="kills")
        acknowledge(did="activated")
        _back_to_the_first(slots, directory)


def _back_to_the_first(slots: Any, directory: Path) -> None:
    champion = json.loads((directory / _READY).read_text())["champion"]
    if slots.current.digest != champion:
        slots.activate(directory / "first.edgevad", why="kills")


def _options(directory: Path) -> Any:
    from edgevad.refit.cycle_options import CycleOptions

    return CycleOptions(
        "refit", drives=(str(directory / "dusk" / "drive.mp4"),), model=directory / "model", budget_frames=600
    )


def _prepare(directory: Path) -> None:
    """Two drives, a model of the first, bundles, and what a refit comes to that nobody cuts off."""
    from edgevad._files import write_json
    from edgevad.bundle import activate
    from edgevad.export import bundle_for_target
    from edgevad.export.options import ExportOptions
    from edgevad.model.config import ModelConfig
    from edgevad.model.folder import Recipe
    from edgevad.model.trainer import TrainConfig
    from edgevad.model.training import Training
    from edgevad.refit.cycle import run_cycle
    from edgevad.synth import SynthConfig, write_drive
    from edgevad.targets import load_target

    day = write_drive(SynthConfig(seconds=100, width_px=64, height_px=48, seed=3), directory / "day")
    dusk = write_drive(SynthConfig(seconds=60, width_px=64, height_px=48, seed=4), directory / "dusk")
    if dusk.video != directory / "dusk" / "drive.mp4":
        dusk.video.replace(directory / "dusk" / "drive.mp4")
    config = ModelConfig(motion="none", size_px=32, width=8, depth=2, latent=12, decoder="conv", cell_px=8)
    train = TrainConfig(max_rounds=12, round_steps=15, batch_size=32)
    Training.start(Recipe((str(day.video),), config, train, name="first"), directory / "model", overwrite=True).run()
    for name in ("first", "second"):
        out = directory / f"{name}.edgevad"
        options = ExportOptions(precision="fp32")
        bundle_for_target(directory / "model", load_target("cpu"), out, options=options, overwrite=True)
    (directory / "car.toml").write_text(_CONFIG.format(drive=day.video))
    champion = activate(directory / "first.edgevad")
    expected = run_cycle(_options(directory), fresh=True)
    write_json(directory / _EXPECTED, {"files": expected.steps["learn"]["files"], "outcome": expected.outcome})
    write_json(directory / _READY, {"champion": champion.digest})


def check(directory: Path, acknowledged: Sequence[dict[str, Any]]) -> Verdict:
    """Look at the slots as the next start would, start the service, and hold what came to its end against the uncut."""
    os.environ["EDGEVAD_HOME"] = str(directory / "home")
    from edgevad.bundle import Bundle
    from edgevad.bundle.slots import Slots
    from edgevad.errors import EdgevadError
    from edgevad.runtime.selftest import self_test
    from edgevad.service.running import run_service

    verdict = Verdict()
    current = Slots.of_device().current
    if current is None:
        verdict.problems.append("no bundle is in use")
        return verdict
    try:
        bundle = Bundle.open(current.path)
        bundle.check()
        self_test(bundle)
        summary = run_service(directory / "car.toml", max_frames=20)
        if summary.frames != 20 or summary.run.bundle_digest != current.digest:
            verdict.problems.append(f"the service scored {summary.frames} frames with {summary.run.bundle_digest[:12]}")
    except EdgevadError as error:
        verdict.problems.append(f"the bundle in use cannot be used: {error}")
    expected = json.loads((directory / _EXPECTED).read_text())
    for fact in acknowledged:
        if fact["did"] != "refit":
            continue
        verdict.laps += 1
        verdict.resumed += bool(fact["went_on"])
        if fact["files"] != expected["files"]:
            differ = sorted(name for name in expected["files"] if fact["files"].get(name) != expected["files"][name])
            verdict.problems.append(f"a refit that was cut off after {fact['after']} ends with another {differ}")
    return verdict
