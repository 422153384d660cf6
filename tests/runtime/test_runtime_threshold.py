from __future__ import annotations

import numpy as np
import pytest

from edgevad.errors import OptionError
from edgevad.events import Event
from edgevad.runtime.threshold import EventDetector, Hysteresis
from edgevad.sources import Frame

IMAGE = np.zeros((8, 8, 3), np.uint8)


def detect(
    spec: Hysteresis, scores: list[float], segments: list[int] | None = None, *, step_s: float = 0.1
) -> tuple[list[bool], list[tuple[int, Event]]]:
    """Which frames are inside, and the events with the frame that gave each out (len(scores) for the end)."""
    detector = EventDetector(spec)
    inside: list[bool] = []
    events: list[tuple[int, Event]] = []
    for k, score in enumerate(scores):
        frame = Frame(IMAGE, k, round(k * step_s * 1e9), "a", segments[k] if segments else 0)
        event = detector.push(score, frame, f"part {score:g}")
        inside.append(detector.inside)
        if event is not None:
            events.append((k, event))
    last = detector.finish()
    if last is not None:
        events.append((len(scores), last))
    return inside, events


def test_it_enters_at_the_threshold_and_leaves_below_the_exit_level() -> None:
    inside, events = detect(Hysteresis(10.0, 0.7, merge_gap_s=0.0), [9.9, 10.0, 7.5, 12.0, 7.0, 6.9, 9.9])

    assert inside == [False, True, True, True, True, False, False]
    [(given_at, event)] = events
    assert given_at == 5
    assert (event.start_frame, event.end_frame, event.peak_frame, event.peak_score) == (1, 4, 3, 12.0)
    assert (event.start_ns, event.end_ns) == (100_000_000, 400_000_000)
    assert (event.source_id, event.segment, event.id, event.cause) == ("a", 0, 1, "part 12")
    assert event.duration_s == pytest.approx(0.3)


def test_events_closer_than_the_gap_are_one_and_the_frames_between_stay_outside() -> None:
    scores = [0.0, 11.0, 0.0, 0.0, 12.0, 0.0, 0.0, 0.0, 0.0, 11.0]
    inside, events = detect(Hysteresis(10.0, merge_gap_s=0.3), scores)

    assert inside == [score > 0 for score in scores]
    assert [(at, event.id, event.start_frame, event.end_frame) for at, event in events] == [(8, 1, 1, 4), (10, 2, 9, 9)]


def test_a_new_event_right_after_the_gap_ends_the_old_one() -> None:
    _, events = detect(Hysteresis(10.0, merge_gap_s=0.3), [11.0, 0.0, 11.0, 0.0], step_s=0.2)
    assert [(event.start_frame, event.end_frame) for _, event in events] == [(0, 0), (2, 2)]


def test_a_new_segment_ends_the_event_at_its_last_frame() -> None:
    inside, events = detect(Hysteresis(10.0), [11.0, 12.0, 13.0, 0.0], [0, 0, 1, 1])

    assert inside == [True, True, True, False]
    assert [(at, event.segment, event.start_frame, event.end_frame) for at, event in events] == [
        (2, 0, 0, 1),
        (4, 1, 2, 2),
    ]


def test_hysteresis_does_not_reach_into_the_next_segment() -> None:
    # 8 would go on with an event, but starts none.
    inside, _ = detect(Hysteresis(10.0, 0.7), [11.0, 8.0], [0, 1])
    assert inside == [True, False]


def test_short_events_are_not_recorded_but_were_inside() -> None:
    inside, events = detect(Hysteresis(10.0, merge_gap_s=0.0, min_duration_s=0.2), [11.0, 11.0, 0.0, 11.0, 11.0, 11.0])
    assert inside == [True, True, False, True, True, True]
    assert [(event.id, event.start_frame) for _, event in events] == [(1, 3)]


@pytest.mark.parametrize(("threshold", "exit_level"), [(10.0, 7.0), (0.0, 0.0), (-10.0, -13.0)])
def test_the_exit_level_is_below_the_threshold_whatever_its_sign(threshold: float, exit_level: float) -> None:
    assert Hysteresis(threshold, 0.7).exit_level == pytest.approx(exit_level)


@pytest.mark.parametrize(
    "options",
    [{"threshold": float("nan")}, {"exit_ratio": 1.1}, {"merge_gap_s": -1.0}, {"min_duration_s": float("inf")}],
)
def test_values_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Hysteresis(**{"threshold": 1.0, **options})
