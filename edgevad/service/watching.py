"""Sections about the watching itself: the lens, how many frames a second are looked at, and a new bundle's trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgevad.service.options import Section, option

if TYPE_CHECKING:
    from edgevad.bundle import Manifest
    from edgevad.runtime.governor import GovernorSpec
    from edgevad.runtime.trial import TrialSpec
    from edgevad.targets import Target

__all__ = ["DriftConfig", "GovernorConfig", "LearningConfig", "LensConfig", "TrialConfig"]

_DAY_S = 86_400.0


@dataclass(frozen=True)
class LensConfig(Section):
    """[lens], for `LensSpec`"""

    black_level: float = option("Gray level below which a pixel is dark.", 16.0, low=0, high=255)
    black_share: float = option("Share of pixels that may be brighter in a black picture.", 0.005, low=0, high=1)
    black_s: float = option("Black pictures for so long are reported.", 1.0, low=0, high=_DAY_S)
    still_s: float = option("Identical frames for so long are judged no more.", 2.0, low=0, high=_DAY_S)
    frozen_s: float = option("Identical frames for so long are reported.", 5.0, low=0, high=_DAY_S)
    covered_share: float = option(
        "Share of the picture's places that may still show structure in a covered one.", 0.15, low=0, high=1
    )
    covered_ratio: float = option("The same, as a share of the camera's long-run level.", 0.25, low=0, high=1)
    covered_s: float = option("Covered pictures for so long are reported.", 2.0, low=0, high=_DAY_S)
    blurred_sharpness: float = option(
        "Fine detail over coarse structure above which no picture is blurred.", 0.25, low=0, high=1
    )
    blurred_ratio: float = option("The same, as a share of the camera's long-run level.", 0.6, low=0, high=1)
    blurred_s: float = option("Blurred pictures for so long are reported.", 3.0, low=0, high=_DAY_S)
    recover_s: float = option("Good pictures for so long end what was reported.", 1.0, low=0, high=_DAY_S)
    learn_s: float = option("Good pictures before the camera's own level counts.", 10.0, low=0, high=_DAY_S)
    memory_s: float = option("Time constant of that level.", 120.0, low=1, high=_DAY_S)


@dataclass(frozen=True)
class GovernorConfig(Section):
    """[governor], for `GovernorSpec`"""

    latency_budget_ms: float | None = option(
        "What 95 % of the frames may take from camera to score; 0: no limit; without it the target's of the bundle.",
        None,
        low=0,
        high=60_000,
        zero_is_none=True,
        example=100.0,
    )
    latency_window_s: float = option("Time over which these 95 % are counted.", 5.0, low=0.1, high=_DAY_S)
    latency_recovery: float = option("The rate rises again below this share of it.", 0.7, low=0.05, high=1)
    temperature_limit_c: float = option(
        "What the hottest zone may reach; 0: no limit.", 85.0, low=0, high=150, zero_is_none=True
    )
    temperature_margin_c: float = option("So far below it the rate rises again.", 5.0, low=0.5, high=100)
    steps_hz: tuple[float, ...] = option(
        "Frames a second and camera, falling; the last one is never gone below.",
        (15.0, 10.0, 5.0, 2.0),
        above=0,
        high=1000,
    )
    latency_hold_s: float = option("Between two changes because of latency.", 10.0, low=0.1, high=_DAY_S)
    temperature_hold_s: float = option("Between two changes because of heat.", 20.0, low=0.1, high=_DAY_S)
    climb_s: float = option("All is well for so long before the rate rises by a step.", 30.0, low=0.1, high=_DAY_S)
    longest_climb_s: float = option(
        "What that grows to where steps up had to be taken back.", 600.0, low=0.1, high=_DAY_S
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        from edgevad.runtime.governor import GovernorSpec

        yield from self.refusals(GovernorSpec)

    def spec(self, target: Target) -> GovernorSpec:
        """For a bundle that was made for `target`. Raises OptionError where the values contradict each other."""
        from edgevad.runtime.governor import governor_spec_for

        return replace(governor_spec_for(target), **self.given())


@dataclass(frozen=True)
class TrialConfig(Section):
    """[trial], for `TrialSpec`"""

    minutes: float = option(
        "Of scoring, in which a newly activated bundle may be gone back from; 0: it is not watched.",
        20.0,
        low=0,
        high=10_080,
    )
    crash_limit: int = option("So many starts that end in a crash send it back.", 3, low=1, high=100)
    latency_budget_ms: float | None = option(
        "What 95 % of the frames may take this machine, preparing and scoring; 0: no limit; without it the target's of "
        "the bundle.",
        None,
        low=0,
        high=60_000,
        zero_is_none=True,
        example=100.0,
    )
    latency_window_s: float = option("Time over which these 95 % are counted.", 30.0, low=1, high=3600)
    alarms_per_hour: float | None = option(
        "Events that an hour of a camera may raise; without it what the threshold was calibrated for.",
        None,
        above=0,
        high=3600,
        example=1.0,
    )
    alarm_ratio: float = option(
        "More events than chance allows at so many times that rate send it back.", 3.0, low=1, high=1000
    )
    alarm_share: float = option("So does this share of the time inside events.", 0.5, low=0.01, high=1)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        from edgevad.runtime.trial import TrialSpec

        yield from self.refusals(TrialSpec)

    def spec(self, manifest: Manifest | None, alarms_per_hour: float | None = None) -> TrialSpec:
        """For the bundle of this manifest, at a threshold of this budget (None: it was given by hand).

        Raises OptionError where the values contradict each other.
        """
        from edgevad.runtime.trial import TrialSpec

        defaults = TrialSpec(alarms_per_hour=alarms_per_hour)
        if manifest is not None:
            defaults = replace(defaults, latency_budget_ms=manifest.device().latency_budget_ms)
        return replace(defaults, **self.given())


@dataclass(frozen=True)
class DriftConfig(Section):
    """[drift], for `WatchSpec`"""

    compared_s: float = option(
        "So much driving of each camera is compared with the bundle's calibration.", 3600.0, low=60, high=_DAY_S
    )
    look_s: float = option("Driving between two looks.", 900.0, low=10, high=_DAY_S)
    alpha: float = option(
        "Chance that anything is ever told of a camera though nothing has drifted.", 0.05, low=0.0001, high=0.5
    )
    margin: float = option("How far a probability may move from 0.5 before that is drift.", 0.15, low=0, high=0.45)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.look_s > self.compared_s:
            yield "look_s", "is longer than compared_s. Lower it"


@dataclass(frozen=True)
class LearningConfig(Section):
    """[learning], for `SlowSpec`"""

    every_s: float = option("Of each camera at most one frame in so long is remembered.", 60.0, low=1, high=_DAY_S)
    quiet_s: float = option("No event so long before such a frame, nor after it.", 60.0, low=5, high=3600)
    per_day: int = option("Frames that are remembered in a day, at most.", 200, low=1, high=5000)
    most_share: float = option("Share of what is remembered that may be learnt on the road.", 0.25, low=0.01, high=0.5)
