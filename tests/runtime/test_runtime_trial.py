from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.bundle.slot_state import Record, Trial, read_records, write_records
from edgevad.errors import OptionError
from edgevad.events import Event
from edgevad.runtime.stream import Result
from edgevad.runtime.trial import RecentWork, TrialMonitor, TrialSpec, crash_loop, poisson_tail
from edgevad.sources import Frame

_IMAGE = np.zeros((8, 8, 3), np.uint8)


def result(
    camera: str = "front", *, work_s: float = 0.01, alarms: bool = False, begins: bool = False, scored: bool = True
) -> Result:
    event = Event(1, 0, 0, 0, 0, 9.0, 0, "view", camera, 0) if begins else None
    score = 1.0 if scored else None
    frame = Frame(_IMAGE, 0, 0, camera, 0)
    state = "anomaly" if alarms else "normal" if scored else "fault"
    return Result(frame, (), (), score, score, None, alarms, state, None, 5.0, None, event, work_s=work_s)  # type: ignore[arg-type]


def driven(monitor: TrialMonitor, seconds: float, *, hz: float = 10.0, start_s: float = 0.0, **more: bool) -> float:
    """Frames of one camera for so long; the time at the end."""
    for step in range(round(seconds * hz)):
        monitor.observe(result(alarms=more.get("alarms", False)), start_s + step / hz)
    return start_s + seconds


@pytest.mark.parametrize(
    ("count", "mean", "expected"),
    [(0, 1.0, 1.0), (1, 1.0, 0.632121), (8, 1.0, 1.0249e-5), (5, 0.1, 7.667e-8), (3, 10.0, 0.997231), (1, 0.0, 0.0)],
)
def test_the_tail_of_a_poisson_distribution(count: int, mean: float, expected: float) -> None:
    assert poisson_tail(count, mean) == pytest.approx(expected, rel=1e-3)


def test_a_quiet_bundle_passes_when_its_minutes_are_over() -> None:
    monitor = TrialMonitor(TrialSpec(minutes=1.0, alarms_per_hour=1.0), Trial(running_s=30.0), "d")
    driven(monitor, 29.0)
    assert not monitor.has_passed
    driven(monitor, 2.0, start_s=29.0)
    assert monitor.has_passed
    figures = monitor.figures(Trial(crashes=1))
    assert (figures.crashes, figures.running_s) == (1, pytest.approx(60.9, abs=0.2))


def test_time_without_a_score_does_not_count() -> None:
    monitor = TrialMonitor(TrialSpec(minutes=1.0), Trial())
    driven(monitor, 10.0)
    monitor.observe(result(scored=False), 60.0)
    monitor.observe(result(), 1000.0)  # a camera that was lost for long
    assert monitor.figures(Trial()).running_s == pytest.approx(9.9 + 1.0)


def test_many_events_send_it_back_a_few_do_not() -> None:
    monitor = TrialMonitor(TrialSpec(alarms_per_hour=1.0), Trial())
    now_s = driven(monitor, 60.0)
    for _ in range(4):
        monitor.observe(result(begins=True), now_s)
    assert monitor.verdict is None
    monitor.observe(result(begins=True), now_s)
    assert monitor.verdict == "too many alarms: 5 events in 1.0 minutes of driving, budget 1 an hour"
    # Where the threshold was set by hand nobody knows how many there are to be.
    monitor = TrialMonitor(TrialSpec(alarms_per_hour=None), Trial())
    for _ in range(50):
        monitor.observe(result(begins=True), 0.0)
    assert monitor.verdict is None


def test_two_cameras_may_raise_twice_as_many() -> None:
    spec = TrialSpec(alarms_per_hour=30.0, alarm_ratio=1.0)
    verdicts = []
    for cameras in (["front"], ["front", "rear", "left", "right"]):
        monitor = TrialMonitor(spec, Trial())
        for step in range(3000):
            for camera in cameras:
                monitor.observe(result(camera), step / 10)
        for _ in range(12):
            monitor.observe(result(begins=True), 300.0)
        verdicts.append(monitor.verdict is None)
    assert verdicts == [False, True]


def test_a_single_event_without_an_end_sends_it_back_too() -> None:
    monitor = TrialMonitor(TrialSpec(alarms_per_hour=1.0), Trial())
    now_s = driven(monitor, 30.0)
    now_s = driven(monitor, 59.0, start_s=now_s, alarms=True)
    assert monitor.verdict is None
    driven(monitor, 4.0, start_s=now_s, alarms=True)
    assert monitor.verdict is not None
    assert monitor.verdict.startswith("alarmed for 1.0 of 1.5 minutes of driving, limit 50%")


def test_what_takes_too_long_is_measured_without_the_camera() -> None:
    spec = TrialSpec(latency_budget_ms=50.0, latency_window_s=5.0)
    fast, slow = TrialMonitor(spec, Trial()), TrialMonitor(spec, Trial())
    after_slower = TrialMonitor(spec, Trial(before_ms=50.0))
    for step in range(100):
        fast.observe(result(work_s=0.04), step / 10)  # with a latency of 5 s
        slow.observe(result(work_s=0.07), step / 10)
        after_slower.observe(result(work_s=0.07), step / 10)
    assert fast.verdict is None
    assert slow.verdict is not None
    assert slow.verdict.startswith("too slow: 95 % of the frames took this machine up to 70 ms, budget 50 ms")
    assert after_slower.verdict is None


def test_however_slow_it_is_it_is_seen_to_be() -> None:
    monitor = TrialMonitor(TrialSpec(latency_window_s=5.0), Trial())
    for step in range(5):
        monitor.observe(result(work_s=3.0), 3.0 * step)
    assert monitor.verdict is not None
    assert monitor.verdict.startswith("too slow: not one frame took this machine less than 3000 ms")


def test_a_few_slow_frames_among_quick_ones_prove_nothing() -> None:
    monitor = TrialMonitor(TrialSpec(latency_window_s=5.0), Trial())
    for step in range(10):
        monitor.observe(result(work_s=0.01 if step == 4 else 3.0), 1.0 * step)
    assert monitor.verdict is None


def test_recent_work_forgets() -> None:
    work = RecentWork(5.0)
    for step in range(200):
        work.push(1.0 if step < 100 else 0.01, step / 10)
    assert work.p95_s(20.0) == 0.01


def test_a_crash_loop_has_its_words() -> None:
    spec = TrialSpec()
    assert crash_loop(Trial(crashes=2, power_cuts=4), spec) is None
    assert crash_loop(Trial(crashes=3), spec) == "crashed 3 times within its first 20 minutes of running"
    assert "took the machine's power with it 5 times" in str(crash_loop(Trial(power_cuts=5), spec))


@pytest.mark.parametrize("wrong", [{"minutes": -1.0}, {"crash_limit": 0}, {"alarm_share": 0.0}, {"alarm_ratio": 0.5}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=r"trial: .* expected a number from"):
        TrialSpec(**wrong)  # type: ignore[arg-type]


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records = {"d": Record("one", "trial", "because", 5, Trial(1.5, 3.0, 2, 0.5, 1, 2, "boot", 0.25, 12.0))}
    write_records(tmp_path / "slots.json", records)
    assert read_records(tmp_path / "slots.json") == records
