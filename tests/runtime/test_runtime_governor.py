"""The frame rate goes down where it must, up where it may, by one step at a time and not too often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevad.errors import OptionError
from edgevad.events.incident import Incident
from edgevad.runtime.governor import Governor, GovernorSpec, governor_spec_for
from edgevad.runtime.power import MachineReading
from edgevad.targets import load_target

SPEC = GovernorSpec()
LADDER = (None, *SPEC.steps_hz)


def reading(temperature_c: float | None) -> MachineReading:
    return MachineReading() if temperature_c is None else MachineReading({"cpu": 40.0, "tj": temperature_c})


@dataclass
class Change:
    at_s: float
    rate_hz: float | None
    incident: Incident


class Drive:
    """A governor on a machine of which every frame takes `latency_s` and whose hottest zone has `temperature_c`."""

    def __init__(self, governor: Governor) -> None:
        self.governor = governor
        self.now_s = 0.0
        self.changes: list[Change] = []

    def go(self, seconds: float, latency_s: float | None, temperature_c: float | None = 50.0) -> Drive:
        end_s = self.now_s + seconds
        next_reading_s = self.now_s
        while self.now_s < end_s:
            if self.now_s >= next_reading_s:
                self._note(self.governor.read(reading(temperature_c), self.now_s))
                next_reading_s += 5.0
            if latency_s is not None:
                self._note(self.governor.observe(latency_s, self.now_s))
            self.now_s += 1.0 / (self.governor.rate_hz or 30.0)
        return self

    def _note(self, incident: Incident | None) -> None:
        if incident is not None:
            self.changes.append(Change(self.now_s, self.governor.rate_hz, incident))


@pytest.fixture
def drive() -> Drive:
    return Drive(Governor(SPEC))


def test_all_is_well_nothing_changes(drive: Drive) -> None:
    assert drive.go(600, 0.02).changes == []
    assert drive.governor.rate_hz is None


def test_latency_beyond_the_budget_goes_down_step_by_step_and_says_why(drive: Drive) -> None:
    drive.go(60, 0.2)
    assert [change.rate_hz for change in drive.changes] == [15.0, 10.0, 5.0, 2.0]
    assert all(late.at_s - early.at_s >= SPEC.latency_hold_s for early, late in pairwise(drive.changes))
    first = drive.changes[0].incident
    assert (first.kind, first.cause) == ("frame_rate", "latency")
    assert first.start_ns == first.end_ns
    assert first.detail == (
        "Frame rate lowered from the camera's own to 15 Hz: 95 % of the frames took up to 200 ms, budget 100 ms"
    )


def test_heat_goes_down_and_says_why(drive: Drive) -> None:
    drive.go(30, 0.02, 91.0)
    assert [change.rate_hz for change in drive.changes] == [15.0, 10.0]
    assert drive.changes[0].incident.cause == "temperature"
    assert drive.changes[0].incident.detail.endswith("to 15 Hz: 91 °C, limit 85 °C")


def test_comes_back_when_all_is_well(drive: Drive) -> None:
    drive.go(30, 0.2).go(300, 0.03)
    assert drive.governor.rate_hz is None
    last = drive.changes[-1].incident
    assert last.cause == "recovered"
    assert last.detail == (
        "Frame rate raised from 15 Hz to the camera's own: 95 % of the frames take up to 30 ms, 50 °C"
    )


@pytest.mark.parametrize(("latency_s", "temperature_c"), [(0.08, 50.0), (0.02, 82.0)])
def test_between_the_limits_the_rate_stays(drive: Drive, latency_s: float, temperature_c: float) -> None:
    drive.go(4, 0.2)
    rate_hz = drive.governor.rate_hz
    assert rate_hz is not None
    drive.go(600, latency_s, temperature_c)
    assert drive.governor.rate_hz == rate_hz


def test_few_slow_frames_are_no_reason() -> None:
    governor = Governor(SPEC)
    assert [governor.observe(9.0 if k % 40 == 20 else 0.02, k / 30) for k in range(3000)] == [None] * 3000
    governor = Governor(SPEC)
    assert [governor.observe(9.0, 0.6 * k) for k in range(7)] == [None] * 7


def test_slow_frames_of_long_ago_are_forgotten() -> None:
    governor = Governor(SPEC)
    for k in range(7):
        governor.observe(9.0, 0.1 * k)
    assert all(governor.observe(0.01, 20.0 + 0.1 * k) is None for k in range(100))


def test_a_thermometer_that_vanishes_keeps_the_rate(drive: Drive) -> None:
    drive.go(4, 0.02, 90.0)
    assert drive.governor.rate_hz == 15.0
    drive.go(1200, 0.02, None)
    assert drive.governor.rate_hz == 15.0
    drive.go(60, 0.02, 50.0)
    assert drive.governor.rate_hz is None


def test_without_a_thermometer_latency_alone_decides(drive: Drive) -> None:
    drive.go(4, 0.2, None).go(60, 0.02, None)
    assert [change.rate_hz for change in drive.changes] == [15.0, None]


def test_without_frames_nothing_is_known(drive: Drive) -> None:
    drive.go(4, 0.2)
    changes = len(drive.changes)
    drive.go(600, None)
    assert len(drive.changes) == changes


def test_heat_alone_needs_no_frames() -> None:
    drive = Drive(Governor(replace(SPEC, latency_budget_ms=None)))
    drive.go(10, None, 90.0).go(60, None, 60.0)
    assert [change.rate_hz for change in drive.changes] == [15.0, None]


def test_a_machine_that_is_too_slow_at_full_rate_is_tried_ever_more_rarely() -> None:
    drive = Drive(Governor(SPEC))
    while drive.now_s < 7200:
        drive.go(1.0, 0.2 if drive.governor.rate_hz is None else 0.03)
    tries = [change.at_s for change in drive.changes if change.rate_hz is None]
    waits = [late - early for early, late in pairwise(tries)]
    assert len(tries) < 20
    assert all(late > 1.5 * early for early, late in pairwise(waits[:4]))
    assert max(waits) < SPEC.longest_climb_s + 60


def test_steps_that_the_camera_does_not_reach_are_left_out() -> None:
    drive = Drive(Governor(SPEC, sources_rate_hz=10.0))
    drive.go(60, 0.2)
    assert [change.rate_hz for change in drive.changes] == [5.0, 2.0]


def test_a_camera_slower_than_every_step_is_left_alone() -> None:
    assert Drive(Governor(SPEC, sources_rate_hz=1.0)).go(60, 0.2).changes == []


def test_the_targets_budget() -> None:
    assert governor_spec_for(load_target("jetson-orin-nano")).latency_budget_ms == 33


_Stretch = st.tuples(
    st.floats(0.5, 60.0), st.one_of(st.none(), st.floats(0.0, 0.5)), st.one_of(st.none(), st.floats(20.0, 110.0))
)


QUICK = replace(SPEC, climb_s=12.0, longest_climb_s=48.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(_Stretch, max_size=6))
def test_one_step_at_a_time_inside_the_ladder_and_not_before_the_dwell(
    stretches: list[tuple[float, float | None, float | None]],
) -> None:
    drive = Drive(Governor(QUICK))
    for seconds, latency_s, temperature_c in stretches:
        drive.go(seconds, latency_s, temperature_c)
    rungs = [0, *(LADDER.index(change.rate_hz) for change in drive.changes)]
    assert all(abs(after - before) == 1 for before, after in pairwise(rungs))
    for early, late in pairwise(drive.changes):
        up = late.incident.cause == "recovered"
        dwell_s = {"latency": QUICK.latency_hold_s, "temperature": QUICK.temperature_hold_s, "recovered": QUICK.climb_s}
        assert late.at_s - early.at_s >= dwell_s[late.incident.cause] - 1e-6
        assert up == (LADDER.index(late.rate_hz) < LADDER.index(early.rate_hz))
    # Whatever has been, the full rate comes back: each step waits for the longest dwell at most.
    drive.go(len(QUICK.steps_hz) * (QUICK.longest_climb_s + 30), 0.02, 40.0)
    assert drive.governor.rate_hz is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 0.3), st.floats(40.0, 95.0)), min_size=1, max_size=4),
    st.floats(0.0, 0.2),
    st.floats(0.0, 20.0),
)
def test_more_load_never_means_a_higher_rate_on_the_way_down(
    stretches: list[tuple[float, float]], slower_s: float, hotter_c: float
) -> None:
    """Before anything rises again, whoever is slower and hotter has no higher rate."""
    spec = replace(SPEC, climb_s=3600.0, longest_climb_s=3600.0)
    easy, hard = Drive(Governor(spec)), Drive(Governor(spec))
    for latency_s, temperature_c in stretches:
        easy.go(30.0, latency_s, temperature_c)
        hard.go(30.0, latency_s + slower_s, temperature_c + hotter_c)
    assert LADDER.index(hard.governor.rate_hz) >= LADDER.index(easy.governor.rate_hz)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"latency_budget_ms": 0.0}, "latency budget"),
        ({"steps_hz": (5.0, 10.0)}, "falling"),
        ({"steps_hz": ()}, "steps"),
        ({"steps_hz": (1.0,)}, "fewer than 8 frames"),
        ({"latency_recovery": 1.5}, "latency recovery"),
        ({"temperature_limit_c": float("nan")}, "temperature limit"),
        ({"longest_climb_s": 1.0}, "longest climb"),
    ],
)
def test_a_value_out_of_range_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        replace(SPEC, **change)  # type: ignore[arg-type]
