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


# Events need not last; those closer than a moment are one; no event starts for so long after one.
COOL = Hysteresis(10.0, 1.0, merge_gap_s=0.05, cool_down_s=0.5)


def test_after_an_event_none_starts_until_it_has_cooled_down() -> None:
    # Frame 2 is the event; its last frame is at 0.2 s, so that the next one may start at 0.7 s.
    inside, events = detect(COOL, [0, 0, 11, 0, 11, 0, 11, 11, 11, 0])
    assert inside == [False, False, True, False, False, False, False, True, True, False]
    assert [(event.start_frame, event.end_frame) for _, event in events] == [(2, 2), (7, 8)]


def test_an_event_too_short_to_be_recorded_keeps_no_other_off() -> None:
    spec = Hysteresis(10.0, 1.0, merge_gap_s=0.05, min_duration_s=0.25, cool_down_s=60.0)
    inside, events = detect(spec, [0, 11, 0, 0, 11, 11, 11, 11, 11, 0])
    assert inside[4:9] == [True] * 5
    assert [(event.start_frame, event.end_frame) for _, event in events] == [(4, 8)]


def test_cooling_down_ends_with_the_segment() -> None:
    _, events = detect(COOL, [11, 0, 0, 11, 11], [0, 0, 1, 1, 1])
    assert [(event.segment, event.start_frame) for _, event in events] == [(0, 0), (1, 3)]


def test_no_event_starts_while_a_segment_is_warming_up() -> None:
    spec = Hysteresis(10.0, 1.0, merge_gap_s=0.05, warm_up_s=0.2)
    inside, events = detect(spec, [11, 11, 11, 11, 11, 11, 11], [0, 0, 0, 1, 1, 1, 1])
    assert inside == [False, False, True, False, False, True, True]
    assert [(event.segment, event.start_frame) for _, event in events] == [(0, 2), (1, 5)]


def frame_at(index: int, segment: int = 0) -> Frame:
    return Frame(IMAGE, index, index * 10**8, "a", segment)


def test_frames_that_say_nothing_leave_an_event_as_it_is_until_the_fault_is_certain() -> None:
    detector = EventDetector(Hysteresis(10.0, 1.0, merge_gap_s=10.0))
    assert detector.push(11.0, frame_at(0)) is None
    assert detector.pass_over(frame_at(1)) is None
    assert detector.push(11.0, frame_at(2)) is None
    event = detector.interrupt(frame_at(3))
    assert event is not None
    assert (event.start_frame, event.end_frame) == (0, 2)
    assert detector.finish() is None


def test_other_limits_hold_from_the_next_frame_on_and_the_event_goes_on() -> None:
    detector = EventDetector(Hysteresis(10.0, 1.0, merge_gap_s=0.0))
    detector.push(11.0, frame_at(0))
    detector.apply(Hysteresis(5.0, 1.0, merge_gap_s=0.0))
    assert detector.push(6.0, frame_at(1)) is None
    assert detector.inside
    event = detector.push(1.0, frame_at(2))
    assert event is not None
    assert (event.start_frame, event.end_frame) == (0, 1)
