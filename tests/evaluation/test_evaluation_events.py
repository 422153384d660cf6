from __future__ import annotations

import numpy as np

from edgevad.evaluation.events import LabelledEvent, event_kinds, labelled_events, match_events


def levels(*values: int) -> np.ndarray:
    return np.array(values, np.int8)


def test_runs_are_cut_at_names_and_segments() -> None:
    #              0   1    2    3    4   5    6    7    8
    level = levels(0, 2, 2, 2, 1, 2, 2, 2, 0)
    event = ["", "a", "a", "b", "b", "b", "b", "b", ""]
    segment = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1])
    assert labelled_events(level, event, segment) == (
        LabelledEvent("a", 1, 2, 0),
        LabelledEvent("b", 3, 3, 0),
        LabelledEvent("b", 5, 6, 0),
        LabelledEvent("b", 7, 7, 1),
    )


def test_anomalies_without_a_name_are_events_all_the_same() -> None:
    found = labelled_events(levels(2, 2, 0), ["", "", "x"], np.zeros(3, np.int64))
    assert found == (LabelledEvent("anomaly", 0, 1, 0),)
    assert event_kinds(levels(2, 1, 0), ["", "x", "y"]).tolist() == ["anomaly", "", ""]
    assert labelled_events(levels(), [], np.zeros(0, np.int64)) == ()


def test_one_shared_frame_is_enough_to_be_found() -> None:
    level = levels(0, 0, 2, 2, 2, 0, 0, 2, 0, 0)
    labelled = labelled_events(level, [""] * 10, np.zeros(10, np.int64))
    match = match_events(labelled, level, [(4, 5), (6, 6), (8, 9)])
    assert match.found == (True, False)
    assert match.false_alarms == (False, True, True)
    assert match.recall == 0.5


def test_an_alarm_on_ambiguous_frames_is_neither_found_nor_false() -> None:
    level = levels(1, 1, 0, 2)
    match = match_events(labelled_events(level, [""] * 4, np.zeros(4, np.int64)), level, [(1, 2)])
    assert match.found == (False,)
    assert match.false_alarms == (False,)


def test_one_alarm_may_find_two_events_and_kinds_are_counted_apart() -> None:
    level = levels(2, 0, 2, 0, 2)
    labelled = labelled_events(level, ["a", "", "b", "", "a"], np.zeros(5, np.int64))
    match = match_events(labelled, level, [(0, 2)])
    assert match.found == (True, True, False)
    assert match.by_kind() == {"a": (1, 2), "b": (1, 1)}
    assert list(match.by_kind()) == ["a", "b"]


def test_no_events_have_no_recall() -> None:
    match = match_events((), levels(0, 0), [(0, 0)])
    assert match.recall is None
    assert match.false_alarms == (True,)
