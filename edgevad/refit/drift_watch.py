"""Drift at run time: a sink that compares the last hour of driving with the calibration, and tells a change once.

It runs in a thread of its own, as every sink, and looks at one frame in two seconds: that takes half a millisecond.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgevad.bundle.bundle import Bundle
from edgevad.errors import OptionError
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.refit.drift_advice import Advice
from edgevad.refit.drift_compare import Comparison, compare
from edgevad.refit.drift_reference import DriftReference
from edgevad.refit.drift_sample import Sample
from edgevad.refit.drift_state import WatchState, state_path
from edgevad.refit.drift_taking import FrameTaker
from edgevad.refit.drift_tests import MARGIN, spent

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["CameraDrift", "DriftWatch", "WatchSpec"]

# A recording may be thousands of clips, each a name.
_MOST_CAMERAS = 16


@dataclass(frozen=True)
class WatchSpec:
    """How a run watches for drift.

    Attributes:
        compared_s: seconds of driving that are compared with the calibration.
        look_s: seconds of driving between two looks.
        alpha: chance that anything is ever told of a camera with a bundle, though nothing has drifted.
        margin: how far a probability may move from 0.5, or a share from 0.05, before that counts as drift.
    """

    compared_s: float = 3600.0
    look_s: float = 900.0
    alpha: float = 0.05
    margin: float = MARGIN

    def __post_init__(self) -> None:
        if not 60 <= self.compared_s <= 86_400:
            raise OptionError(f"drift: {self.compared_s} s of driving compared", expected="60 to 86,400 s")
        if not 10 <= self.look_s <= self.compared_s:
            raise OptionError(
                f"drift: a look every {self.look_s} s", expected="10 s or more, and no more than compared_s"
            )
        if not 0 < self.alpha < 1 or not 0 <= self.margin < 0.5:
            raise OptionError("drift: alpha or margin", expected="alpha between 0 and 1, margin from 0 to below 0.5")


@dataclass(frozen=True)
class CameraDrift:
    """What the last look at a camera showed.

    Attributes:
        advice: what it calls for.
        shifts: of each figure, P(now > calibration).
        looks: how many there have been.
    """

    advice: Advice
    shifts: Mapping[str, float]
    looks: int


@dataclass
class _Camera:
    """What was known of a camera at the last look, and what takes its frames since then."""

    state: WatchState
    taker: FrameTaker
    incident: Incident | None = None


class DriftWatch(Sink):
    """Follows every camera of a run; a change is told as one incident of kind "drift", which ends when it is over.

    The cause is what the change calls for (`Advice.what`). A new bundle starts anew.

    Args:
        folder: where what is known is kept (`RefitHome.drift`).
    """

    name = "drift"

    def __init__(self, folder: Path, spec: WatchSpec | None = None) -> None:
        self._folder = folder
        self.spec = WatchSpec() if spec is None else spec
        self._bundle: Bundle | None = None
        self._reference: DriftReference  # of `_bundle`, from `start` on
        self._cameras: OrderedDict[str, _Camera] = OrderedDict()
        self._latest: dict[str, CameraDrift] = {}

    def latest(self) -> Mapping[str, CameraDrift]:
        """What the last look at each camera showed; safe in any thread."""
        return dict(self._latest)

    def figures(self) -> Mapping[str, int]:
        latest = self.latest()
        return {
            "looks": sum(one.looks for one in latest.values()),
            "drifted": sum(one.advice.what != "none" for one in latest.values()),
        }

    def start(self, run: RunInfo) -> None:
        self._load(run)

    def continues(self, run: RunInfo) -> None:
        """Another bundle scores from now on: compare with its calibration, or, where it cannot be read, with none."""
        before, self._bundle = self._bundle, None
        self._load(run, before)

    def push(self, result: Result) -> None:
        if self._bundle is None:
            return
        name = result.frame.source_id
        camera = self._camera(name)
        camera.taker.push(result)
        if camera.state.driven_s + camera.taker.driven_s >= self.spec.look_s:
            self._look(name, camera)

    def finish(self, summary: RunSummary) -> None:
        """A drive that is shorter than `look_s` is kept for the next one."""
        for name, camera in self._cameras.items():
            self._gather(camera)
            self._save(name, camera)

    def _load(self, run: RunInfo, before: Bundle | None = None) -> None:
        """The reference, anew where the bundle is another one. Raises BundleError where that is broken."""
        bundle = Bundle.open(run.bundle)
        if before is not None and before.digest == bundle.digest:
            self._bundle = before
            return
        for name, camera in self._cameras.items():
            self._end(camera, f"{name}: another bundle has been activated")
        self._cameras.clear()
        self._latest = {}
        self._reference, self._bundle = DriftReference.of(bundle), bundle

    def _camera(self, name: str) -> _Camera:
        camera = self._cameras.get(name)
        if camera is None:
            state = WatchState.load(
                state_path(self._folder, name), self._reference.digest, len(self._reference.figures)
            )
            camera = self._cameras[name] = _Camera(state, self._taker(state))
            if (known := _incident_of(state, name)) is not None:
                # The same one, told to those who are new in this run.
                camera.incident = known
                self._tell(known)
            if len(self._cameras) > _MOST_CAMERAS:
                self._cameras.popitem(last=False)
        self._cameras.move_to_end(name)
        return camera

    def _taker(self, state: WatchState) -> FrameTaker:
        assert self._bundle is not None
        stretch = int(state.sample.stretch[-1]) if len(state.sample) else 0
        return FrameTaker(self._reference, self._bundle.manifest.input, stretch=stretch)

    def _gather(self, camera: _Camera) -> None:
        """Put what was taken to what was known; what lies before the window is forgotten."""
        state, taker = camera.state, camera.taker
        both = [(0, state.sample), (0, taker.taken())]
        state.sample = Sample.joined(both, len(self._reference.figures)).last(self.spec.compared_s)
        state.driven_s += taker.driven_s
        taker.driven_s = 0.0
        taker.stretch = int(state.sample.stretch[-1]) if len(state.sample) else 0

    def _look(self, name: str, camera: _Camera) -> None:
        state = camera.state
        self._gather(camera)
        state.look += 1
        state.driven_s = 0.0
        found = compare(
            self._reference,
            state.sample,
            alpha=spent(self.spec.alpha, state.look),
            margin=self.spec.margin,
            before=state.found,
        )
        state.found = found.found
        self._latest = {**self._latest, name: CameraDrift(found.advice, found.shifts(), state.look)}
        self._say(name, camera, found)
        self._save(name, camera)

    def _say(self, name: str, camera: _Camera, found: Comparison) -> None:
        what = found.advice.what
        if camera.incident is not None and camera.incident.cause == what:
            return
        now = "is as it was calibrated again" if what == "none" else f"now calls for: {what}"
        self._end(camera, f"{name}: {now}")
        if what != "none":
            camera.incident = Incident("drift", what, f"{name}: {found.advice.sentence}", name)
            camera.state.incident = camera.incident.to_json()
            self._tell(camera.incident)

    def _end(self, camera: _Camera, detail: str) -> None:
        incident, camera.incident = camera.incident, None
        camera.state.incident = None
        if incident is not None:
            self._tell(incident.ended(detail))

    def _save(self, name: str, camera: _Camera) -> None:
        """Raises OutputError: the disk refuses; what is known is then known until the run ends."""
        camera.state.save(state_path(self._folder, name), self._reference.digest)

    def _tell(self, incident: Incident) -> None:
        if self.on_incident is not None:
            self.on_incident(incident)


def _incident_of(state: WatchState, name: str) -> Incident | None:
    """The incident that lasted when the state was saved."""
    known = state.incident
    if known is None:
        return None
    values = [known.get(key) for key in ("cause", "detail", "id", "start_ns")]
    if not (all(isinstance(value, str) for value in values[:3]) and isinstance(values[3], int)):
        return None
    incident = Incident("drift", str(values[0]), str(values[1]), name, int(values[3]))
    return replace(incident, id=str(values[2]))
