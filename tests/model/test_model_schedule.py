from __future__ import annotations

from dataclasses import asdict

import pytest

from edgevad.model.schedule import EntropyController, StoppingRule


def test_controller_moves_the_weight_toward_the_target_and_stays_in_range() -> None:
    controller = EntropyController(weight=0.01, target=0.8)
    controller.update(0.9)
    raised = controller.weight
    assert raised == pytest.approx(0.01 * 2.718281828 ** (0.15 * 0.1), rel=1e-6)
    controller.update(0.5)  # clipped to -0.2
    assert controller.weight == pytest.approx(raised * 2.718281828 ** (-0.15 * 0.2), rel=1e-6)
    for _ in range(1000):
        controller.update(1.0)
    assert controller.weight == 1.0
    for _ in range(1000):
        controller.update(-5.0)
    assert controller.weight == pytest.approx(1e-3)


def test_controller_without_target_or_with_nan_keeps_its_weight() -> None:
    fixed = EntropyController(weight=0.3, target=None)
    fixed.update(0.9)
    held = EntropyController(weight=0.3, target=0.5)
    held.update(float("nan"))
    assert (fixed.weight, held.weight) == (0.3, 0.3)


def run(rule: StoppingRule, explained: list[float], objective: list[float]) -> int:
    for k, pair in enumerate(zip(explained, objective, strict=True), 1):
        rule.round_done(*pair)
        if rule.phase == "done":
            return k
    return -1


def test_stops_after_the_target_was_held_and_the_rate_has_settled() -> None:
    rule = StoppingRule(target=0.8, max_rounds=40)
    rounds = run(rule, [0.5, 0.79, 0.9, 0.81, 0.805, 0.8, *[0.8] * 10], [1.0] * 16)
    assert rounds == 6 + rule.settle
    assert "held" in rule.reason


def test_a_target_only_passed_through_is_not_held() -> None:
    rule = StoppingRule(target=0.8, max_rounds=12)
    run(rule, [0.6, 0.79, 0.85, 0.9, 0.9, 0.9, 0.9, 0.9], [1.0] * 8)
    assert "limit" in rule.reason


def test_without_a_target_a_plateau_of_the_objective_stops() -> None:
    rule = StoppingRule(target=None, max_rounds=40)
    falling = [1.0 * 0.9**k for k in range(5)]
    rounds = run(rule, [0.0] * 40, falling + [falling[-1]] * 35)
    assert rounds == 5 + rule.patience + rule.settle
    assert "1 %" in rule.reason


def test_learning_rate_falls_to_zero_while_settling() -> None:
    rule = StoppingRule(target=None, max_rounds=5, settle=4)
    assert rule.learning_rate_factor(0.5) == 1.0
    rule.round_done(0.0, 1.0)
    assert rule.phase == "settling"
    assert rule.learning_rate_factor(0.0) == 1.0
    assert rule.learning_rate_factor(0.5) == pytest.approx(0.875)
    for _ in range(3):
        rule.round_done(0.0, 1.0)
    assert rule.learning_rate_factor(0.999) == pytest.approx(0.0, abs=1e-3)
    rule.round_done(0.0, 1.0)
    assert rule.phase == "done"


def test_a_warm_start_raises_the_learning_rate_over_its_first_rounds() -> None:
    rule = StoppingRule(target=0.9, max_rounds=20, warm_up=2)
    factors = []
    for _ in range(3):
        factors += [rule.learning_rate_factor(0.0), rule.learning_rate_factor(0.5)]
        rule.round_done(0.5, 1.0)
    assert factors == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_run_whose_time_is_up_settles_over_the_rounds_that_are_left() -> None:
    rule = StoppingRule(target=0.9, max_rounds=40)
    rule.round_done(0.5, 1.0)
    rule.wind_down(2, "time is up")
    assert (rule.phase, rule.reason) == ("settling", "time is up")
    assert rule.learning_rate_factor(0.5) == 0.75
    for _ in range(2):
        assert not rule.done
        rule.round_done(0.5, 1.0)
    assert rule.done


def test_a_run_that_settles_already_only_becomes_shorter() -> None:
    rule = StoppingRule(target=0.9, max_rounds=5)
    rule.round_done(0.5, 1.0)
    assert rule.phase == "settling"
    rule.wind_down(9, "time is up")
    assert rule.settle == 4
    rule.wind_down(0, "time is up")
    assert rule.settle == 1  # one round is always left: the learning rate ends at zero
    rule.round_done(0.5, 1.0)
    assert rule.done
    assert rule.reason == "limit of 5 rounds"


def test_enough_time_changes_nothing() -> None:
    rule = StoppingRule(target=0.9, max_rounds=40)
    before = asdict(rule)
    rule.wind_down(30, "time is up")
    assert asdict(rule) == before
