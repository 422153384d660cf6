"""The bundle in use: opened at the start, followed while it is swapped, watched while it is on trial, gone back from.

Two threads work here. The one that scores tells of every frame, and is asked what to go on with where an engine fails;
it alone changes which scorer is in use. A thread of our own looks once a second, opens the other bundle in peace, lets
it prove itself, and hands it over between two frames. Whatever goes wrong there, the bundle in use stays in use.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from edgevad.bundle import Bundle, Manifest, SlotInfo, Slots, active_bundle
from edgevad.bundle.slot_state import Trial
from edgevad.errors import BackendError, BundleError, EdgevadError
from edgevad.events.incident import Incident
from edgevad.events.sink import Sink
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import Hysteresis
from edgevad.runtime.trial import RecentWork, TrialMonitor, TrialSpec, crash_loop

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Pipeline
    from edgevad.runtime.stream import Result

__all__ = ["Champion"]

_log = logging.getLogger("edgevad.service")

_LOOK_S = 1.0
_NOTE_S = 10.0
_WORK_S = 30.0

Adjust = Callable[[Scorer], tuple[Scorer, Hysteresis]]
Opener = Callable[[Bundle], Scorer]
Watched = Callable[[Manifest | None], TrialSpec]


class Champion(Sink):
    """The active bundle of a service that is not told which one to run, as a scorer.

    A context manager: on leaving, the end of this start is put down, and what was opened is closed.

    Args:
        opener: loads a bundle into the engine that the configuration asks for, and lets it prove itself.
        adjust: the scorer with the window and threshold that the configuration asks for now, and when events start.
        lock: held while the settings are read and a scorer made of them is handed over.
        watched: how the bundle of this manifest is watched while it is on trial; None: whatever bundle it is.

    Attributes:
        scorer: as it was opened, before `adjust`.
        pipeline: what it scores for, once there is one.
    """

    name = "trial"

    def __init__(
        self,
        opener: Opener,
        adjust: Adjust,
        lock: threading.Lock,
        watched: Watched,
        slots: Slots | None = None,
    ) -> None:
        self.pipeline: Pipeline | None = None
        self._open, self._adjust, self._settings = opener, adjust, lock
        self._watched = watched
        self._slots = Slots.of_device() if slots is None else slots
        self._untold: list[Incident] = []
        self._mark = self._slots.mark()
        # Which scorer is in use is changed by the thread that scores alone, once frames come.
        self._changing = threading.Lock()  # of the trial and its way back; never held while something is waited for
        self._before: Scorer | None = None  # the way back, still open
        self._left: list[Scorer] = []  # not used any more, to be closed
        self._monitor: TrialMonitor | None = None
        self._work = RecentWork(_WORK_S)
        self._counted: str | None = None  # digest of what is being opened on trial, a start of which was counted
        self._noted_s = time.monotonic()
        self._wake, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="edgevad slots", daemon=True)
        self.scorer = self._opened()

    def attach(self, pipeline: Pipeline) -> None:
        """Follow the slots from now on, for `pipeline`, which is fed by `adjust` of `scorer`."""
        self.pipeline = pipeline
        pipeline.on_failure = self._instead
        for incident in self._untold:
            pipeline.report(incident)
        self._thread.start()

    def look(self) -> None:
        """Look at the slots at once; they may have been swapped."""
        self._wake.set()

    def push(self, result: Result) -> None:
        now_s = time.monotonic()
        if result.anomaly_score is not None:
            self._work.push(result.work_s, now_s)
        monitor = self._monitor  # which our own thread may take away meanwhile
        if monitor is not None:
            monitor.observe(result, now_s)
            if monitor.verdict is not None:
                self._wake.set()

    def __enter__(self) -> Champion:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._is_over.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(0.5)  # it may be opening an engine: nobody waits for that
        # An error that nobody expected may well be the bundle's; all others that it can cause were dealt with.
        is_clean = error is None or isinstance(error, EdgevadError | KeyboardInterrupt | SystemExit)
        monitor = self._monitor
        if monitor is not None:
            self._put_down(monitor.figures, monitor.digest)
        if is_clean:
            self._put_down(Trial.ended)
            if self._counted is not None:
                self._put_down(Trial.ended, self._counted)
        for scorer in (self.scorer, self._before, *self._left):
            if scorer is not None:
                scorer.close()

    # At the start

    def _opened(self) -> Scorer:
        """The active bundle; where that cannot be run and the other one can, that one."""
        info = self._started()
        if info is None:
            return self._open(Bundle.open(active_bundle()))  # which tells that there is none
        on_trial = self._is_on_trial(info)
        loop = crash_loop(info.trial, self._watched(None)) if on_trial else None
        if loop is not None and (gone_to := self._gone_back(info, loop)) is not None:
            info, on_trial = gone_to, False
        try:
            scorer = self._open(bundle := Bundle.open(info.path))
        except EdgevadError as error:
            scorer, bundle = self._other_opened(info, on_trial, error), None
        if bundle is not None and on_trial:
            self._monitor = TrialMonitor(self._watched(bundle.manifest), info.trial, info.digest)
        return scorer

    def _is_on_trial(self, info: SlotInfo) -> bool:
        if info.state == "trial" and not self._watched(None).minutes:
            self._slots_try(lambda: self._slots.settle(info.digest))
            return False
        return info.state == "trial"

    def _started(self) -> SlotInfo | None:
        try:
            return self._slots.started()
        except EdgevadError as error:  # a disk that cannot be written keeps nobody from watching
            _log.warning("this start cannot be counted: %s", error)
            return self._slots.current

    def _other_opened(self, info: SlotInfo, on_trial: bool, error: EdgevadError) -> Scorer:
        """The other slot's bundle, in place of one that cannot be opened. A bundle is blamed only where the other runs.

        Raises `error` where there is no other that can, or where the bundle proved itself before and is whole: then
        engine or machine have changed, and there is no reason to think that an older bundle is better.
        """
        other = self._slots.other
        try:
            if other is None or not (on_trial or isinstance(error, BundleError)):
                raise error
            if other.digest in {one.digest for one in self._slots.blocked()}:
                raise error
            try:
                scorer = self._open(Bundle.open(other.path))
            except EdgevadError:
                raise error from None
        except BaseException:
            self._slots_try(lambda: self._slots.ended(info.digest))
            raise
        if self._gone_back(info, f"it cannot be opened: {error}", block=on_trial) is None:
            self._untold.append(Incident.once("bundle", "refused", f"{_name(info)} cannot be opened: {error}"))
        return scorer

    # In the thread that scores

    def _instead(self, error: BackendError) -> tuple[Scorer, Hysteresis] | None:
        """What to go on with where the engine has failed: the bundle before, if the one in use is on trial."""
        failed = self.scorer
        with self._changing:
            monitor, self._monitor = self._monitor, None
            scorer, self._before = self._before, None
        if monitor is None and scorer is None:
            return None
        if monitor is not None:
            self._put_down(monitor.figures, failed.digest)
        info = self._rolled_back(failed.digest, f"the engine failed: {error}")
        if scorer is None and info is None:
            info = self._other_all_the_same()
        if scorer is None and info is not None and info.digest != failed.digest:
            with suppress(EdgevadError):
                scorer = self._open(Bundle.open(info.path))
        if scorer is None:
            return None
        try:
            adjusted = self._adjust(scorer)
        except EdgevadError:
            return None
        self.scorer = scorer
        self._left.append(failed)
        self._tell("rolled back", f"{failed.name} {failed.digest[:12]} is left: the engine failed: {error}")
        return adjusted

    def _other_all_the_same(self) -> SlotInfo | None:
        """The other slot, where the disk does not take that it is gone back to; None where it is blocked itself."""
        try:
            other = self._slots.other
            is_blocked = other is not None and other.digest in {one.digest for one in self._slots.blocked()}
        except EdgevadError:
            return None
        return None if is_blocked else other

    def _taken_up(self, fresh: Scorer, monitor: TrialMonitor | None) -> None:
        """The pipeline uses `fresh` from the next frame on."""
        with self._changing:
            old, self.scorer, self._monitor = self.scorer, fresh, monitor
            # Kept while it may be needed: going back then takes no time and no frame.
            unused, self._before = self._before, None if monitor is None else old
        unneeded = (unused, old) if monitor is None else (unused,)
        self._left += [scorer for scorer in unneeded if scorer is not None and scorer is not fresh]
        self._work = RecentWork(_WORK_S)

    # In our own thread

    def _follow(self) -> None:
        while not self._is_over.is_set():
            self._wake.wait(_LOOK_S)
            self._wake.clear()
            if self._is_over.is_set():
                return
            try:
                self._look()
            except Exception as error:  # the vehicle goes on as before
                if not isinstance(error, EdgevadError):
                    _log.exception("the slots cannot be followed")
                else:
                    _log.warning("the slots cannot be followed: %s", error)

    def _look(self) -> None:
        while self._left:
            self._left.pop().close()
        monitor = self._monitor
        if monitor is not None and monitor.verdict is not None:
            self._leave(monitor, monitor.verdict)
        elif monitor is not None and monitor.has_passed:
            self._pass(monitor)
        elif monitor is not None and time.monotonic() - self._noted_s > _NOTE_S:
            self._put_down(monitor.figures, monitor.digest)
        mark = self._slots.mark()
        if mark != self._mark:
            current = self._slots.current
            if current is not None and current.digest != self.scorer.digest:
                self._take_up(current)
            self._mark = mark  # not before: what cannot be looked at now is looked at again

    def _leave(self, monitor: TrialMonitor, why: str) -> None:
        """The bundle on trial has failed: back to the other one, which `_look` then finds in use.

        Where the disk does not take that, to the one that is still open.
        """
        if not self._is_done_with(monitor):
            return
        self._put_down(monitor.figures, monitor.digest)
        info = self._rolled_back(monitor.digest, why)
        before = self._before
        if info is not None and info.digest != monitor.digest:
            self._tell("rolled back", f"the bundle {monitor.digest[:12]} is left: {why}")
        elif before is not None and self._handed_over(before, None):
            self._tell("rolled back", f"the bundle {monitor.digest[:12]} is left until the next start: {why}")
        else:
            self._tell("failed", f"the bundle {monitor.digest[:12]} {why}; there is no bundle to go back to")

    def _pass(self, monitor: TrialMonitor) -> None:
        if not self._is_done_with(monitor):
            return
        with self._changing:
            before, self._before = self._before, None
        if before is not None:
            before.close()
        self._slots_try(lambda: self._slots.settle(monitor.digest))
        self._tell("healthy", f"the bundle {monitor.digest[:12]} has passed its {monitor.spec.minutes:g} minutes")

    def _is_done_with(self, monitor: TrialMonitor) -> bool:
        """End this trial; False where the other thread was quicker."""
        with self._changing:
            is_mine = self._monitor is monitor
            self._monitor = None if is_mine else self._monitor
        return is_mine

    def _take_up(self, current: SlotInfo) -> None:
        """Open what is in use by the slots, and hand it over to the pipeline."""
        on_trial = self._is_on_trial(current)
        if on_trial:
            current = self._started() or current  # counted before an engine is opened that may crash
            on_trial = current.state == "trial"
            self._counted = current.digest
        try:
            self._open_and_hand_over(current, on_trial)
        finally:
            self._counted = None

    def _open_and_hand_over(self, current: SlotInfo, on_trial: bool) -> None:
        before = self._before
        try:
            bundle = Bundle.open(current.path)
            reused = before is not None and before.digest == bundle.digest
            fresh = before if before is not None and reused else self._open(bundle)
        except Exception as error:
            self._refuse(current, on_trial, error)
            return
        monitor = None
        if on_trial:
            p95_s = self._work.p95_s(time.monotonic()) or 0.0
            trial = replace(current.trial, before_ms=1e3 * p95_s)
            self._put_down(lambda noted: replace(noted, before_ms=1e3 * p95_s), current.digest)
            monitor = TrialMonitor(self._watched(bundle.manifest), trial, current.digest)
        old = self.scorer
        try:
            is_in_use = self._handed_over(fresh, monitor)
        except Exception as error:  # such as a window that its training scores cannot be calibrated for
            self._refuse(current, on_trial, error)
            is_in_use = False
        if not is_in_use:
            if not reused and self._is_over.is_set():
                fresh.close()
            elif not reused:
                self._left.append(fresh)  # the last frames of the run may just be given to it
            self._put_down(Trial.ended, current.digest)  # it did no harm
            return
        self._put_down(Trial.ended, old.digest)  # where it was on trial, and somebody has put another one in its place
        self._tell("swapped", f"{_name(current)} is in use, in place of {old.name} {old.digest[:12]}{_why(current)}")

    def _handed_over(self, fresh: Scorer, monitor: TrialMonitor | None) -> bool:
        """Between two frames; False where the run ends before. Raises OptionError where the settings do not fit it."""
        pipeline = self.pipeline
        assert pipeline is not None
        done = threading.Event()

        def taken_up() -> None:
            self._taken_up(fresh, monitor)
            done.set()

        with self._settings:
            scorer, hysteresis = self._adjust(fresh)
            pipeline.replace(scorer, hysteresis, done=taken_up)
            while not done.wait(0.2):
                if pipeline.is_over or self._is_over.is_set():
                    return done.is_set()
        return True

    def _refuse(self, current: SlotInfo, on_trial: bool, error: Exception) -> None:
        if not isinstance(error, EdgevadError):
            _log.error("a bundle cannot be opened", exc_info=error)
        why = f"it cannot be opened: {error}"
        if on_trial and self._rolled_back(current.digest, why) is not None:
            self._tell("rolled back", f"{_name(current)} is left: {why}")
        else:
            self._tell("refused", f"{_name(current)}: {why}; {self.scorer.name} stays in use")

    # Around the slots

    def _gone_back(self, info: SlotInfo, why: str, *, block: bool = True) -> SlotInfo | None:
        gone_to = self._rolled_back(info.digest, why, block=block)
        if gone_to is not None:
            self._untold.append(Incident.once("bundle", "rolled back", f"{_name(info)} is left: {why}"))
            self._mark = self._slots.mark()
        return gone_to

    def _rolled_back(self, digest: str, why: str, *, block: bool = True) -> SlotInfo | None:
        """The slot that is in use after that; None where it is not possible."""
        try:
            return self._slots.rollback(why, leaving=digest, block=block)
        except EdgevadError as error:
            _log.error("there is no way back: %s", error)
            return None

    def _put_down(self, change: Callable[[Trial], Trial], digest: str | None = None) -> None:
        self._noted_s = time.monotonic()
        self._slots_try(lambda: self._slots.update(digest or self.scorer.digest, change))

    def _slots_try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except EdgevadError as error:  # a full or read-only disk: it costs the memory of this trial, not the watching
            _log.warning("how the bundle does cannot be put down: %s", error)

    def _tell(self, cause: str, detail: str) -> None:
        if self.pipeline is not None:
            self.pipeline.report(Incident.once("bundle", cause, detail))


def _name(info: SlotInfo) -> str:
    return f"{info.name} {info.digest[:12]}"


def _why(info: SlotInfo) -> str:
    return f": {info.why}" if info.why else ""
