"""Whether a camera's lens shows anything to judge: black, frozen, covered and blurred pictures are told from real ones.

All is measured on the model-size image at 64 x 64 pixels and on a few rows of the full frame, against fixed limits and
against the camera's own long-run level, which is learned from frames that show no fault.

- *black*: all but a few pixels are dark. Known at once.
- *frozen*: the frame is byte for byte the last one. A sensor's noise never repeats, a recording's encoder seldom.
- *covered*: nearly all places of the picture have lost their structure. Known at once.
- *blurred*: fine detail is far below what the coarse structure promises, and stays so: motion blurs for a moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from edgevad.errors import OptionError
from edgevad.events.incident import Incident
from edgevad.runtime.evidence import TINY_S, Evidence, Level
from edgevad.runtime.picture import gray_of, sharpness, structured_share
from edgevad.sources.frame import Frame, Image

__all__ = ["LensFault", "LensMonitor", "LensSpec", "LensVerdict"]

LensFault = Literal["black", "frozen", "covered", "blurred"]

# As long as nothing has been learned of a camera, only what no working camera shows is a fault.
_UNLEARNED_SHARPNESS = 0.12
_UNLEARNED_STRUCTURE = 0.05
_SAMPLED_ROWS = 16
_SLACK = 1.25
# A longer pause between two frames of a segment says no more than this about the time between.
_LONGEST_STEP_S = 2.0


@dataclass(frozen=True)
class LensSpec:
    """What counts as a fault of the lens, and for how long it has to last.

    Attributes:
        black_level: gray level, 0 to 255, below which a pixel is dark.
        black_share: share of pixels that may be brighter in a black picture.
        black_s: seconds of black pictures before they are reported.
        still_s: seconds of identical frames before they are judged no more.
        frozen_s: the same before they are reported; longer than the time between a stream's key frames, between which
            an encoder may repeat a world that stands still.
        covered_share: share of the picture's places that may still show structure in a covered one.
        covered_ratio: the same, as a share of the camera's own long-run level.
        covered_s: seconds of covered pictures before they are reported.
        blurred_sharpness: fine detail over coarse structure above which no picture is blurred.
        blurred_ratio: the same, as a share of the camera's own long-run level.
        blurred_s: seconds of blurred pictures before they are reported.
        recover_s: seconds of good pictures before a reported fault is over.
        learn_s: seconds of good pictures before the camera's own level counts.
        memory_s: time constant of that level, in seconds.

    Raises:
        OptionError: a value is out of its range.
    """

    black_level: float = 16.0
    black_share: float = 0.005
    black_s: float = 1.0
    still_s: float = 2.0
    frozen_s: float = 5.0
    covered_share: float = 0.15
    covered_ratio: float = 0.25
    covered_s: float = 2.0
    blurred_sharpness: float = 0.25
    blurred_ratio: float = 0.6
    blurred_s: float = 3.0
    recover_s: float = 1.0
    learn_s: float = 10.0
    memory_s: float = 120.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            name = one.name.replace("_", " ").removesuffix(" s")
            if one.name == "black_level":
                low, high, unit = 0.0, 255.0, "a gray level"
            elif one.name.endswith("_s"):
                low, high, unit = (1.0 if one.name == "memory_s" else 0.0), 86_400.0, "a number of seconds"
            else:
                low, high, unit = 0.0, 1.0, "a number"
            if not (math.isfinite(value) and low <= value <= high):
                raise OptionError(f"lens: {name} of {value}", expected=f"{unit} from {low:g} to {high:g}")


@dataclass(frozen=True, slots=True)
class LensVerdict:
    """What one frame shows of the lens.

    Attributes:
        fault: why the frame shows nothing to judge, or None: keep it from window and detector.
        incident: one of kind "camera_fault" that is certain since this frame, or, with the same id, over.
        repeats: the frame is byte for byte the last one: it says nothing that was not known.
    """

    fault: LensFault | None = None
    incident: Incident | None = None
    repeats: bool = False


_GOOD = LensVerdict()


class LensMonitor:
    """Follows one camera; constant in memory, and about 0.1 ms a frame.

    A new segment forgets what was under way, not the camera's long-run level; another source forgets that, too.
    """

    def __init__(self, spec: LensSpec | None = None) -> None:
        self.spec = LensSpec() if spec is None else spec
        holds: dict[LensFault, float] = {
            "black": self.spec.black_s,
            "frozen": self.spec.frozen_s,
            "covered": self.spec.covered_s,
            "blurred": self.spec.blurred_s,
        }
        self._evidence = {fault: Evidence(hold_s, self.spec.recover_s) for fault, hold_s in holds.items()}
        self._stream: tuple[str, int] | None = None
        self._last_ns = 0
        self._last: tuple[Image, Image] | None = None  # rows of the frame, and it at model size
        self._seen: LensFault | None = None  # in the last frame by itself, frozen left aside
        self._open: tuple[LensFault, Incident] | None = None
        self._forget()

    def push(self, frame: Frame, small: Image) -> LensVerdict:
        """Take the next frame, and `small`, (h, w, 3) uint8, the same at model size."""
        ended = self._enter(frame)
        now_ns = frame.timestamp_ns
        elapsed_s = min(max(now_ns - self._last_ns, 0) / 1e9, _LONGEST_STEP_S)
        repeats = self._repeats(frame.image, small)
        if not repeats:
            self._seen = self._look(small, elapsed_s)
        for fault, evidence in self._evidence.items():
            if fault == "frozen":
                evidence.add(repeats, self._last_ns, now_ns, elapsed_s)
                # A new picture proves that the camera lives, so identical ones have to come in a row.
                if not repeats and not evidence.is_certain:
                    evidence.clear()
            else:
                # Under a dark cover one frame is black and the next just not.
                seen = fault == self._seen or (fault == "covered" and self._seen == "black")
                evidence.add(seen, now_ns, now_ns, elapsed_s)
        self._last_ns = now_ns
        incident = ended or self._tell(frame)
        shown = self._at_once() if self._open is None else self._open[0]
        if shown is None and incident is None and not repeats:
            return _GOOD
        return LensVerdict(shown, incident, repeats)

    @property
    def evidence(self) -> dict[LensFault, float]:
        """How near each fault is to being reported, in [0, 1]; 1 while it is."""
        return {fault: evidence.share for fault, evidence in self._evidence.items()}

    def learn_again(self) -> None:
        """Frames come at another model size from now on: what was measured of the camera does not hold for them.

        A fault that was reported lasts until good pictures end it.
        """
        self._forget()

    def finish(self) -> Incident | None:
        """The camera gives no more frames: the fault that was under way, over with its last frame, or None."""
        if self._open is None:
            return None
        _, incident = self._open
        self._open = None
        return incident.ended(end_ns=self._last_ns)

    def _enter(self, frame: Frame) -> Incident | None:
        stream = (frame.source_id, frame.segment)
        if stream == self._stream:
            return None
        ended = self.finish()
        if self._stream is None or stream[0] != self._stream[0]:
            self._forget()
        self._stream, self._last_ns = stream, frame.timestamp_ns
        self._last = self._seen = None
        for evidence in self._evidence.values():
            evidence.clear()
        return ended

    def _forget(self) -> None:
        self._sharpness = Level(self.spec.memory_s)
        self._structure = Level(self.spec.memory_s)

    def _repeats(self, image: Image, small: Image) -> bool:
        # A few rows to the byte, where noise always is, and all of the frame averaged, where a change may be elsewhere.
        rows = image[:: max(1, len(image) // _SAMPLED_ROWS)]
        repeats = self._last is not None and all(
            last.shape == now.shape and np.array_equal(last, now)
            for last, now in zip(self._last, (rows, small), strict=True)
        )
        if not repeats:
            self._last = (rows.copy(), small.copy())
        return repeats

    def _look(self, small: Image, elapsed_s: float) -> LensFault | None:
        """What the picture shows by itself, against what is known of the camera."""
        spec = self.spec
        gray = gray_of(small)
        if np.count_nonzero(gray >= spec.black_level) <= spec.black_share * gray.size:
            return "black"
        structure = structured_share(gray)
        learned = self._structure.seconds >= spec.learn_s
        limit = min(spec.covered_share, spec.covered_ratio * self._structure.value) if learned else _UNLEARNED_STRUCTURE
        if structure <= limit * self._slack("covered"):
            return "covered"
        sharp = sharpness(gray)
        if sharp is not None:
            sharpest = min(spec.blurred_sharpness, spec.blurred_ratio * self._sharpness.value)
            if sharp <= (sharpest if learned else _UNLEARNED_SHARPNESS) * self._slack("blurred"):
                return "blurred"
            self._sharpness.add(sharp, elapsed_s)
        self._structure.add(structure, elapsed_s)
        return None

    def _slack(self, fault: LensFault) -> float:
        """A fault that has been reported is over only well beyond the limit at which it began."""
        return _SLACK if self._open is not None and self._open[0] == fault else 1.0

    def _at_once(self) -> LensFault | None:
        # A picture that shows nothing says so by itself; standstill and blur have to last before they say anything.
        if self._seen in ("black", "covered"):
            return self._seen
        still = self._evidence["frozen"]
        return "frozen" if not still.is_none and still.seconds >= self.spec.still_s - TINY_S else None

    def _tell(self, frame: Frame) -> Incident | None:
        if self._open is not None:
            fault, incident = self._open
            evidence = self._evidence[fault]
            if not evidence.is_none:
                return None
            self._open = None
            for other in self._evidence.values():
                if other.last_ns != frame.timestamp_ns:
                    other.clear()
            lasted_s = (evidence.last_ns - incident.start_ns) / 1e9
            detail = f"{frame.source_id}: gives a picture to judge again, after {lasted_s:.1f} s"
            return incident.ended(detail, end_ns=evidence.last_ns)
        for fault, evidence in self._evidence.items():
            if evidence.is_certain:
                detail = f"{frame.source_id}: {_WORDS[fault]}; its frames are not judged until this is over"
                incident = Incident("camera_fault", fault, detail, frame.source_id, evidence.start_ns)
                self._open = (fault, incident)
                return incident
        return None


_WORDS: dict[LensFault, str] = {
    "black": "the picture is black",
    "frozen": "the picture stands still, every frame is the same",
    "covered": "the lens is covered, the picture shows no structure",
    "blurred": "the picture is blurred (dirt, mist or focus)",
}
