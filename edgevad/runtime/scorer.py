"""A model that is ready to score: engine, input, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgevad.bundle.bundle import Bundle, TrainingScores
from edgevad.bundle.manifest import Calibration
from edgevad.errors import OptionError
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.window import WindowSpec
from edgevad.spec import InputSpec

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["Scorer"]


@dataclass(frozen=True)
class Scorer:
    """Everything between a prepared frame and a verdict on it; a context manager that closes its backend.

    Attributes:
        name: what people call the model.
        path: where it came from (bundle or model folder), for messages.
        input: what the backend wants to be fed.
        calibration: window, statistics and threshold.
        backend: the inference engine.
        training_scores: reads the frame scores of the training recording.
        engine: the backend's name and the graph's precision, for people: "onnxruntime, int8".
        digest: of the bundle, hexadecimal; empty for a model folder.
    """

    name: str
    path: str
    input: InputSpec
    calibration: Calibration
    backend: Backend
    training_scores: Callable[[], TrainingScores]
    engine: str = ""
    digest: str = ""

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle | str | PathLike[str],
        *,
        backend: str | None = None,
        threads: int | None = None,
        on_build: BuildProgress | None = None,
    ) -> Scorer:
        """Open a bundle (unless it is open already), load its graph into an inference engine and let that prove itself.

        `backend`, `threads` and `on_build` as for `open_backend`. The proof, a few frames of the self-test in this very
        engine, is left out where `bundle` is open and has passed its self-test in such an engine already.

        Raises:
            OptionError: there is no such backend.
            BundleError: the bundle is missing or broken, or its self-test gives other scores in this engine.
            BackendError: the engine refuses the graph.
        """
        from edgevad.runtime.backends.opening import open_backend, precision_in
        from edgevad.runtime.selftest import QUICK_FRAMES, prove

        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        manifest = opened.manifest
        engine = open_backend(opened, backend, threads=threads, on_build=on_build)
        name = manifest.backend if backend is None else backend
        if name not in opened.proved:
            try:
                prove(opened, engine, frames=QUICK_FRAMES)
            except BaseException:
                engine.close()
                raise
            opened.proved.add(name)
        return cls(
            manifest.name,
            str(opened.path),
            manifest.input,
            manifest.calibration,
            engine,
            opened.training_scores,
            f"{name}, {precision_in(opened, name)}",
            opened.digest,
        )

    def recalibrated(
        self,
        *,
        window: WindowSpec | None = None,
        alarms_per_hour: float | None = None,
        threshold: float | None = None,
    ) -> Scorer:
        """The same model on the same backend with another window, false-alarm budget or threshold.

        Another window or budget is calibrated anew from the training scores. A `threshold`, in units of the anomaly
        score, is taken as it is. None keeps what there is.

        Raises:
            OptionError: the budget cannot be met with this window, or the threshold is not finite.
        """
        calibration = self.calibration
        if window is not None or alarms_per_hour is not None:
            from edgevad.calibration import calibrate

            rows = self.training_scores()
            calibration = calibrate(
                rows.score,
                rows.timestamp_ns,
                rows.segment,
                calibration.window if window is None else window,
                calibration.alarms_per_hour if alarms_per_hour is None else alarms_per_hour,
                parts=calibration.names,
                margins=[part.margin for part in calibration.parts],
            )
        if threshold is not None:
            if not math.isfinite(threshold):
                raise OptionError(f"threshold {threshold}", expected="a finite number")
            calibration = replace(calibration, threshold=float(threshold))
        return replace(self, calibration=calibration)

    def adjusted(
        self,
        *,
        window: str | None = None,
        window_s: float | None = None,
        alarms_per_hour: float | None = None,
        threshold: float | None = None,
    ) -> Scorer:
        """As `recalibrated`, with the window's kind and length (seconds) by themselves; None keeps what there is."""
        old = self.calibration.window
        kind: Any = old.kind if window is None else window  # WindowSpec refuses what is none
        spec = WindowSpec(kind, old.length_s if window_s is None else window_s)
        return self.recalibrated(
            window=None if spec == old else spec, alarms_per_hour=alarms_per_hour, threshold=threshold
        )

    def close(self) -> None:
        """Release the backend. May be called twice."""
        self.backend.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
