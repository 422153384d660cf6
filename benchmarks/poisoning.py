"""Does a poisoned log get past the gate, and does an honest challenger? Labels are read only to make the logs.

    scripts/bench poisoning [--work FOLDER] [--only WORD] [--rounds 9] [--json]

For each of three worlds (two real recordings of EDGEVAD_DATA, one rendered) a champion is trained on normal frames.
Then each log of `_poison_logs.CASES` is learnt from by the depth that stands there, whatever is thought of the log, and
the challenger is put before the gate. What `edgevad.refit.trust` says of the log, which a real run asks first, is shown
beside it. With --work finished cases and models are kept there, and another run goes on after them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._common import ROOT, Row, add_json_option, guarded, report
from benchmarks._poison_logs import CASES, SIZE_PX, Case, Log, World, log_of, world_of
from edgevad.bundle import Bundle
from edgevad.calibration.judging import judge as score
from edgevad.errors import RefitError
from edgevad.model.cache import FrameCache
from edgevad.refit.gate import judge
from edgevad.refit.selection import IN_EVENT_WEIGHT, ChosenDrive, Selection
from edgevad.runtime.backends.opening import open_backend

STEP_NS = 100_000_000
PRESET = "nano"


def main() -> int:
    """Print a line for each case and the two counts; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="folder for models and finished cases")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of a champion's training, at most")
    add_json_option(parser)
    options = parser.parse_args()
    root = Path(os.environ.get("EDGEVAD_DATA", ROOT.parent / "shared" / "data"))
    work = Path(tempfile.mkdtemp(prefix="edgevad-poisoning-")) if options.work is None else options.work
    work.mkdir(parents=True, exist_ok=True)
    found = {}
    try:
        for case in CASES:
            if options.only in case.name and (case.world == "rendered" or (root / "donkey_track_1124").is_dir()):
                found[case] = _run(case, root, work, options.rounds)
                if not options.json:
                    print(_line(case, found[case]), flush=True)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    poisoned = [result["refused"] for case, result in found.items() if case.shows is not None]
    honest = [not result["refused"] for case, result in found.items() if case.shows is None]
    rows = [
        Row("poisoned logs that get through", [poisoned.count(False)], bar="poisoned logs that get through"),
        Row("honest challengers refused", [honest.count(False)], bar="honest challengers refused"),
    ]
    facts = {"cases": {case.name: result for case, result in found.items()}}
    return report("poisoning", rows, as_json=options.json, facts=facts if options.json else None)


def _run(case: Case, root: Path, work: Path, rounds: int) -> dict[str, Any]:
    folder = work / case.name.replace(", ", "-").replace(" ", "_")
    kept = folder / "result.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    world = world_of(case.world, root, work)
    champion, model = _champion(world, work / case.world, rounds)
    selection, log = _selection(case, world, champion)
    began_s = time.perf_counter()
    learning = ""
    try:
        challenger = _challenger(case.depth, champion, model, selection, folder)
    except RefitError as error:
        # Nothing came of it, which is a refusal, too; what the gate says of such a log is asked all the same.
        challenger, learning = champion, f"{error}"
    learnt_s = time.perf_counter() - began_s
    verdict = judge(champion, challenger, selection, champion.replay())
    result = {
        "refused": bool(learning) or not verdict.passed,
        "why": verdict.why if not learning else f"Nothing could be learnt: {learning}. The gate: {verdict.why}",
        "failed": ["learn"] * bool(learning) + [check.name for check in verdict.failed],
        "checks": [check.to_json() for check in verdict.checks],
        "trust": _trust(selection, champion),
        "anomalous": float(np.mean(log.anomalous)),
        "learnt_s": round(learnt_s, 1),
        "judged_s": round(verdict.seconds, 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(result, indent=2) + "\n")
    return result


def _trust(selection: Selection, champion: Bundle) -> list[str]:
    """Why a real run would have learnt nothing of it; empty where it would have."""
    from edgevad.refit.trust import contamination

    return list(contamination(selection, champion).reasons)


def _champion(world: World, folder: Path, rounds: int) -> tuple[Bundle, Path]:
    """Trained on the world's old stretches, exported in float32."""
    from edgevad.export import bundle_for_target
    from edgevad.export.options import ExportOptions
    from edgevad.model.config import preset
    from edgevad.model.folder import Recipe
    from edgevad.model.trainer import TrainConfig
    from edgevad.model.training import Training
    from edgevad.targets import load_target

    model, out = folder / "model", folder / "champion"
    if not out.exists():
        sources = []
        for number, rows in enumerate(rows for rows in world.old if len(rows) >= 40):
            sources.append(str(_write(folder / "old" / f"{number:03d}.avi", world.images[rows])))
        recipe = Recipe(tuple(sources), preset(PRESET, motion="none"), TrainConfig(max_rounds=rounds), name=folder.name)
        shutil.rmtree(model, ignore_errors=True)
        Training.start(recipe, model).run()
        bundle_for_target(model, load_target("cpu"), out, options=ExportOptions(precision="fp32"), overwrite=True)
    return Bundle.open(out), model


def _write(path: Path, images: np.ndarray) -> Path:
    """Lossless, at 10 Hz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10.0, (SIZE_PX, SIZE_PX))
    for image in images:
        writer.write(np.ascontiguousarray(image))
    writer.release()
    return path


def _selection(case: Case, world: World, champion: Bundle) -> tuple[Selection, Log]:
    """The log as two drives; frames at which the champion raises an alarm are in an event, as a drive log has it."""
    log, spec = log_of(case, world), champion.manifest.input
    size = (spec.width_px, spec.height_px)
    images = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in log.images])
    count = len(images)
    times = (np.arange(count) + 100 * log.stretch.astype(np.int64)) * STEP_NS
    cache = FrameCache(images.astype(np.uint8), None, times, log.stretch, 0)
    engine = open_backend(champion)
    found = score(engine, cache, np.arange(count), champion.manifest.calibration, heatmaps=False)
    engine.close()
    in_event = found.anomaly >= champion.manifest.calibration.threshold
    drive = (np.arange(count) >= count // 2).astype(np.int32)
    drives = tuple(
        ChosenDrive(f"{case.world}-{k}", "", ("front",), {}, 0, 0, int(np.sum(drive == k)), float("nan"), "made up")
        for k in range(2)
    )
    selection = Selection(
        cache,
        np.where(in_event, IN_EVENT_WEIGHT, 1.0).astype(np.float32),
        in_event,
        found.anomaly.astype(np.float32),
        drive,
        log.held_out,
        drives,
    )
    return selection, log


def _challenger(depth: str, champion: Bundle, model: Path, selection: Selection, folder: Path) -> Bundle:
    """What this depth makes of the log."""
    out = folder / "challenger"
    if out.exists():
        return Bundle.open(out)
    if depth == "recalibrate":
        from edgevad.refit.recalibrate import recalibrate

        return recalibrate(champion, selection, out, overwrite=True)
    from edgevad.export import bundle_for_target
    from edgevad.export.options import ExportOptions
    from edgevad.model.folder import ModelFolder
    from edgevad.refit import finetune
    from edgevad.targets import load_target

    learn = {"adapt": finetune.adapt, "refit": finetune.refit}[depth]
    shutil.rmtree(folder / "model", ignore_errors=True)
    learn(model, selection, ModelFolder(model).read_replay(), folder / "model")
    options = ExportOptions(precision="fp32")
    return bundle_for_target(folder / "model", load_target("cpu"), out, options=options, overwrite=True)


def _line(case: Case, result: dict[str, Any]) -> str:
    right = result["refused"] == (case.shows is not None)
    verdict = "refused" if result["refused"] else "passed"
    by_trust = f" [trust: {' '.join(result['trust'])}]" if result["trust"] else ""
    return f"{'' if right else '!! '}{case.name}: {verdict}: {result['why']}{by_trust}"


if __name__ == "__main__":
    sys.exit(guarded(main))
