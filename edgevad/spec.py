"""What a model wants to be fed: shared by the trainer, the bundle's manifest and the runtime. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from edgevad.errors import OptionError

__all__ = ["EXCLUDED", "NEAREST_EPISODES", "BankShape", "InputSpec", "MotionKind", "MotionSpec"]

MotionKind = Literal["difference", "flow"]
# Episodes, entries in each, values of an entry (coordinates and one more).
BankShape = tuple[int, int, int]
# As many are looked up for every frame.
NEAREST_EPISODES = 5
# Squared norm of an entry that must not count: padding, and what lies too near in time. Far beyond any real one.
EXCLUDED = 1e6


@dataclass(frozen=True)
class MotionSpec:
    """Motion channels, computed from the frame and earlier frames of the same segment before the graph sees them.

    Attributes:
        kind: "difference", absolute difference of gray levels (units of 1/255) at model size, or "flow", magnitude
            of DIS optical flow in pixels per second, computed at `width_px` and area-averaged to model size.
        lags_ms: how far back each channel looks, in milliseconds; one channel a lag.
        width_px: longer side at which flow is computed; recordings that are smaller keep their own size.
    """

    kind: MotionKind
    lags_ms: tuple[int, ...] = (200,)
    width_px: int = 360

    def __post_init__(self) -> None:
        if self.kind not in get_args(MotionKind):
            raise OptionError(f"unknown kind of motion {self.kind!r}", expected="one of difference, flow")
        if not self.lags_ms or any(lag <= 0 for lag in self.lags_ms):
            raise OptionError(f"motion lags {self.lags_ms} ms", expected="one or more positive numbers")
        if self.width_px < 16:
            raise OptionError(f"flow width {self.width_px} px", expected="at least 16")

    @property
    def channels(self) -> int:
        return len(self.lags_ms)


@dataclass(frozen=True)
class InputSpec:
    """Shape of what the scoring graph takes.

    Attributes:
        height_px, width_px: size that frames are area-resampled to; the aspect ratio is not kept.
        motion: how to compute the `motion` input, or None where the model does not use it.
        bank: shape of the `bank` input, what the vehicle remembers, or None where the model remembers nothing.
    """

    height_px: int = 64
    width_px: int = 64
    motion: MotionSpec | None = None
    bank: BankShape | None = None

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < 16:
            raise OptionError(
                f"model input of {self.width_px}x{self.height_px} pixels", expected="at least 16 pixels a side"
            )
        if self.bank is not None and (self.bank[0] < NEAREST_EPISODES or min(self.bank) < 1):
            raise OptionError(
                f"a bank of shape {self.bank}", expected=f"at least {NEAREST_EPISODES} episodes of an entry or more"
            )

    def with_bank(self, shape: tuple[int, ...]) -> InputSpec:
        """The same with a bank of this shape, (E, m, d + 1)."""
        episodes, entries, values = shape
        return replace(self, bank=(episodes, entries, values))

    def to_json(self) -> dict[str, Any]:
        motion = None
        if self.motion is not None:
            motion = {
                "kind": self.motion.kind,
                "lags_ms": list(self.motion.lags_ms),
                "width_px": self.motion.width_px,
            }
        bank = None if self.bank is None else list(self.bank)
        size = {"height_px": self.height_px, "width_px": self.width_px}
        return {**size, "color_order": "bgr", "motion": motion, "bank": bank}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> InputSpec:
        """Raises KeyError, TypeError or OptionError where `value` is not what `to_json` wrote."""
        motion = value["motion"]
        if motion is not None:
            motion = MotionSpec(motion["kind"], tuple(int(lag) for lag in motion["lags_ms"]), int(motion["width_px"]))
        if value["color_order"] != "bgr":
            raise OptionError(f"color order {value['color_order']!r}", expected="bgr")
        bank = value["bank"]
        if bank is not None:
            episodes, entries, values = (int(size) for size in bank)
            bank = (episodes, entries, values)
        return cls(int(value["height_px"]), int(value["width_px"]), motion, bank)
