"""The challenger beside the champion on live frames: scored in this process, compared, told to nobody.

The running service gives its frames through a socket (edgevad/runtime/shadow.py). What the challenger makes of them
stays here: it raises no alarm, and where it fails, hangs or is slow, the service never notices.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from edgevad._files import output_errors, write_json
from edgevad.bundle.bundle import Bundle
from edgevad.errors import BackendError
from edgevad.refit.observer import RefitObserver
from edgevad.refit.pace import NotNowError
from edgevad.refit.place import RefitHome
from edgevad.runtime.latency import LatencyHistogram
from edgevad.runtime.preprocess import ModelInput
from edgevad.runtime.reader import PreparedFrame
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.shadow import SHADOW_SOCKET, socket_address
from edgevad.runtime.stream import RawScores, StreamState
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources.frame import Frame

__all__ = ["ShadowReport", "run_shadow"]

_MAX_HEADER_BYTES = 64 << 10
_MAX_SIDE_PX, _MAX_LAGS = 4096, 16
# A challenger may raise so many alarms as come about by chance once in two hundred times.
_LEVEL = 0.995
_SAVE_EVERY = 500
_POLL_S = 1.0


@dataclass(frozen=True)
class ShadowReport:
    """What was seen so far; sums only, so that it can go on after a kill.

    Attributes:
        wanted, frames: frames to be compared, and those that were; `dropped` the challenger was too slow for.
        seconds: of video that they cover, all cameras together, gaps left out.
        champion_events, challenger_events: how often each began to be beyond its threshold.
        both, champion_only, challenger_only: frames inside an event of both, of one only.
        budget_per_hour: false alarms an hour that the challenger is calibrated for.
        p95_s: of the challenger's scoring, on this machine as busy as it was.
        failure: what ended the challenger, in a sentence; None where nothing did.
    """

    wanted: int
    frames: int = 0
    dropped: int = 0
    seconds: float = 0.0
    champion_events: int = 0
    challenger_events: int = 0
    both: int = 0
    champion_only: int = 0
    challenger_only: int = 0
    budget_per_hour: float = 1.0
    p95_s: float = 0.0
    failure: str | None = None

    @property
    def is_over(self) -> bool:
        return self.failure is not None or self.frames >= self.wanted

    @property
    def limit(self) -> int:
        """Alarms that the challenger may raise: what the larger of its budget and the champion's own count lets expect,
        by a Poisson distribution, once in two hundred times."""
        return poisson_limit(max(self.budget_per_hour * self.seconds / 3600, float(self.champion_events)), _LEVEL)

    @property
    def passed(self) -> bool:
        return self.failure is None and self.frames >= self.wanted and self.challenger_events <= self.limit

    @property
    def sentence(self) -> str:
        if self.failure is not None:
            return f"the challenger failed on live frames: {self.failure}"
        return (
            f"on {self.frames} live frames ({self.seconds / 60:.1f} min) the challenger raised "
            f"{self.challenger_events} alarms, the champion {self.champion_events}; at most {self.limit} are let pass"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "limit": self.limit, "passed": self.passed, "sentence": self.sentence}

    @classmethod
    def load(cls, path: Path, wanted: int) -> ShadowReport:
        """What was kept of a run that was cut off; a fresh one where nothing is."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            known = {name: value[name] for name in cls.__dataclass_fields__}
            return replace(cls(**known), wanted=wanted)
        except (OSError, KeyError, TypeError, ValueError):
            return cls(wanted)


def poisson_limit(mean: float, level: float) -> int:
    """The smallest count that a Poisson variable of this mean stays at or below with this probability, at least 1."""
    probability = total = math.exp(-mean)
    number = 0
    while total < level and number < 10 * mean + 100:
        number += 1
        probability *= mean / number
        total += probability
    return max(number, 1)


@dataclass
class _Camera:
    """One camera as the challenger sees it."""

    state: StreamState
    at: tuple[int, int] | None = None  # segment and time of its last frame
    champion_in: bool = False
    challenger_in: bool = False


@dataclass
class _Comparison:
    """Scores what comes, and counts."""

    scorer: Scorer
    report: ShadowReport
    cameras: dict[str, _Camera] = field(default_factory=dict)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    dropped_before: int = 0
    heard_s: float = 0.0  # when the last frame came

    def take(self, header: dict[str, Any], item: ModelInput) -> None:
        """Raises BackendError where the challenger fails."""
        name = str(header["camera"])
        frame = Frame(item.image, int(header["index"]), int(header["timestamp_ns"]), name, int(header["segment"]))
        camera = self.cameras.get(name)
        if camera is None:
            calibration = self.scorer.calibration
            hysteresis = Hysteresis(calibration.threshold)
            state = StreamState(calibration, hysteresis, ids=count(1), lens=None, is_live=False, where=self.scorer.path)
            camera = self.cameras[name] = _Camera(state)
        report = self.report
        at, camera.at = camera.at, (frame.segment, frame.timestamp_ns)
        same = at is not None and at[0] == frame.segment
        seconds = max(frame.timestamp_ns - at[1], 0) / 1e9 if same and at is not None else 0.0
        # The lens showed nothing to the champion: whatever the challenger makes of that would be told to nobody.
        ours = header["fault"] is None and self._is_anomaly(camera, frame, item)
        theirs = bool(header["is_anomaly"])
        dropped = int(header["dropped"])
        self.report = replace(
            report,
            frames=report.frames + 1,
            dropped=report.dropped + max(dropped - self.dropped_before, 0),
            seconds=report.seconds + seconds,
            champion_events=report.champion_events + (theirs and not camera.champion_in),
            challenger_events=report.challenger_events + (ours and not camera.challenger_in),
            both=report.both + (ours and theirs),
            champion_only=report.champion_only + (theirs and not ours),
            challenger_only=report.challenger_only + (ours and not theirs),
            p95_s=self.latency.percentile_s(95),
        )
        self.dropped_before = dropped
        camera.champion_in, camera.challenger_in = theirs, ours

    def _is_anomaly(self, camera: _Camera, frame: Frame, item: ModelInput) -> bool:
        started_s = time.perf_counter()
        copies = self.scorer.backend.batch or 1
        motion = None if item.motion is None else np.stack([item.motion] * copies)
        scores = self.scorer.backend.score(np.stack([item.image] * copies), motion)
        seen = bool(np.isfinite(scores.heatmap[0]).all())
        raw = RawScores(tuple(scores.score[0].tolist()), scores.heatmap[0], seen)
        elapsed_s = time.perf_counter() - started_s
        self.latency.push(elapsed_s)
        heat = next(iter(camera.state.heat([raw])), None)
        result, _ = camera.state.decide(PreparedFrame(frame, item, started_s, 0.0), raw, heat, elapsed_s)
        return result.is_anomaly


def run_shadow(
    challenger: Bundle,
    champion: str,
    frames: int,
    *,
    home: RefitHome,
    kept: Path,
    observer: RefitObserver | None = None,
    longest_wait_s: float = 12 * 3600.0,
    backend: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> ShadowReport:
    """Listen until the running service gave `frames` frames, and compare; where it is stopped, wait for it.

    Args:
        challenger: whose engine is built, and proved, here.
        champion: digest of the bundle that the service is to run.
        kept: file in which the sums so far are kept; what it holds of an earlier run counts.
        longest_wait_s: without a frame for so long it gives up.

    Raises:
        NotNowError: no frames came for so long, or the service runs another bundle.
        OutputError: the socket, or `kept`, cannot be made.
    """
    observer = RefitObserver() if observer is None else observer
    report = replace(ShadowReport.load(kept, frames), budget_per_hour=challenger.manifest.calibration.alarms_per_hour)
    if report.is_over:
        return report
    observer.stage("beside the champion on live frames", frames)
    with _listening(home) as listener:
        try:
            scorer = Scorer.from_bundle(challenger, backend=backend)
        except BackendError as error:
            return _kept(replace(report, failure=str(error)), kept)
        with scorer:
            comparison = _Comparison(scorer, report, heard_s=clock())

            def is_patient() -> bool:
                return clock() - comparison.heard_s <= longest_wait_s

            while not comparison.report.is_over:
                if not is_patient():
                    raise NotNowError(
                        "no camera's frames came from a running service",
                        where=home.path / SHADOW_SOCKET,
                        fix="Start it (edgevad run --config FILE, or the service), or leave --shadow out",
                    )
                with suppress(TimeoutError, ConnectionError):
                    link, _ = listener.accept()
                    with link:
                        for header, item in _heard(link, comparison, champion):
                            if item is not None and _took(comparison, header, item):
                                comparison.heard_s = clock()
                                observer.advance(comparison.report.frames)
                                if comparison.report.frames % _SAVE_EVERY == 0:
                                    _kept(comparison.report, kept)
                            if comparison.report.is_over or not is_patient():
                                break
                _kept(comparison.report, kept)
            return comparison.report


def _kept(report: ShadowReport, kept: Path) -> ShadowReport:
    write_json(kept, report.to_json())
    return report


def _heard(
    link: socket.socket, comparison: _Comparison, champion: str
) -> Iterator[tuple[dict[str, Any], ModelInput | None]]:
    """What the service sends, as long as it does. Raises NotNowError where it runs another bundle."""
    comparison.dropped_before = 0
    link.settimeout(5.0)
    with link.makefile("rb") as stream:
        for header, item in _messages(stream):
            digest = header.get("digest")
            if digest is not None and digest != champion:
                fix = "Restart the service, or take its [run] bundle out, so that it runs the active one"
                raise NotNowError(
                    "the running service uses another bundle than the champion", expected=champion, fix=fix
                )
            yield header, item


def _took(comparison: _Comparison, header: dict[str, Any], item: ModelInput) -> bool:
    """Whether the message was one that can be understood; where the challenger fails, that is put down."""
    try:
        comparison.take(header, item)
    except BackendError as error:
        comparison.report = replace(comparison.report, failure=str(error))
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _messages(stream: Any) -> Iterator[tuple[dict[str, Any], ModelInput | None]]:
    """What comes, until it ends or cannot be understood."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        while len(length := stream.read(4)) == 4:
            size = int.from_bytes(length, "big")
            if size > _MAX_HEADER_BYTES:
                return
            header = json.loads(_exactly(stream, size))
            if header.get("image") is None:
                yield header, None
                continue
            image = _array(stream, header["image"], np.uint8, 3)
            motion = None if header["motion"] is None else _array(stream, header["motion"], np.float32, None)
            yield header, ModelInput(image, motion)


def _array(stream: Any, shape: list[int], kind: Any, channels: int | None) -> Any:
    height, width, depth = (int(side) for side in shape)
    if not (0 < height <= _MAX_SIDE_PX and 0 < width <= _MAX_SIDE_PX and 0 < depth <= (channels or _MAX_LAGS)):
        raise ValueError(f"shape {shape}")
    size = height * width * depth * np.dtype(kind).itemsize
    return np.frombuffer(_exactly(stream, size), kind).reshape(height, width, depth)


def _exactly(stream: Any, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) < size:
        raise ValueError("cut off")
    return data


@contextmanager
def _listening(home: RefitHome) -> Iterator[socket.socket]:
    """The socket that the service looks for, gone when the block ends."""
    path = home.path / SHADOW_SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with socket_address(path) as address:
                listener.bind(address)
            path.chmod(0o600)
            listener.listen(1)
        listener.settimeout(_POLL_S)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
