"""The gate: a challenger takes the champion's place only where it is shown to be no worse (docs/refit.md).

No label and no gradient: both are asked about the same held-out recent frames, the same replay of what was learned
before, and the same controlled anomalies in both, each in this machine's own engine. Torch-free.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.replay import Replay
from edgevad.errors import BackendError, BundleError, RefitError
from edgevad.model.cache import FrameCache
from edgevad.refit import checks
from edgevad.refit.answers import Answers, ask, fitted_to, require_fitting
from edgevad.refit.exam import Exam, exam_of
from edgevad.refit.limits import Limits
from edgevad.refit.machine_checks import check_latency, check_quantisation, check_self_test
from edgevad.refit.observer import RefitObserver
from edgevad.refit.probes import KINDS
from edgevad.refit.selection import Selection
from edgevad.refit.sight import sight_of
from edgevad.refit.standing_out import own_deviates
from edgevad.refit.verdict import Check, Evidence, Verdict
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.opening import open_backend, precision_in

__all__ = ["Limits", "Verdict", "judge"]

Flags = npt.NDArray[np.bool_]
# With fewer held-out frames no share means anything.
_LEAST_FRAMES = 50
_BLOCK_FRAMES = 50
_PICTURES = 6


def judge(
    champion: Bundle,
    challenger: Bundle,
    selection: Selection,
    replay: Replay | None,
    *,
    limits: Limits | None = None,
    observer: RefitObserver | None = None,
    confirmed: Flags | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Verdict:
    """Hold `challenger` against `champion`; nothing is changed and nothing is written.

    A challenger that fails is a verdict, not an error.

    Args:
        selection: of recent drives, for the champion's input; its held-out frames are asked about, or all where none
            is held out.
        replay: frames of what the champion learned, by which it is seen whether anything is forgotten.
        confirmed: (N,) bool, frames of `selection` in events that people confirmed; None: those in events that it
            trusts for nothing.
        backend: engine to run both in; None means each bundle's own, which the latency budget speaks of.
        threads: of one inference on a CPU.

    Raises:
        RefitError: too few frames to judge by, or the two are not fed alike.
        BundleError: the champion is broken.
        BackendError: the champion's engine fails.
    """
    return _Trial(champion, challenger, limits or Limits(), observer or RefitObserver(), backend, threads).judge(
        selection, replay, confirmed
    )


class _Trial:
    """One comparison of two bundles."""

    def __init__(
        self,
        champion: Bundle,
        challenger: Bundle,
        limits: Limits,
        observer: RefitObserver,
        backend: str | None,
        threads: int | None,
    ) -> None:
        self.champion, self.challenger = champion, challenger
        self.limits, self.observer = limits, observer
        self.backend, self.threads = backend, threads
        self.checks: list[Check] = []
        self.evidence: Evidence | None = None

    def judge(self, selection: Selection, replay: Replay | None, confirmed: Flags | None) -> Verdict:
        """See `judge`."""
        began_s = time.perf_counter()
        rows, others = _rows_to_ask(selection, self.limits.frames)
        recent = selection.subset(rows)
        frames = {"recent": recent.cache}
        log = [recent]
        if len(others):
            log.append(selection.subset(others))
            frames["learnt"] = log[1].cache
        if replay is not None:
            frames["replay"] = _thinned(replay.cache(), self.limits.frames)
        for bundle in (self.champion, self.challenger):
            for cache in frames.values():
                require_fitting(bundle, cache)
        exams: dict[str, Exam] = {}
        if self._may_be_asked(log, replay):
            exams = self._exams(frames, recent.in_event)
            for name in [name for name in ("recent", "replay") if name in frames and name not in exams]:
                sentence = f"The {name} frames hold no second without a gap, so no controlled anomaly can be put there."
                self.checks.append(Check(f"probes, {name}", False, sentence))
            answers = self._answers(frames, exams)
            if answers is not None:
                if confirmed is None:
                    confirmed = selection.in_event & (selection.weight <= 0)
                self._compare(answers, exams, log, confirmed[rows])
        runs_in = self.challenger.manifest.backend if self.backend is None else self.backend
        return Verdict(
            tuple(self.checks),
            self.champion.digest,
            self.challenger.digest,
            (self.champion.manifest.name, self.challenger.manifest.name),
            f"{runs_in}, {precision_in(self.challenger, runs_in)}",
            {
                **{name: len(cache) for name, cache in frames.items()},
                "probes": len(KINDS) * sum(len(exam.clean) for exam in exams.values()),
            },
            tuple(drive.name for drive in selection.drives),
            time.perf_counter() - began_s,
            self.evidence or _pictures(frames),
        )

    def _may_be_asked(self, log: list[Selection], replay: Replay | None) -> bool:
        """What makes every further question pointless."""
        self.observer.stage("looking at the recent frames")
        before = None if replay is None else replay.images
        images = np.concatenate([one.cache.images for one in log])
        self.checks.append(checks.check_sight(sight_of(images, before), log[0].blind_share, self.limits))
        if replay is None and self.limits.require_replay:
            sentence = (
                "The champion brings no frames of what it learned before, so nobody can say that nothing is forgotten. "
                "Export it without --no-replay, or judge without replay."
            )
            self.checks.append(Check("replay", False, sentence))
        return all(check.passed is not False for check in self.checks)

    def _exams(self, frames: dict[str, FrameCache], in_event: Flags) -> dict[str, Exam]:
        """The pieces to be asked about, each with splices from the other set."""
        exams: dict[str, Exam] = {}
        for name in ("recent", "replay"):
            if name not in frames:
                continue
            cache = frames[name]
            others = [frames[key] for key in ("recent", "replay") if key != name and key in frames]
            foreign = exam_of(others[0], pieces=self.limits.pieces) if others else None
            exam = exam_of(
                cache,
                pieces=self.limits.pieces,
                foreign=None if foreign is None else foreign.clean,
                avoid=in_event if name == "recent" else None,
                seed=self.limits.seed,
            )
            if exam is not None:
                exams[name] = exam
        return exams

    def _answers(self, frames: dict[str, FrameCache], exams: dict[str, Exam]) -> tuple[Answers, Answers] | None:
        """What both say; None where the challenger's engine gives nothing to compare."""
        total = sum(len(cache) for cache in frames.values())
        total += (len(KINDS) + 1) * sum(len(exam.clean) for exam in exams.values())
        with self._engine(self.champion) as engine:
            self.observer.stage("asking the champion", total)
            first = ask(self.champion, engine, frames, exams, self.observer.advance)
        try:
            with self._engine(self.challenger) as engine:
                self.observer.stage("asking the challenger", total)
                proof = check_self_test(self.challenger, engine)
                self.checks.append(proof)
                if proof.passed is False:
                    return None
                second = ask(self.challenger, engine, frames, exams, self.observer.advance)
                recent = fitted_to(frames["recent"], self.challenger.manifest.input)
                self.checks.append(check_quantisation(self.challenger, engine, recent, self.limits, self.threads))
        except (BackendError, BundleError) as error:
            self.checks.append(Check("self-test", False, f"The challenger cannot be run here: {error.what}."))
            return None
        return first, second

    def _compare(
        self, answers: tuple[Answers, Answers], exams: dict[str, Exam], log: list[Selection], confirmed: Flags
    ) -> None:
        champion, challenger = answers
        deviates, told, segment = _log_answers(answers, log)
        recent = log[0]
        # What people confirmed is known, and never learnt from: it makes no log untrustworthy.
        trusted = np.concatenate([one.weight for one in log]) > 0
        self.checks.append(checks.check_log(deviates[trusted], self.limits))
        for name in [name for name in ("recent", "replay") if name in champion.judged]:
            self.checks.append(checks.check_majority(name, champion, challenger, self.limits))
        for name, exam in exams.items():
            self.checks.append(checks.check_probes(name, champion, challenger, exam.cluster, self.limits))
        if "replay" in exams:
            self.checks.append(checks.check_power(champion, challenger, self.limits))
        self.checks.append(checks.check_events(deviates, told, segment, self.limits))
        if confirmed.any():
            self.checks.append(
                checks.check_confirmed(confirmed, recent.cache.segment, champion, challenger, self.limits)
            )
        self.observer.stage("measuring how long a frame takes")
        self.checks.append(check_latency(self.champion, self.challenger, self.limits, self.backend, self.threads))
        self.evidence = _evidence(answers, exams, recent, deviates[: len(recent)])

    @contextmanager
    def _engine(self, bundle: Bundle) -> Iterator[Backend]:
        engine = open_backend(bundle, self.backend, threads=self.threads)
        try:
            yield engine
        finally:
            engine.close()


def _log_answers(
    answers: tuple[Answers, Answers], log: list[Selection]
) -> tuple[npt.NDArray[np.float64], Flags, npt.NDArray[np.int64]]:
    """Of the held-out frames, then of the others: how far each stands out from its drive for the champion, whether the
    challenger finds it beyond its threshold, and its segment."""
    champion, challenger = answers
    names = ("recent", "learnt")[: len(log)]
    windowed = [champion.judged[name].windowed for name in names]
    drive = np.concatenate([one.drive for one in log])
    deviates = own_deviates(np.concatenate(windowed), drive, champion.calibration)
    anomaly = np.concatenate([challenger.judged[name].anomaly for name in names])
    segments = [one.cache.segment.astype(np.int64) for one in log]
    if len(segments) > 1:
        segments[1] += segments[0][-1] + 1
    return deviates, anomaly >= challenger.calibration.threshold, np.concatenate(segments)


def _rows_to_ask(selection: Selection, most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Held-out frames and others, each at most `most`, in blocks spread evenly; all count as held out where none is.

    Raises RefitError where there are too few.
    """
    held = np.flatnonzero(selection.held_out) if selection.held_out.any() else np.arange(len(selection))
    if len(held) < _LEAST_FRAMES:
        raise RefitError(
            f"{len(held)} recent frames to judge by",
            expected=f"at least {_LEAST_FRAMES} that were not learnt from",
            fix="Choose more drives",
        )
    others = np.setdiff1d(np.arange(len(selection)), held)
    return held[_evenly(len(held), most)], others[_evenly(len(others), most)]


def _thinned(cache: FrameCache, most: int) -> FrameCache:
    rows = _evenly(len(cache), most)
    if len(rows) == len(cache):
        return cache
    motion = None if cache.motion is None else cache.motion[rows]
    return FrameCache(cache.images[rows], motion, cache.timestamp_ns[rows], cache.segment[rows], 0, cache.camera)


def _evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    """Numbers below `count`, at most `most`, in blocks that are spread evenly; ascending."""
    if count <= most:
        return np.arange(count)
    starts = np.linspace(0, count - _BLOCK_FRAMES, max(most // _BLOCK_FRAMES, 1)).astype(np.int64)
    return np.unique(np.add.outer(starts, np.arange(_BLOCK_FRAMES)).reshape(-1))[:most]


def _evidence(
    answers: tuple[Answers, Answers], exams: dict[str, Exam], recent: Selection, deviates: npt.NDArray[np.float64]
) -> Evidence:
    champion, challenger = answers
    probes = {}
    if "recent" in exams:
        exam = exams["recent"]
        for number, kind in enumerate(KINDS):
            rows = np.flatnonzero(exam.clean.segment == number % len(exam))
            last = int(rows[-1])
            probes[kind] = np.stack([exam.clean.images[last], exam.probed(kind).images[last]])
    frames = {name: exam.clean for name, exam in exams.items()}
    return Evidence(
        {
            name: (champion.judged[name].anomaly, challenger.judged[name].anomaly)
            for name in ("recent", "replay")
            if name in champion.judged
        },
        (champion.calibration.threshold, challenger.calibration.threshold),
        deviates,
        recent.cache.segment,
        _some(frames["recent"].images) if "recent" in frames else _some(recent.cache.images),
        _some(frames["replay"].images) if "replay" in frames else recent.cache.images[:0],
        probes,
    )


def _pictures(frames: dict[str, FrameCache]) -> Evidence:
    """What there is to see where nothing was asked."""
    recent = frames["recent"]
    replay = _some(frames["replay"].images) if "replay" in frames else np.asarray(recent.images[:0])
    return Evidence({}, (np.nan, np.nan), None, recent.segment, _some(recent.images), replay, {})


def _some(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(images[np.linspace(0, len(images) - 1, min(_PICTURES, len(images))).astype(np.int64)])
