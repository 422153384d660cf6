"""The section about keeping the model fresh from the drives that were logged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevad.service.options import NAME, NAME_WORDS, Section, option

__all__ = ["RefitConfig"]


@dataclass(frozen=True)
class RefitConfig(Section):
    """[refit], for `CycleOptions`; read by `edgevad recalibrate|adapt|refit --config FILE`"""

    depth: Literal["auto", "recalibrate", "adapt", "refit"] = option(
        "How much of the model edgevad refit may change; auto: what drift calls for.", "auto"
    )
    drives: Path | None = option("Folder of drives; without it that of [drives].", None, example="/data/drives")
    model: Path | None = option(
        "Model folder that the bundle was exported from, for adapt and refit; without it the one that is known of.",
        None,
        example="model",
    )
    cameras: tuple[str, ...] = option("Only these; empty: all.", (), pattern=NAME, words=NAME_WORDS)
    since_days: float | None = option("Only drives of so many days.", None, above=0, high=3653, example=30.0)
    budget_frames: int = option(
        "So many frames are chosen at most, a fifth of them for the gate.", 2500, low=100, high=200_000
    )
    budget_minutes: float = option(
        "Of work in one run, pauses left out; 0: no limit.", 60.0, low=0, high=100_000, zero_is_none=True
    )
    while_idle: bool = option("Work only while the vehicle does not need the machine.", True)
    busy_file: Path | None = option(
        "A file that is there while the vehicle drives; without it, it drives while cameras give frames.",
        None,
        example="/run/ignition",
    )
    longest_wait_h: float = option("So long it waits for the machine to be idle.", 12.0, above=0, high=1000)
    shadow_frames: int = option(
        "Live frames that a challenger is tried on beside the champion before it is activated; 0: none.",
        0,
        low=0,
        high=10_000_000,
    )
    blur: str | None = option(
        "What makes people unrecognisable before a frame is kept: a plug-in of the group edgevad.blur, or the path of "
        "a face detector's model.",
        None,
        example="/etc/edgevad/face_detection_yunet.onnx",
    )
    sign_key_file: Path | None = option(
        "Private key to sign with; a device that trusts keys runs nothing else, not even its own.",
        None,
        example="device.pem",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        from edgevad.refit.cycle_options import CycleOptions

        yield from self.refusals(CycleOptions)
