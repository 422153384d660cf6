from __future__ import annotations

import itertools

import pytest

from edgevad.synth import ANOMALY_KINDS, SynthConfig
from edgevad.synth.anomalies import ANOMALY
from edgevad.synth.drive import Drive
from edgevad.synth.schedule import Event, schedule_events


@pytest.mark.parametrize("seed", range(6))
def test_a_default_drive_holds_each_kind_twice_and_keeps_to_the_share(seed: int) -> None:
    config = SynthConfig(seed=seed)
    events = schedule_events(config)
    assert {kind: sum(e.kind == kind for e in events) for kind in ANOMALY_KINDS} == dict.fromkeys(ANOMALY_KINDS, 2)
    assert all(1.0 < e.end_s - e.start_s < 5 for e in events)
    planned_s = sum(e.end_s - e.start_s for e in events)
    assert planned_s == pytest.approx(config.seconds * config.anomaly_share, rel=0.1)
    levels = [level for level, _ in Drive(config).labels]
    assert levels.count(ANOMALY) / len(levels) == pytest.approx(config.anomaly_share, rel=0.3)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("seconds", [30.0, 61.0, 240.0, 900.0])
def test_events_are_apart_and_leave_the_beginning_alone(seconds: float, share: float) -> None:
    events = schedule_events(SynthConfig(seconds=seconds, anomaly_share=share))
    assert events
    assert events[0].start_s - events[0].ramp_s >= 10
    assert events[-1].end_s < seconds
    for before, after in itertools.pairwise(events):
        assert before.end_s < after.start_s - after.ramp_s
        assert before.kind != after.kind


def test_no_share_means_no_events() -> None:
    assert schedule_events(SynthConfig(anomaly_share=0)) == ()


def test_strength_rises_and_falls_with_the_event() -> None:
    event = Event("defocus", 0, start_s=5.0, end_s=7.0, ramp_s=0.5)
    assert event.strength(4.4) == 0
    assert 0 < event.strength(4.7) < event.strength(5.0) < event.strength(5.3) == 1
    assert event.strength(6.0) == 1
    assert event.strength(7.6) == 0


def test_the_summary_tells_the_spans_and_what_is_missing() -> None:
    drive = Drive(SynthConfig(seconds=60))
    summary = drive.summary()
    labels = drive.labels
    assert summary["events"]
    for span in summary["events"]:
        inside = labels[span["first_frame"] : span["last_frame"] + 1]
        assert {(level, event.kind if event else "") for level, event in inside} == {(ANOMALY, span["event"])}
        assert span["first_ambiguous_frame"] < span["first_frame"]
        assert span["last_ambiguous_frame"] > span["last_frame"]
    few = [kind for kind, count in summary["events_by_kind"].items() if count < 2]
    assert few
    assert all(kind in summary["note"] for kind in few)
    assert Drive(SynthConfig()).summary()["note"] is None
