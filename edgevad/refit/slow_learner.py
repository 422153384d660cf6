"""`--learn-slowly`: what the vehicle remembers follows the road, a frame now and then, while it is driven.

A frame may be remembered where nothing stands out in it, and where it is certain that no event was near: it waits until
enough time has passed without one. A little a day, never more than a share of the bank, always beside the bundle's own
episodes and never instead of what nothing else resembles (`edgevad.refit.coreset`). Statistics and threshold stay those
of the bundle: what they say of a deviate must mean the same for as long as drift is measured by it; `edgevad
recalibrate` renews them, through the gate.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.errors import EdgevadError, OptionError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.model.bank import FORGET_ABOVE
from edgevad.refit.coreset import Episode, condensed, episodes_of_bank, laid_out
from edgevad.refit.learned import Learned
from edgevad.refit.place import RefitHome
from edgevad.runtime.remembering import Rememberer
from edgevad.runtime.shrinking import shrink
from edgevad.spec import NEAREST_EPISODES, BankShape

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Pipeline, Result

__all__ = ["SlowLearner", "SlowSpec"]

_log = logging.getLogger(__name__)

_DAY_S = 86_400
_NS = 1_000_000_000
# Frames that wait for certainty, of all cameras: a safeguard, the rate keeps them few.
_MOST_WAITING = 64


@dataclass(frozen=True)
class SlowSpec:
    """How slowly.

    Attributes:
        every_s: of each camera at most one frame in so many seconds.
        quiet_s: no event for so long before a frame, and after it.
        per_day: at most so many frames a day, of all cameras.
        most_share: at most this share of the bank's episodes is not the bundle's own.
        episode_s: frames of so long together are one episode.
    """

    every_s: float = 60.0
    quiet_s: float = 60.0
    per_day: int = 200
    most_share: float = 0.25
    episode_s: float = 1800.0

    def __post_init__(self) -> None:
        if not (self.every_s > 0 and self.quiet_s >= 0 and self.per_day >= 1 and self.episode_s > 0):
            raise OptionError(f"learning slowly by {self}", expected="positive numbers")
        if not 0 < self.most_share <= 0.5:
            raise OptionError(f"learning up to {self.most_share} of the bank", expected="a share up to 0.5")


@dataclass(frozen=True)
class _Candidate:
    camera: str
    segment: int
    timestamp_ns: int
    image: npt.NDArray[np.uint8]


class SlowLearner(Sink):
    """A sink that gives the scorer a better bank now and then.

    Args:
        pipeline: asked for when the run starts: what scores. After another bundle has taken its place, what was learnt
            with the one before is left behind, and learning begins anew, or where it stood with that one.
        spec: how slowly.
        home: where what was learnt is kept; None means this device's.
        now_s: the clock that days are counted by.
    """

    name = "learning"

    def __init__(
        self,
        pipeline: Callable[[], Pipeline],
        spec: SlowSpec | None = None,
        *,
        home: RefitHome | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._pipeline_of = pipeline
        self.spec = spec or SlowSpec()
        self._home = RefitHome.of_device() if home is None else home
        self._now_s = now_s
        self._digest: str | None = None
        self._memory: _Memory | None = None
        self._waiting: deque[_Candidate] = deque()
        self._taken_ns: dict[str, int] = {}
        self._unquiet_ns: dict[str, int] = {}
        self._latest_ns: dict[str, int] = {}

    def figures(self) -> Mapping[str, int]:
        memory = self._memory
        return {"remembered": 0 if memory is None else memory.learned.entries, "waiting": len(self._waiting)}

    def start(self, run: RunInfo) -> None:
        self._open()

    def push(self, result: Result) -> None:
        if self._pipeline_of().scorer.digest != self._digest:
            self._open()
        if self._memory is None:
            return
        frame = result.frame
        camera, at_ns = frame.source_id, frame.timestamp_ns
        self._latest_ns[camera] = at_ns
        if len(self._latest_ns) > _MOST_WAITING:
            self._latest_ns.pop(next(iter(self._latest_ns)))
        if result.is_anomaly or result.state == "fault":
            self._disturbed(camera, at_ns)
        self._settle(camera, frame.segment, at_ns)
        if self._may_wait(result):
            spec = self._pipeline_of().scorer.input
            image = np.array(shrink(frame.image, (spec.width_px, spec.height_px)))
            self._waiting.append(_Candidate(camera, frame.segment, at_ns, image))
            self._taken_ns[camera] = at_ns
            if len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()

    def event_began(self, event: Event) -> None:
        self._disturbed(event.source_id, event.end_ns)

    def event(self, event: Event) -> None:
        self._disturbed(event.source_id, event.end_ns)

    def _open(self) -> None:
        """Take up the bundle that scores now."""
        scorer = self._pipeline_of().scorer
        self._digest, self._memory = scorer.digest, None
        self._waiting.clear()
        if not scorer.digest:
            _log.warning("nothing is learnt slowly: a model folder scores, and no bundle")
            return
        try:
            bundle = Bundle.open(scorer.path)
            if bundle.digest == scorer.digest:  # else it was replaced since, and its place is the next one's
                self._memory = _Memory.of(bundle, self.spec, self._home)
        except EdgevadError as error:
            _log.warning("nothing is learnt slowly: %s", error)
            return
        if self._memory is None:
            _log.warning("nothing is learnt slowly: this bundle remembers nothing, or brings no graph for it")
        elif self._memory.learned.entries:
            self._give()

    def _disturbed(self, camera: str, at_ns: int) -> None:
        """Something was seen: what waits, of whatever camera, is not to be trusted, and for a while nothing is."""
        # What one camera sees in a minute another one may have seen in this one. Each has a clock of its own.
        for other, latest_ns in {**self._latest_ns, camera: at_ns}.items():
            self._unquiet_ns[other] = max(latest_ns, self._unquiet_ns.get(other, latest_ns))
        self._waiting.clear()
        while len(self._unquiet_ns) > 2 * _MOST_WAITING:
            self._unquiet_ns.pop(next(iter(self._unquiet_ns)))

    def _may_wait(self, result: Result) -> bool:
        frame, spec = result.frame, self.spec
        if result.state != "normal" or result.anomaly_score is None or result.anomaly_score > FORGET_ABOVE:
            return False
        camera, at_ns = frame.source_id, frame.timestamp_ns
        taken_ns, unquiet_ns = self._taken_ns.get(camera), self._unquiet_ns.get(camera)
        if unquiet_ns is not None and at_ns < unquiet_ns:  # another clock: as if it had been just now
            unquiet_ns = self._unquiet_ns[camera] = at_ns
        if unquiet_ns is not None and at_ns - unquiet_ns < spec.quiet_s * _NS:
            return False
        return taken_ns is None or not 0 <= at_ns - taken_ns < spec.every_s * _NS

    def _settle(self, camera: str, segment: int, now_ns: int) -> None:
        """Remember those of this camera that have waited long enough; those of an earlier segment are given up."""
        memory, left = self._memory, deque[_Candidate]()
        for one in self._waiting:
            is_settled = one.camera == camera and now_ns - one.timestamp_ns >= self.spec.quiet_s * _NS
            if one.camera == camera and one.segment != segment:
                continue
            if not is_settled:
                left.append(one)
            elif memory is not None:
                self._remember(memory, one)
        self._waiting = left

    def _remember(self, memory: _Memory, one: _Candidate) -> None:
        if not memory.take(one.image, one.timestamp_ns, int(self._now_s()) // _DAY_S):
            return
        self._give()
        try:
            memory.save()
        except EdgevadError as error:
            _log.warning("what was learnt slowly is not on the disk: %s", error)

    def _give(self) -> None:
        """The scorer's bank, from the next frame on."""
        memory, digest, pipeline = self._memory, self._digest, self._pipeline_of()
        assert memory is not None
        bank = memory.bank()

        def between_two_frames() -> None:
            if pipeline.scorer.digest != digest:
                return  # another bundle came in between
            try:
                pipeline.scorer.backend.remember(bank)
            except EdgevadError as error:
                self._memory = None
                pipeline.report(Incident.once("sink", "learning", f"nothing is learnt slowly any more: {error}"))

        pipeline.call(between_two_frames)


class _Memory:
    """The bundle's own episodes, and those that were learnt beside them."""

    def __init__(self, bank: npt.NDArray[np.float32], rememberer: Rememberer, spec: SlowSpec, path: Path) -> None:
        self._shape: BankShape = bank.shape[0], bank.shape[1], bank.shape[2]
        self._rememberer = rememberer
        self._spec = spec
        self._path = path
        self.learned = Learned.load(path, bank.shape[2] - 1)
        self._own = own = episodes_of_bank(bank)
        self._began_ns: int | None = None
        self._most = max(1, min(int(spec.most_share * bank.shape[0]), bank.shape[0] - NEAREST_EPISODES))
        self._twins = _typical_gap(own)
        if len(self.learned.episodes) > self._most:  # a smaller share is asked for than when they were learnt
            self._reduce()

    @classmethod
    def of(cls, bundle: Bundle, spec: SlowSpec, home: RefitHome) -> _Memory | None:
        """None where the bundle remembers nothing, or brings no graph to do so.

        Raises:
            BundleError: the bundle is broken.
            BackendError: ONNX Runtime refuses its graph.
        """
        bank, rememberer = bundle.bank(), Rememberer.of(bundle)
        if bank is None or rememberer is None or bank.shape[0] <= NEAREST_EPISODES:
            return None
        return cls(bank, rememberer, spec, home.learned / f"{bundle.digest}.npz")

    def take(self, image: npt.NDArray[np.uint8], timestamp_ns: int, day: int) -> bool:
        """Whether this frame (h, w, 3) is remembered now: there is room today, and it is no twin of what is."""
        learned, spec = self.learned, self._spec
        # A clock that is wrong until the network is there does not begin another day.
        day = max(day, learned.day)
        today = learned.today if day == learned.day else 0
        if today >= spec.per_day:
            return False
        found = self._rememberer.coordinates(image[None])
        if self._has_twin(found[0]):
            return False
        began_ns = self._began_ns
        fresh = began_ns is None or not 0 <= timestamp_ns - began_ns < spec.episode_s * _NS
        one = Episode(found, np.array([np.inf]))
        if fresh or len(learned.episodes[-1]) >= self._shape[1]:
            self._began_ns = timestamp_ns
            learned.episodes.append(one)
            self._reduce()
        else:
            last = learned.episodes[-1]
            learned.episodes[-1] = replace(last.joined(one), stretches=last.stretches)
        learned.day, learned.today = day, today + 1
        return True

    def bank(self) -> npt.NDArray[np.float32]:
        """Both, as the graph takes them."""
        count, entries, values = self._shape
        learned = self.learned.episodes
        room = count - len(learned)
        if len(self._own) > room:  # for good: what is learnt gives no room back
            self._own = condensed(self._own, [], (room, entries, values))
        return laid_out([*self._own, *learned], self._shape)[0]

    def save(self) -> None:
        """Raises OutputError where it cannot be written."""
        self.learned.save(self._path)

    def _reduce(self) -> None:
        """Too many learnt episodes: the most alike become one; the one under way stays the last."""
        *before, last = self.learned.episodes
        if len(before) + 1 > self._most:
            shape = max(self._most - 1, 1), self._shape[1], self._shape[2]
            before = condensed(before, [], shape) if self._most > 1 else []
        self.learned.episodes = [*before, last]

    def _has_twin(self, coordinates: npt.NDArray[np.float32]) -> bool:
        """Whether something as near as the bundle's own frames are to each other is remembered already."""
        for episode in (*self._own, *self.learned.episodes):
            if float(np.square(episode.coordinates - coordinates).sum(axis=1).min()) < self._twins:
                return True
        return False


def _typical_gap(episodes: list[Episode]) -> float:
    """Median squared distance of frames of an episode to the nearest other frame of it."""
    gaps = []
    for episode in episodes:
        rows = episode.coordinates[:64].astype(np.float64)
        if len(rows) > 1:
            squared = np.square(rows[:, None] - rows[None]).sum(axis=2)
            np.fill_diagonal(squared, np.inf)
            gaps.append(squared.min(axis=1))
    return float(np.median(np.concatenate(gaps))) if gaps else 0.0
