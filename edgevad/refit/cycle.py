"""One run that brings a model up to date: choose, ask whether it may be trusted, learn, export, prove, make active.

Each step leaves what it made in the run's folder (edgevad/refit/run_folder.py) before it counts as done. A run that was
killed, or whose minutes were spent, goes on when the same is asked for again; one whose champion is no longer in use is
dropped. Nothing that is in use is touched before the last step, and that is a swap of one link.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgevad.bundle import Bundle
from edgevad.errors import EdgevadError, MissingExtraError, OutputError
from edgevad.refit import steps
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.idle import IdleWatch
from edgevad.refit.observer import RefitObserver
from edgevad.refit.pace import NotNowError, Pace
from edgevad.refit.place import RefitHome
from edgevad.refit.run_folder import RunFolder, find_unfinished, only_one, sweep_work

__all__ = ["STEPS", "CycleResult", "run_cycle"]

STEPS = ("depth", "choose", "trust", "learn", "export", "gate", "shadow", "activate")
# Where minutes that are spent end a run; learning itself winds down before they are, and what follows it is short.
_STOPPED_BEFORE = STEPS[: STEPS.index("learn") + 1]
# Not for an idle vehicle: the shadow needs one that drives, and a swap takes a moment.
_AT_ONCE = ("shadow", "activate")
# After these a run can go on; anything else would come again.
_LATER = (NotNowError, OutputError, MissingExtraError)


@dataclass(frozen=True)
class CycleResult:
    """What a run came to.

    Attributes:
        id: of the run, and of its page in the history.
        depth: what was done: "recalibrate", "adapt" or "refit"; "none" where nothing was called for.
        outcome: "activated", "written" (to `bundle`), "refused", "nothing" (was called for), or "tried" (a dry run).
        sentence: why, for people.
        bundle: the new bundle, where it was activated or written.
        steps: what came of each step, as plain JSON, with its seconds and the largest memory so far.
        worked_s: seconds of work, pauses left out.
        page: to look at; None where nothing was judged.
    """

    id: str
    depth: str
    outcome: str
    sentence: str
    bundle: Path | None = None
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    worked_s: float = 0.0
    page: Path | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "depth": self.depth,
            "outcome": self.outcome,
            "sentence": self.sentence,
            "bundle": None if self.bundle is None else str(self.bundle),
            "worked_s": round(self.worked_s, 1),
            "page": None if self.page is None else str(self.page),
            "steps": self.steps,
        }


def run_cycle(
    options: CycleOptions,
    *,
    home: RefitHome | None = None,
    observer: RefitObserver | None = None,
    dry_run: bool = False,
    fresh: bool = False,
) -> CycleResult:
    """Run, or go on with, what `options` ask for.

    Args:
        dry_run: choose and ask for trust only; nothing is left behind.
        fresh: begin anew, even where a run like this could go on.

    Raises:
        NotNowError: it is not finished, and goes on when asked for again: minutes are spent, or the vehicle drives.
        OutputError, MissingExtraError: the same, once there is room, or what is missing.
        RefitError: there is nothing to learn from, no model to learn with, or another run is under way.
        EdgevadError: whatever the steps raise. It would come again, so the run is dropped, and the history tells it.
    """
    home = RefitHome.of_device() if home is None else home
    observer = RefitObserver() if observer is None else observer
    with only_one(home):
        steps.require_place_for(options)
        champion = steps.find_champion(options)
        key = steps.identity(options, champion)
        found = None if fresh or dry_run else _to_go_on_with(home, options, key)
        for name in () if dry_run else sweep_work(home, None if found is None else found.path):
            observer.note(f"the unfinished run {name} is dropped: another bundle, other options, or begun anew")
        run = RunFolder.begin(home, options, key) if found is None else found
        if found is not None:
            observer.note(f"going on with {run.id}, {', '.join(run.steps) or 'nothing'} done")
        pace = _pace(options, home, run, observer)
        cycle = _Cycle(run, options, home, champion, observer, pace)
        try:
            result = cycle.look() if dry_run else cycle.go()
        except BaseException as error:
            cycle.failed(error, dry_run=dry_run)
            raise
        run.drop()
        return replace(result, worked_s=run.worked_s)


def _to_go_on_with(home: RefitHome, options: CycleOptions, champion: str) -> RunFolder | None:
    wanted = options.of_the_run()
    for run in find_unfinished(home):
        # The last step may be what was cut off: then the champion in use is the challenger already.
        is_swapped = champion == run.steps.get("export", {}).get("digest")
        if run.options == wanted and (run.champion == champion or is_swapped):
            return run
    return None


def _pace(options: CycleOptions, home: RefitHome, run: RunFolder, observer: RefitObserver) -> Pace:
    idle = IdleWatch(home.path, busy_file=options.busy_file) if options.while_idle else None
    return Pace(
        budget_s=None if options.budget_minutes is None else 60.0 * options.budget_minutes,
        idle=idle,
        longest_wait_s=3600.0 * options.longest_wait_h,
        observer=observer,
    )


class _Cycle:
    """A run's steps, each done once."""

    def __init__(
        self,
        run: RunFolder,
        options: CycleOptions,
        home: RefitHome,
        champion: Bundle | None,
        observer: RefitObserver,
        pace: Pace,
    ) -> None:
        self.run, self.options, self.home, self.observer, self.pace = run, options, home, observer, pace
        self.named = champion
        self.earlier_s = run.worked_s

    def go(self) -> CycleResult:
        """All steps that are not done yet."""
        context = steps.Context(self.run, self.options, self.home, self.observer, self.pace, self.named)
        advice = self._step("depth", lambda: steps.decide_depth(context))
        self.run.depth = advice["depth"]
        if advice["depth"] == "none":
            return self._end("nothing", advice["sentence"])
        self._step("choose", lambda: steps.choose(context))
        trust = self._step("trust", lambda: steps.ask_trust(context))
        if not trust["passed"]:
            return self._end("refused", trust["sentence"])
        self._step("learn", lambda: steps.learn(context))
        self._step("export", lambda: steps.export(context))
        gate = self._step("gate", lambda: steps.gate(context))
        if not gate["passed"]:
            return self._end("refused", gate["sentence"])
        if self.options.out is not None:
            written = steps.write_out(context)
            return self._end("written", gate["sentence"], written)
        if self.options.shadow_frames:
            shadow = self._step("shadow", lambda: steps.shadow(context))
            if not shadow["passed"]:
                return self._end("refused", shadow["sentence"])
        active = self._step("activate", lambda: steps.activate(context))
        if not active["passed"]:
            return self._end("refused", active["sentence"])
        return self._end("activated", gate["sentence"], Path(active["path"]))

    def failed(self, error: BaseException, *, dry_run: bool) -> None:
        """Leave what can go on, and drop what would only fail again. Whatever happens here, `error` is worth more."""
        with suppress(Exception):
            self.run.worked_s = self.earlier_s + self.pace.worked_s
            if dry_run:
                self.run.drop()
            elif isinstance(error, EdgevadError) and not isinstance(error, _LATER):
                if "depth" in self.run.steps:
                    steps.remember(self.run, self.home, "failed", str(error))
                self.run.drop()
            else:
                self.run.write()

    def look(self) -> CycleResult:
        """What would be learnt from, and whether that may be trusted."""
        context = steps.Context(self.run, self.options, self.home, self.observer, self.pace, self.named)
        advice = self._step("depth", lambda: steps.decide_depth(context))
        self._step("choose", lambda: steps.choose(context))
        trust = self._step("trust", lambda: steps.ask_trust(context))
        return CycleResult(self.run.id, advice["depth"], "tried", trust["sentence"], None, self.run.steps)

    def _step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        done = self.run.steps.get(name)
        if done is not None:
            return done
        if name not in _AT_ONCE:
            self.pace.breathe(to_the_end=name not in _STOPPED_BEFORE)
        started_s, waited_s = time.monotonic(), self.pace.waited_s
        found = work()
        took_s = time.monotonic() - started_s - (self.pace.waited_s - waited_s)
        self.run.worked_s = self.earlier_s + self.pace.worked_s
        found = {**found, "took_s": round(took_s, 2), "peak_mb": _peak_mb()}
        self.run.finish(name, found)
        return found

    def _end(self, outcome: str, sentence: str, bundle: Path | None = None) -> CycleResult:
        """Put down in the history what was decided, whatever it was."""
        page = steps.remember(self.run, self.home, outcome, sentence)
        return CycleResult(
            self.run.id, self.run.depth or "none", outcome, sentence, bundle, dict(self.run.steps), page=page
        )


def _peak_mb() -> int:
    """The largest memory of this process so far, in megabytes (ru_maxrss is in KiB on Linux)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
