"""The first depth of adaptation: what is remembered, statistics and threshold, from recent drives.

No gradient, no torch, no other graph: seconds. The graphs stay the same to the byte, so an engine that was built for
the bundle serves the next one as well.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad import __version__
from edgevad.bundle.bundle import (
    BANK_NAME,
    REMEMBER_NAME,
    REPLAY_NAME,
    SCORES_NAME,
    SELFTEST_NAME,
    TONES_NAME,
    Bundle,
    TrainingScores,
)
from edgevad.bundle.manifest import Calibration
from edgevad.bundle.replay import BUNDLE_BYTES, BUNDLE_FRAMES, Replay
from edgevad.bundle.tones import ToneCurves
from edgevad.bundle.writing import require_place, write_bundle
from edgevad.calibration import calibrate
from edgevad.calibration.guard import GuardLimits
from edgevad.calibration.threshold import windowed_scores
from edgevad.errors import RefitError
from edgevad.model.bank import BankPlan
from edgevad.model.cache import FrameCache
from edgevad.refit.coreset import Episode, condensed, dated, episodes_of_bank, laid_out
from edgevad.refit.elsewhere import score_elsewhere, score_replay
from edgevad.refit.lineage import one_more
from edgevad.refit.observer import RefitObserver
from edgevad.refit.precision import quantised_agreement
from edgevad.refit.score_rows import joined_rows
from edgevad.refit.selection import Selection
from edgevad.refit.tone_fit import FoundTones, find_tones, levelled, relevelled
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.opening import cpu_engine, open_backend
from edgevad.runtime.remembering import Rememberer
from edgevad.runtime.selftest import SELFTEST_RTOL
from edgevad.runtime.toning import shares, with_tones

__all__ = ["LEAST_FRAMES", "recalibrate"]

Coordinates = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

# Half a minute at the rate that training samples at: quantiles of less say nothing.
LEAST_FRAMES = 300
# Of a condition that is new, a frame is remembered only where its anomaly score among its like is at most this: about
# half of them. Training forgets above 1.64; here the network knows the condition less, and tells less (docs/refit.md).
REMEMBER_UP_TO = 1.0
# Of a log with fewer frames away from events than this, the events are not about single frames.
_LEAST_CALM = 0.5


@dataclass(frozen=True)
class _Learned:
    """
    Attributes:
        bank: what is to be remembered from now on; None where the model remembers nothing.
        score: (N, P) raw scores of the recent frames, each as if it had not been remembered.
        remembered: how many of the recent frames may be remembered.
    """

    bank: npt.NDArray[np.float32] | None
    score: npt.NDArray[np.float32]
    remembered: int


def recalibrate(
    bundle: Bundle,
    selection: Selection,
    out: str | PathLike[str],
    *,
    backend: str | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    observer: RefitObserver | None = None,
) -> Bundle:
    """Write to `out` what `bundle` becomes on the frames of `selection`: another bank, other statistics and threshold.

    - The bank: a coreset of what was remembered and of the new frames (`edgevad.refit.coreset`), of the same shape.
      Frames that are not fully trusted, and those that stand out among their like, never enter it.
    - Parts' statistics and threshold: from the scores of the new frames, each as if it had not been remembered, by
      their weights, and from the frames of before that the bundle brings, scored in the same way.
    - The self-test's scores, `scores.npz` and `replay.npz` follow; graphs and everything else stay.
    - Where the quantised graph no longer tells the same as the float one on the new frames, the float one is used from
      here on, until the model is exported again.

    `backend` and `threads` as for `open_backend`: the engine that scores the new frames. `out` is a folder, or one file
    where its name ends in ".edgevad". The bundle is not signed.

    Raises:
        RefitError: too few frames to learn from, or they are not of the size that the model takes.
        BundleError: the bundle is broken.
        BackendError: the engine failed.
        OutputError: `out` is there already and `overwrite` is off, or cannot be written.
    """
    observer = observer or RefitObserver()
    require_place(out, overwrite=overwrite)
    recent = _recent(bundle, selection)
    rememberer = Rememberer.of(bundle)
    if rememberer is None and bundle.manifest.input.bank is not None:
        observer.note("This bundle cannot write what it remembers anew: export it again for that. Statistics only.")
    replay = bundle.replay()
    found = _tones(bundle, recent, replay, rememberer, observer)
    precision = _precision(bundle, recent.cache, found.tones, backend, threads, observer)
    like = bundle.manifest.calibration
    with closing(_engine(bundle, precision, found.tones, backend, threads)) as engine:
        how = None if rememberer is None else rememberer.with_tones(found.tones).coordinates
        learned = _learned(bundle.bank(), like, engine, how, recent, observer)
        before = _before(replay, learned.bank, engine, how)
    new = TrainingScores(learned.score, recent.cache.timestamp_ns, recent.cache.segment)
    if found.added and found.tones is not None and replay is not None and before is not None:
        tones = levelled(found.tones, new, before, like)
        new = relevelled(new, recent.cache.images, found.tones, tones)
        before = relevelled(before, replay.images, found.tones, tones)
        found = replace(found, tones=tones)
        learned = replace(learned, score=new.score)
    rows = joined_rows(before, new, recent.weight)
    calibration = _calibrated(rows, like)
    observer.stage("writing the bundle")
    return _written(bundle, out, recent, selection, learned, found, rows, calibration, precision)


def _tones(
    bundle: Bundle,
    recent: Selection,
    replay: Replay | None,
    rememberer: Rememberer | None,
    observer: RefitObserver,
) -> FoundTones:
    """Whether the recent frames need a tone curve that the bundle has not.

    Pictures of the same place are found by what is remembered of them; a model that is given motion is for a camera
    that stands still, where motion decides.
    """
    if rememberer is None or replay is None or bundle.manifest.input.motion is not None:
        return FoundTones(bundle.tones(), added=False, sentence="")
    observer.stage("asking whether the light has changed")
    found = find_tones(
        recent.cache.images[_trusted(recent)], replay.images, rememberer, len(bundle.manifest.calibration.parts)
    )
    if found.sentence:
        observer.note(found.sentence)
    return found


def _precision(
    bundle: Bundle,
    recent: FrameCache,
    tones: ToneCurves | None,
    backend: str | None,
    threads: int | None,
    observer: RefitObserver,
) -> str:
    """What to compute in from here on."""
    if bundle.manifest.precision == "fp32":
        return "fp32"
    observer.stage("asking whether the quantised graph still holds")
    with closing(with_tones(open_backend(bundle, backend, threads=threads), tones)) as engine:
        found = quantised_agreement(bundle, engine, recent, GuardLimits(), tones=tones, threads=threads)
    if found is None or found.passed:
        return bundle.manifest.precision
    what = bundle.manifest.precision.upper()
    observer.note(f"The {what} graph was made for other pictures, float32 goes on in its place: {found.failures[0]}.")
    return "fp32"


def _engine(
    bundle: Bundle, precision: str, tones: ToneCurves | None, backend: str | None, threads: int | None
) -> Backend:
    if precision == bundle.manifest.precision:
        return with_tones(open_backend(bundle, backend, threads=threads), tones)
    return with_tones(cpu_engine(bundle, precision, backend, threads=threads), tones)


def _recent(bundle: Bundle, selection: Selection) -> Selection:
    """What may be learnt from."""
    spec = bundle.manifest.input
    channels = 0 if spec.motion is None else spec.motion.channels
    cache = selection.cache
    found = (*cache.images.shape[1:3], 0 if cache.motion is None else cache.motion.shape[3])
    wanted = (spec.height_px, spec.width_px, channels)
    if found != wanted and not (channels == 0 and found[:2] == wanted[:2]):
        raise RefitError(
            f"frames of (height, width, motion channels) {found}", expected=f"{wanted}, as the model takes them"
        )
    recent = selection.subset(selection.learnable)
    if len(recent) < LEAST_FRAMES:
        raise RefitError(
            f"{len(recent)} frames to learn from",
            expected=f"at least {LEAST_FRAMES}",
            fix="Choose more drives, or longer ones",
        )
    if channels == 0 and recent.cache.motion is not None:
        recent = replace(recent, cache=replace(recent.cache, motion=None))
    return recent


def _trusted(recent: Selection) -> npt.NDArray[np.bool_]:
    """Which of the frames (N,) may be remembered at all.

    Those of events may not. But where most frames are in events, these tell of the condition and not of anomalies: then
    all may but what people confirmed, and what stands out among its like is left out by that alone.
    """
    calm = (recent.weight >= 1.0) & ~recent.in_event
    return calm if calm.mean() >= _LEAST_CALM else recent.weight > 0


def _learned(
    old: npt.NDArray[np.float32] | None,
    like: Calibration,
    engine: Backend,
    coordinates_of: Coordinates | None,
    recent: Selection,
    observer: RefitObserver,
) -> _Learned:
    """What the engine, which remembers `old`, makes of the recent frames; `coordinates_of` None: none is remembered."""
    cache = recent.cache
    trusted = _trusted(recent)
    observer.stage("scoring", len(cache))
    if old is None or coordinates_of is None:
        return _Learned(old, score_elsewhere(engine, cache, None, None, 1.0, observer.advance), 0)
    shape = old.shape[0], old.shape[1], old.shape[2]
    coordinates = coordinates_of(cache.images)
    seconds = cache.elapsed_s()
    plan = BankPlan.of(seconds, trusted)
    # First against each other alone: what stands out among its like is not to be remembered.
    alone, times_s = laid_out(condensed([], _episodes(plan, coordinates), shape), shape)
    score = score_elsewhere(engine, cache, alone, times_s, plan.apart_s, observer.advance)
    keep = trusted & (_anomaly(score, cache, like) <= REMEMBER_UP_TO)
    episodes = _episodes(BankPlan.of(seconds, keep), coordinates)
    if not episodes:
        raise RefitError("not one frame to remember", fix="Choose drives that are not all events")
    observer.stage("scoring what is new against all that is remembered", len(cache))
    known = dated(episodes_of_bank(old), coordinates, plan.times_s)
    bank, times_s = laid_out(condensed(known, episodes, shape), shape)
    score = score_elsewhere(engine, cache, bank, times_s, plan.apart_s, observer.advance)
    return _Learned(bank, score, int(keep.sum()))


def _before(
    replay: Replay | None, bank: npt.NDArray[np.float32] | None, engine: Backend, coordinates_of: Coordinates | None
) -> TrainingScores | None:
    """Frames of before, scored as if they had not been remembered; None where the bundle brings none.

    The scores that it brings are those of another bank, in which more stood out.
    """
    if replay is None:
        return None
    cache = replay.cache()
    coordinates = None if coordinates_of is None or bank is None else coordinates_of(cache.images)
    score = score_replay(engine, cache, bank if coordinates is not None else None, coordinates)
    return TrainingScores(score, cache.timestamp_ns, cache.segment)


def _episodes(plan: BankPlan, coordinates: npt.NDArray[np.float32]) -> list[Episode]:
    rows = [frames[frames >= 0] for frames in plan.frames]
    return [Episode(coordinates[one], plan.times_s[one]) for one in rows if len(one)]


def _calibrated(rows: TrainingScores, like: Calibration) -> Calibration:
    """Statistics and threshold of these rows, by the window, budget and margins of another calibration."""
    return calibrate(
        rows.score,
        rows.timestamp_ns,
        rows.segment,
        like.window,
        like.alarms_per_hour,
        parts=like.names,
        margins=[part.margin for part in like.parts],
    )


def _anomaly(score: npt.NDArray[np.float32], cache: FrameCache, like: Calibration) -> npt.NDArray[np.float64]:
    """Anomaly scores (N,) of frames by statistics of their own."""
    calibration = _calibrated(TrainingScores(score, cache.timestamp_ns, cache.segment), like)
    return calibration.anomaly_scores(windowed_scores(score, cache.timestamp_ns, cache.segment, like.window))


def _written(
    bundle: Bundle,
    out: str | PathLike[str],
    recent: Selection,
    selection: Selection,
    learned: _Learned,
    found: FoundTones,
    rows: TrainingScores,
    calibration: Calibration,
    precision: str,
) -> Bundle:
    manifest = bundle.manifest
    is_other = precision != manifest.precision
    renewed = {SELFTEST_NAME, SCORES_NAME, BANK_NAME, REPLAY_NAME, REMEMBER_NAME, TONES_NAME}
    renewed |= set(manifest.graphs.values())
    cache = recent.cache
    windowed = windowed_scores(learned.score, cache.timestamp_ns, cache.segment, calibration.window)
    anomaly = calibration.anomaly_scores(windowed)
    return write_bundle(
        out,
        name=manifest.name,
        target=manifest.device(),
        backend=manifest.backend,
        precision=precision,
        graphs={name: bundle.graph(name) for name in manifest.graphs if name in ("fp32", precision)},
        input=manifest.input,
        score=manifest.score,
        calibration=calibration,
        provenance=_provenance(bundle, selection, recent, learned, found),
        selftest=_selftest(bundle, learned.bank, precision, recent, found),
        selftest_rtol=SELFTEST_RTOL["fp32"] if is_other else manifest.selftest_rtol,
        scores=rows.arrays(),
        bank=learned.bank,
        remember=bundle.remember_graph(),
        replay=_replay(bundle.replay(), recent, anomaly, anomaly <= calibration.threshold),
        guard=None if is_other else manifest.guard,
        tones=found.tones,
        extra={name: bundle.read(name) for name in manifest.files if name not in renewed},
    )


def _selftest(
    bundle: Bundle, bank: npt.NDArray[np.float32] | None, precision: str, recent: Selection, found: FoundTones
) -> dict[str, npt.NDArray[Any]]:
    """The same frames, scored by the bundle's graph with its new bank, frame by frame, as export does.

    Where a condition was added, every fourth frame is surely of it: a machine that leaves its tone curve out is found
    out by the first four frames, which are all that is asked before every run.
    """
    arrays = bundle.selftest()
    frames, motion = arrays["frames"].copy(), arrays.get("motion")
    if found.added and found.tones is not None:
        others = frames[1::4] if len(frames) > 1 else frames
        own = shares(found.tones, recent.cache.images)[:, -1] * _trusted(recent)
        sure = np.flatnonzero(own == own.max())
        chosen = sure[np.linspace(0, len(sure) - 1, len(others)).round().astype(np.int64)]
        others[:] = recent.cache.images[chosen]
    # TensorRT's graphs too: what an engine must score is what the reference says, not what it says itself.
    engine = with_tones(cpu_engine(bundle, precision, bank=bank), found.tones)
    with closing(engine):
        rows = [slice(k, k + 1) for k in range(len(frames))]
        scores = [engine.score(frames[row], None if motion is None else motion[row]).score for row in rows]
    return {**arrays, "frames": frames, "score": np.concatenate(scores).astype(np.float32)}


def _replay(
    old: Replay | None, recent: Selection, anomaly: npt.NDArray[np.float64], normal: npt.NDArray[np.bool_]
) -> Replay | None:
    """Stretches of before and of now, half each where there are as many; a bundle that brings none gets none."""
    if old is None:
        return None
    keep = normal & _trusted(recent)
    most = min(BUNDLE_FRAMES, BUNDLE_BYTES // old.frame_bytes)
    # Of a log that is learnt from a second time, frames would be there twice.
    rest = old.without(recent.cache.images)
    new = Replay.of(recent.cache, anomaly, keep, frames=max(most // 2, most - _count(rest)), max_bytes=BUNDLE_BYTES)
    if new is None or rest is None:
        return old if new is None else new
    # Where what is new has less than its half, what was before takes what is left.
    before = rest.thinned(max(most // 2, most - len(new)), BUNDLE_BYTES)
    return new if before is None else before.joined(new)


def _count(replay: Replay | None) -> int:
    return 0 if replay is None else len(replay)


def _provenance(
    bundle: Bundle, selection: Selection, recent: Selection, learned: _Learned, found: FoundTones
) -> dict[str, Any]:
    """The champion's, with what was done under "refit"; what that said of the champion goes to its `lineage`."""
    before = bundle.manifest.provenance
    made = before.get("refit")
    made = made if isinstance(made, dict) else {}
    entry: dict[str, Any] = {"digest": bundle.digest, "name": bundle.manifest.name, "depth": made.get("depth", "train")}
    if made:
        entry["drives"] = [{"name": one.get("name"), "frames": one.get("frames")} for one in made.get("drives", [])]
    else:
        entry["sources"] = before.get("sources", [])
    return {
        **before,
        "refit": {
            "depth": "recalibrate",
            "parent": bundle.digest,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "edgevad": __version__,
            "frames": len(recent),
            "remembered": learned.remembered,
            "tones": found.sentence,
            "drives": [drive.to_json() for drive in selection.drives],
            "notes": list(selection.notes),
            "lineage": one_more(made.get("lineage", []), entry),
        },
    }
