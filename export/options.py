"""What can be asked of an export, and who is told how it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgevad.calibration.guard import GuardLimits
from edgevad.calibration.ranges import range_methods
from edgevad.errors import OptionError

if TYPE_CHECKING:
    from edgevad.model.cache import FrameCache

__all__ = ["ExportObserver", "ExportOptions"]

PRECISIONS = ("auto", "int8", "fp16", "fp32")


@dataclass(frozen=True)
class ExportOptions:
    """How a graph is made smaller, and how much it may change by that.

    Attributes:
        precision: "int8", "fp16", "fp32", or "auto": the first of the target's that the guard lets pass.
        drives: recordings to quantise by and to try the result on; empty for those the model was trained on.
        fps_hz: frame rate of image folders among them.
        calibration_frames: how many frames to quantise by.
        range_method: "minmax", "mse", "percentile", "entropy", or "auto": the first three in turn.
        limits: how much the guard lets pass.
        labels: label file of the one drive, for the guard's AUROC; None for none.
        backend: inference engine on a CPU, "onnxruntime" or "openvino"; None for the target's.
        replay: put frames that the model learned from into the bundle, for the gate of what it learns later.
        frames: frames to quantise by and to try the result on that were chosen already, instead of drives.
        kept: folder for what may serve the next export; None keeps nothing.
    """

    precision: str = "auto"
    drives: tuple[str, ...] = ()
    fps_hz: float | None = None
    calibration_frames: int = 300
    range_method: str = "auto"
    limits: GuardLimits = field(default_factory=GuardLimits)
    labels: Path | None = None
    backend: str | None = None
    replay: bool = True
    frames: FrameCache | None = None
    kept: Path | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"unknown precision {self.precision!r}", expected="one of " + ", ".join(PRECISIONS))
        if self.range_method not in ("auto", *range_methods()):
            expected = "one of auto, " + ", ".join(range_methods())
            raise OptionError(f"unknown range method {self.range_method!r}", expected=expected)
        if self.fps_hz is not None and not self.drives:
            raise OptionError("a frame rate, and no drive that it is of", fix="Name the drive, too: --calib DRIVE")
        if not 30 <= self.calibration_frames <= 10_000:
            raise OptionError(f"{self.calibration_frames} calibration frames", expected="30 to 10000")
        if self.frames is not None and self.drives:
            raise OptionError("drives to quantise by, and frames that were chosen already", expected="either")
        if self.labels is not None and len(self.drives) != 1:
            raise OptionError("labels are of one recording", expected="exactly one drive beside them (--calib)")


class ExportObserver:
    """Gets told how an export goes; the default says nothing. The command line draws a progress bar with it."""

    def stage(self, what: str, total: int | None = None) -> None:
        """Something begins, with `total` frames to go if that is known."""

    def advance(self, done: int) -> None:
        """`done` frames of it are over."""
