"""What a model is made of: frozen, in JSON beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from edgevad.errors import ModelError, OptionError
from edgevad.spec import InputSpec, MotionSpec

__all__ = ["PRESETS", "Appearance", "Decoder", "ModelConfig", "Motion", "Part", "Score", "preset"]

Appearance = Literal["log", "gray", "color", "none"]
Motion = Literal["auto", "none", "difference", "flow"]
Decoder = Literal["linear", "conv"]
Score = Literal["parts", "patch", "mse", "pcc"]
Part = Literal["residual", "detail", "motion", "view", "patch", "mse", "pcc"]


@dataclass(frozen=True)
class ModelConfig:
    """A convolutional autoencoder and what it looks at.

    Attributes:
        appearance: "log", log(gray + log_offset); "gray"; "color", three channels; "none", motion only.
        motion: "none", "difference" (of gray levels), "flow" (magnitude of DIS optical flow, pixels per second), or
            "auto": flow where the camera stands still, none where it moves; training decides (`camera_decision`).
        motion_lags_ms: one motion channel per lag.
        flow_width_px: longer side at which flow is computed.
        size_px: frames are resampled to size_px by size_px; a multiple of 2**depth.
        width: channels of the first convolution; they double at each level up to 4 * width.
        depth: how often the encoder halves the image.
        latent: dimensions of the latent.
        decoder: "linear", mean + z W, started from PCA templates, or "conv", upsampling by nearest neighbour + conv.
        score: what a frame is judged by: "parts", several scores each calibrated by itself, of which the one that
            stands out most counts (docs/method.md); or one alone: "patch" (largest local error), "mse" or "pcc"
            (1 - Pearson correlation, the paper's). With "parts" motion is a part of its own and never goes through
            the network; with the others it is one more channel of it.
        log_offset: added to gray in [0, 1] before the logarithm; about the sensor's noise floor.
        cell_px: side of the cells that local errors are averaged over, in pixels at size_px.
        halve_memory_above_px: larger frames are remembered at half their size (`memory_px`).
    """

    appearance: Appearance = "log"
    motion: Motion = "auto"
    motion_lags_ms: tuple[int, ...] = (200,)
    flow_width_px: int = 360
    size_px: int = 64
    width: int = 16
    depth: int = 4
    latent: int = 64
    decoder: Decoder = "linear"
    score: Score = "parts"
    log_offset: float = 0.03
    cell_px: int = 8
    halve_memory_above_px: int = 96

    def __post_init__(self) -> None:
        for name, kind in (("appearance", Appearance), ("motion", Motion), ("decoder", Decoder), ("score", Score)):
            if getattr(self, name) not in get_args(kind):
                raise OptionError(
                    f"unknown {name} {getattr(self, name)!r}", expected="one of " + ", ".join(get_args(kind))
                )
        if self.appearance == "none" and self.score == "parts":
            raise OptionError(
                "the score 'parts' compares what a frame looks like, and the appearance is none",
                fix="Give it an appearance, or another score: patch, mse or pcc",
            )
        if self.appearance == "none" and self.motion in ("none", "auto"):
            raise OptionError("the model would look at nothing", fix="Give it an appearance or a motion channel")
        for name in ("size_px", "width", "depth", "latent", "cell_px", "halve_memory_above_px"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}", expected="1 or more")
        if self.size_px % 2**self.depth or self.size_px < 16:
            raise OptionError(
                f"input size {self.size_px} px with depth {self.depth}",
                expected=f"a multiple of {2**self.depth}, at least 16",
            )
        if self.cell_px % 2 or self.cell_px > self.size_px:
            raise OptionError(f"cells of {self.cell_px} px", expected=f"an even number up to {self.size_px}")
        if (self.size_px - self.cell_px) % (self.cell_px // 2):
            raise OptionError(
                f"cells of {self.cell_px} px, half a cell apart, do not reach the edge of {self.size_px} px",
                expected="a multiple of half a cell",
            )
        if not self.log_offset > 0:
            raise OptionError(f"log offset {self.log_offset}", expected="a number above 0")
        _ = self.input  # checks lags and flow width

    @property
    def input(self) -> InputSpec:
        motion = None
        if self.motion == "flow" or self.motion == "difference":
            motion = MotionSpec(self.motion, self.motion_lags_ms, self.flow_width_px)
        return InputSpec(self.size_px, self.size_px, motion)

    @property
    def memory_px(self) -> int:
        """Side of the frames that the memory compares; size_px where the score has none.

        Half of size_px above halve_memory_above_px, so long as half a cell is a whole number of pixels then, too
        (cell_px a multiple of 4): `detail` has the cells of `residual`.
        """
        large = self.score == "parts" and self.size_px > self.halve_memory_above_px
        return self.size_px // 2 if large and self.cell_px % 4 == 0 else self.size_px

    @property
    def appearance_channels(self) -> int:
        return {"log": 1, "gray": 1, "color": 3, "none": 0}[self.appearance]

    @property
    def motion_channels(self) -> int:
        """Channels of the motion input; 0 while "auto" is not decided."""
        return 0 if self.motion in ("none", "auto") else len(self.motion_lags_ms)

    @property
    def channels(self) -> int:
        """Channels that go through the network."""
        return self.appearance_channels + (0 if self.score == "parts" else self.motion_channels)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Columns of the frame score, in order; those that have a heatmap stand first."""
        if self.score != "parts":
            return (self.score,)
        return ("residual", "detail", "motion", "view") if self.motion_channels else ("residual", "detail", "view")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ModelConfig:
        """Raises ModelError where `value` is not what `to_json` wrote."""
        try:
            lags = tuple(int(lag) for lag in value["motion_lags_ms"])
            # Models from before memories were halved remember at full size, and do not say so.
            return cls(**{"halve_memory_above_px": value["size_px"], **value, "motion_lags_ms": lags})
        except (KeyError, TypeError, ValueError, OptionError) as error:
            raise ModelError(f"the model's configuration does not hold together: {error}") from error


# Multiply-adds a frame at one appearance channel, the bank included: nano 2.5 M, small 5.3 M, base 37 M.
PRESETS: dict[str, ModelConfig] = {
    "nano": ModelConfig(width=8, latent=48),
    "small": ModelConfig(),
    "base": ModelConfig(size_px=96, width=32, latent=128, cell_px=12),
}


def preset(name: str, **changes: Any) -> ModelConfig:
    """A named configuration, with fields replaced.

    Raises:
        OptionError: there is no such preset, or a field does not fit.
    """
    if name not in PRESETS:
        raise OptionError(f"unknown preset {name!r}", expected="one of " + ", ".join(PRESETS))
    base = PRESETS[name]
    if "size_px" in changes and "cell_px" not in changes:  # cells keep their share of the image
        changes["cell_px"] = max(2, 2 * round(changes["size_px"] * base.cell_px / base.size_px / 2))
    return replace(base, **changes)
