from __future__ import annotations

import numpy as np
import pytest

from edgevad.synth.course import LAP_M, VIEW_M, Course, build_course


@pytest.fixture(scope="module")
def course() -> Course:
    return build_course(0)


def test_the_course_is_closed(course: Course) -> None:
    one_lap = course.curvature_per_m[: int(LAP_M * 2)].sum() * 0.5
    assert one_lap == pytest.approx(2 * np.pi, abs=1e-6)
    assert course.heading_at(LAP_M + 12.3) == pytest.approx(course.heading_at(12.3))


def test_what_lies_ahead_recurs_every_lap(course: Course) -> None:
    ahead = np.linspace(0, VIEW_M, 50)
    for s in (3.0, 250.0, LAP_M - 1):
        np.testing.assert_allclose(course.bend(s, ahead), course.bend(s + LAP_M, ahead), atol=1e-9)


def test_the_bend_is_tangent_and_bends_to_the_side_of_the_curvature(course: Course) -> None:
    assert course.bend(40.0, 0.0) == pytest.approx(0)
    assert abs(float(course.bend(40.0, 1.0))) < 0.05
    tightest = float(np.argmax(course.curvature_per_m[: int(LAP_M * 2)]) * 0.5)
    assert float(course.bend(tightest, 20.0)) > 1


def test_every_course_has_its_landmarks_and_keeps_bridges_clear() -> None:
    for seed in range(4):
        course = build_course(seed)
        kinds = {mark.kind for mark in course.landmarks}
        assert {"tree", "house", "pole", "sign", "lamp", "post", "billboard"} <= kinds
        assert len(course.bridges_s_m) == 2
        assert len(course.puddles) >= 3
        assert not any(0 <= mark.s_m - at < 9 for mark in course.landmarks for at in course.bridges_s_m)


def test_another_seed_is_another_course(course: Course) -> None:
    assert build_course(1).landmarks != course.landmarks
    assert build_course(0).landmarks == course.landmarks
