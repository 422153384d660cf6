"""The steps of a run (edgevad/refit/cycle.py): each does one thing, leaves it in the run's folder, and says what.

What a step gives is plain JSON: it is written down as done with it, and goes into the history. Where a step has to give
a verdict it has `passed` and `sentence`.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevad._extras import require
from edgevad._files import sha256_of, write_json
from edgevad.bundle import ANYBODY, Bundle, Slots, active_bundle, home_directory, pack_bundle, sign_bundle
from edgevad.bundle.trust import TrustStore
from edgevad.bundle.writing import require_place
from edgevad.errors import BackendError, BundleError, MissingExtraError, OptionError, RefitError
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.known_models import find_model, forget_models, keep_model, weights_of_model
from edgevad.refit.observer import RefitObserver
from edgevad.refit.pace import Pace
from edgevad.refit.place import RefitHome
from edgevad.refit.run_folder import RunFolder
from edgevad.refit.selection import Selection

if TYPE_CHECKING:
    from edgevad.bundle.replay import Replay

__all__ = [
    "Context",
    "activate",
    "ask_trust",
    "choose",
    "decide_depth",
    "export",
    "find_champion",
    "gate",
    "identity",
    "learn",
    "remember",
    "require_place_for",
    "shadow",
    "write_out",
]

_DAY_NS = 86_400 * 10**9
# Of the minutes that are left when learning begins, kept for the export and the gate.
_AFTER_LEARNING = 0.2
# Of drives, in a line of the history; run.json beside the page has all.
MOST_NAMES = 20


@dataclass
class Context:
    """What the steps of one run share.

    Attributes:
        named: the champion; None where a model stands in for it, from which one is made first.
    """

    run: RunFolder
    options: CycleOptions
    home: RefitHome
    observer: RefitObserver
    pace: Pace
    named: Bundle | None

    @cached_property
    def champion(self) -> Bundle:
        """Raises whatever the export of the model does, where that stands in for it."""
        if self.named is not None:
            return self.named
        if not (self.run.champion_bundle / "manifest.json").exists():
            self.observer.stage("the model as it is, as a bundle")
            assert self.options.model is not None
            _bundle_of(self.options.model, self, self.run.champion_bundle, precision="fp32")
        return Bundle.open(self.run.champion_bundle, trust=ANYBODY)

    @cached_property
    def selection(self) -> Selection:
        return Selection.load(self.run.selection)

    @property
    def challenger(self) -> Bundle:
        return Bundle.open(self.run.challenger, trust=ANYBODY)

    def model(self) -> Path:
        """The champion's model folder. Raises RefitError or OptionError where it cannot be found."""
        if self.named is None:
            assert self.options.model is not None
            return self.options.model
        return find_model(self.named, self.home, self.options.model)

    def replay(self) -> Replay | None:
        """What was kept of what was learned before: the model's, where it is at hand, else the champion's."""
        try:
            model = self.model()
            from edgevad.model.folder import ModelFolder  # which needs torch, as recalibrate does not

            found = ModelFolder(model).read_replay()
        except (RefitError, OptionError, ImportError):
            found = None
        return self.champion.replay() if found is None else found


def require_place_for(options: CycleOptions) -> None:
    """What can be refused before hours of work: the place for the result, the key, a device that wants signatures.

    Raises:
        OutputError: something is at `out` already.
        OptionError: the key cannot be used, or this device runs signed bundles only and no key is given.
    """
    if options.out is not None:
        require_place(options.out, overwrite=options.overwrite)
    if options.sign_key_file is not None:
        from edgevad.bundle.signing import read_private_key

        read_private_key(options.sign_key_file)
    elif options.out is None and TrustStore.of_device().keys:
        raise OptionError(
            "this device runs only bundles that a trusted key has signed, and what it makes itself is not",
            fix="Give it a key of its own: edgevad bundle keygen device.pem, edgevad bundle trust add device.pub.pem, "
            "and --sign device.pem; or write the bundle with --out, and sign it elsewhere",
        )


def find_champion(options: CycleOptions) -> Bundle | None:
    """The bundle to bring up to date; None where `options.model` stands in for one.

    Raises:
        BundleError: none is named, none is active, and no model stands in; or it is broken.
    """
    if options.bundle is not None:
        return Bundle.open(options.bundle)
    try:
        return Bundle.open(active_bundle())
    except BundleError as error:
        if options.model is None or options.out is None:
            if Slots.of_device().current is not None:
                raise
            fix = "Name one (--bundle), activate one, or, on a host, give --model and --out"
            raise BundleError("no bundle is active", fix=fix) from error
        return None


def identity(options: CycleOptions, champion: Bundle | None) -> str:
    """What a run belongs to: the champion's digest, or that of the weights that stand in for it."""
    if champion is not None:
        return champion.digest
    assert options.model is not None
    return weights_of_model(options.model)


def decide_depth(context: Context) -> dict[str, Any]:
    """How deep to go: as asked for, or as drift calls for."""
    champion, options = context.champion, context.options
    if options.depth in ("adapt", "refit"):
        require_for_learning(context, options.depth)  # before hours of choosing
    who = {"champion": champion.digest, "champion_name": champion.manifest.name, "champion_path": str(champion.path)}
    if options.depth != "auto":
        return {"depth": options.depth, "sentence": "as asked for", **who}
    from edgevad.refit.drift import drift_of_drives

    context.observer.stage("looking for drift")
    report = drift_of_drives(
        Path(drive_folders(options)[0]), champion, cameras=options.cameras, cache=context.home.drift
    )
    depth, sentence = report.advice.what, report.advice.sentence
    if depth == "clean the lens":
        return {"depth": "none", "sentence": f"clean the lens: {sentence}", "drift": report.advice.to_json(), **who}
    if depth in ("adapt", "refit"):
        try:
            require_for_learning(context, depth)
        except (RefitError, MissingExtraError) as error:
            sentence = f"{sentence}; drift calls for {depth}, which cannot be done here ({error.what})"
            depth = "recalibrate"
    return {"depth": depth, "sentence": sentence, "drift": report.advice.to_json(), **who}


def require_for_learning(context: Context, depth: str) -> None:
    """What `adapt` and `refit` cannot do without.

    Raises:
        MissingExtraError: torch is not installed.
        RefitError: there is no model to train on from, or it kept nothing of what it learned before.
        OptionError: the model that is named is another bundle's.
    """
    for package in ("torch", "safetensors", "onnxscript"):
        require(package, extra="train", needed_for=f"edgevad {depth}")
    parent = context.model()
    if context.replay() is None:
        raise RefitError(
            "nothing was kept of what the model learned before, so it would forget that",
            where=parent,
            fix="Train the model again with this version of edgevad, or use edgevad recalibrate",
        )


def drive_folders(options: CycleOptions) -> tuple[str, ...]:
    """The drives that are named, or this device's log."""
    return options.drives or (str(home_directory() / "drives"),)


def event_store(options: CycleOptions) -> Path | None:
    """Where people's marks are: the store that is named, or, for the device's own log, its own, if there is one."""
    from edgevad.events.database import DATABASE_NAME

    own = home_directory() / "events"
    if options.events is not None or options.drives or not (own / DATABASE_NAME).exists():
        return options.events
    return own


def choose(context: Context) -> dict[str, Any]:
    """What to learn from."""
    from edgevad.refit.blurring import open_blur
    from edgevad.refit.choosing import select

    options, champion = context.options, context.champion
    since = None if options.since_days is None else time.time_ns() - round(options.since_days * _DAY_NS)
    taking = context.run.path / "taking"
    shutil.rmtree(taking, ignore_errors=True)
    selection = select(
        drive_folders(options),
        champion.manifest.input,
        taking,
        bundle=champion,
        budget_frames=options.budget_frames,
        since_ns=since,
        cameras=options.cameras or None,
        blur=None if options.blur is None else open_blur(options.blur),
        events=event_store(options),
        observer=context.observer,
    )
    selection.save(context.run.selection)
    shutil.rmtree(taking, ignore_errors=True)
    for note in selection.notes:
        context.observer.note(note)
    return {
        "frames": len(selection),
        "learnable": int(selection.learnable.sum()),
        "held_out": int(selection.held_out.sum()),
        "in_events": int(selection.in_event.sum()),
        "drives": [drive.to_json() for drive in selection.drives],
        "notes": list(selection.notes),
    }


def ask_trust(context: Context) -> dict[str, Any]:
    """Whether what was chosen may be learnt from at all."""
    from edgevad.refit.trust import contamination
    from edgevad.runtime.backends.opening import open_backend

    context.observer.stage("asking whether this may be trusted")
    champion, name = context.champion, stand_in(context.champion)
    with ExitStack() as stack:
        backend = None if name is None else open_backend(champion, name)
        if backend is not None:
            stack.callback(backend.close)
        found = contamination(context.selection, champion, backend=backend, observer=context.observer)
    sentence = "the frames may be trusted" if found.trusted else "; ".join(found.reasons)
    return {**found.to_json(), "passed": found.trusted, "sentence": sentence}


def learn(context: Context) -> dict[str, Any]:
    """The new calibration and bank, or new weights."""
    run, selection, observer = context.run, context.selection, context.observer
    if run.depth == "recalibrate":
        from edgevad.refit.recalibrate import recalibrate

        name = stand_in(context.champion)
        recalibrate(context.champion, selection, run.challenger, backend=name, overwrite=True, observer=observer)
        return {}
    from edgevad.refit.finetune import FineTuneOptions, adapt, refit

    parent, replay = context.model(), context.replay()
    work = adapt if run.depth == "adapt" else refit
    left_s = context.pace.left_s
    minutes = None if left_s is None else max(left_s - _AFTER_LEARNING * left_s, 1.0) / 60
    tuning = FineTuneOptions(budget_minutes=minutes)
    found = work(parent, selection, replay, run.model, options=tuning, observer=observer, pause=context.pace.pause)
    made = ("weights.safetensors", "bank.npy", "calibration.json", "scores.npz", "replay.npz", "sample.npz")
    return {
        "parent_weights": weights_of_model(parent),
        "files": {name: sha256_of(run.model / name) for name in made if (run.model / name).exists()},
        "spent_s": round(found.spent_s, 1),
        "stopped_because": found.provenance.get("stopped_because"),
    }


def export(context: Context) -> dict[str, Any]:
    """The bundle that came of it, for the champion's target, signed where that is asked for."""
    run, options = context.run, context.options
    if run.depth != "recalibrate":
        precision = "fp32" if context.champion.manifest.precision == "fp32" else "auto"
        _bundle_of(run.model, context, run.challenger, precision=precision)
    key_id = None
    if options.sign_key_file is not None:
        key_id = sign_bundle(run.challenger, options.sign_key_file).key_id
    challenger = context.challenger
    return {"digest": challenger.digest, "precision": challenger.manifest.precision, "signed_by": key_id}


def _bundle_of(model: Path, context: Context, out: Path, *, precision: str) -> Bundle:
    """Export a model folder for the champion's target."""
    for package in ("torch", "onnxscript", "safetensors", "matplotlib", "sklearn"):
        require(package, extra="train", needed_for="edgevad refit")
    from edgevad.export import bundle_for_target
    from edgevad.export.options import ExportObserver, ExportOptions
    from edgevad.targets import load_target

    class Passing(ExportObserver):
        stage, advance = context.observer.stage, context.observer.advance

    if context.named is None:
        target, backend = load_target(context.options.target), None
    else:
        manifest = context.named.manifest
        target, backend = manifest.device(), manifest.backend if manifest.backend != "tensorrt" else None
    frames = None if precision == "fp32" else context.selection.cache
    options = ExportOptions(precision=precision, frames=frames, backend=backend, replay=True)
    return bundle_for_target(model, target, out, options=options, overwrite=True, observer=Passing())


def gate(context: Context) -> dict[str, Any]:
    """Whether the challenger is at least as good as the champion."""
    from edgevad.refit import history
    from edgevad.refit.gate import judge

    selection = context.selection
    # What people confirmed is never learnt from: its weight is 0.
    confirmed = selection.in_event & (selection.weight == 0)
    verdict = judge(
        context.champion,
        context.challenger,
        selection,
        context.replay(),
        observer=context.observer,
        confirmed=confirmed if confirmed.any() else None,
        backend=stand_in(context.champion),
    )
    # At once: the pictures of the page are not kept anywhere else.
    outcome = "passed" if verdict.passed else "refused"
    depth = context.run.depth or ""
    history.remember(context.home, context.run.id, outcome=outcome, sentence=verdict.why, depth=depth, verdict=verdict)
    return {**verdict.to_json(), "sentence": verdict.why}


def stand_in(bundle: Bundle) -> str | None:
    """The engine that stands in for the bundle's where this machine does not have it; None where it has."""
    missing = bundle.manifest.backend == "tensorrt" and importlib.util.find_spec("tensorrt") is None
    return "onnxruntime" if missing else None


def shadow(context: Context) -> dict[str, Any]:
    """Whether it does as well on live frames, beside the champion."""
    from edgevad.refit.shadow import run_shadow

    return run_shadow(
        context.challenger,
        context.champion.digest,
        context.options.shadow_frames,
        home=context.home,
        kept=context.run.path / "shadow.json",
        observer=context.observer,
        longest_wait_s=3600.0 * context.options.longest_wait_h,
    ).to_json()


def write_out(context: Context) -> Path:
    """Put the challenger where it was asked for."""
    assert context.options.out is not None
    pack_bundle(context.run.challenger, context.options.out, overwrite=context.options.overwrite)
    return context.options.out


def activate(context: Context) -> dict[str, Any]:
    """Swap: from now on the device uses it, on trial; or say why this machine does not take it."""
    from edgevad.bundle.slots import Slots

    run = context.run
    slots, challenger = Slots.of_device(), context.challenger
    current = slots.current
    if current is not None and current.digest == challenger.digest:  # killed after the swap, before that was put down
        return {"passed": True, "path": str(current.path)}
    if run.depth != "recalibrate":
        keep_model(run.model, context.home)  # before the swap: the next run needs it
    context.observer.stage("activating")
    try:
        active = slots.activate(run.challenger, trial=True, why=f"{run.depth} {run.id}")
    except (BundleError, BackendError) as error:  # its self-test, or it was here before, and did harm
        return {"passed": False, "sentence": f"this machine does not take it: {error}"}
    in_slots = [Bundle.open(slot.path, trust=ANYBODY) for slot in (slots.current, slots.other) if slot is not None]
    forget_models(context.home, in_slots)
    return {"passed": True, "path": str(active.path)}


def remember(run: RunFolder, home: RefitHome, outcome: str, sentence: str) -> Path | None:
    """Put the run down in the history, whatever it came to, with all its steps; where its page lies, if it has one.

    Raises:
        OutputError: the history cannot be written.
    """
    from edgevad.refit import history
    from edgevad.refit.verdict import Verdict

    gated = run.steps.get("gate")
    page = history.remember(
        home,
        run.id,
        outcome=outcome,
        sentence=sentence,
        depth=run.depth or "",
        verdict=None if gated is None else Verdict.from_json(gated),
        details={
            "champion": run.steps["depth"]["champion"],
            "steps": {name: {"took_s": done["took_s"], "peak_mb": done["peak_mb"]} for name, done in run.steps.items()},
            "drives": [drive["name"] for drive in run.steps.get("choose", {}).get("drives", [])][:MOST_NAMES],
        },
    )
    if page is not None:  # and goes with it
        write_json(page.with_name("run.json"), {"id": run.id, "outcome": outcome, "steps": run.steps})
    return page
