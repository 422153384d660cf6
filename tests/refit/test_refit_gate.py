"""What the gate lets pass and what not, with a graph of a few nodes; real models: python -m benchmarks.poisoning."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged import SPEC, challenger_in, champion_in, replay_of, selection_of, world
from tiny import file_entry, put_file, write_tiny_bundle

from edgevad.bundle import Bundle
from edgevad.errors import RefitError
from edgevad.refit.gate import judge
from edgevad.refit.limits import Limits
from edgevad.refit.verdict import Check, Verdict
from edgevad.spec import InputSpec, MotionSpec

LIMITS = Limits(pieces=12, resamples=200, frames=300)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return champion_in(tmp_path_factory.mktemp("gate") / "champion")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring takes seconds and is tested by itself."""
    monkeypatch.setattr(
        "edgevad.refit.gate.check_latency", lambda *_: Check("latency", True, "As quick as it has to be.")
    )


def verdict_on(champion: Bundle, challenger: Bundle, recent: np.ndarray, **changes: object) -> Verdict:
    limits = replace(LIMITS, **changes)
    return judge(champion, challenger, selection_of(recent), replay_of(world(200, seed=1)), limits=limits)


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.failed}


def test_the_champion_itself_passes(champion: Bundle, tmp_path: Path) -> None:
    verdict = verdict_on(champion, challenger_in(tmp_path / "same", champion), world(600, seed=5))
    assert verdict.passed, verdict.why
    names = [check.name for check in verdict.checks]
    assert {"sight", "log", "majority, recent", "majority, replay", "probes, recent", "power", "latency"} <= set(names)
    assert Verdict.from_json(verdict.to_json()) == replace(verdict, seconds=round(verdict.seconds, 2))
    assert verdict.frames["recent"] == 100


def test_one_that_keeps_silent_is_refused(champion: Bundle, tmp_path: Path) -> None:
    silent = challenger_in(tmp_path / "silent", champion, threshold=50.0)
    verdict = verdict_on(champion, silent, world(600, seed=5))
    assert failed(verdict) == {"power"}
    assert "keep silent" in verdict.why


def test_one_that_alarms_at_everything_is_refused(champion: Bundle, tmp_path: Path) -> None:
    nervous = challenger_in(tmp_path / "nervous", champion, threshold=-1.0)
    assert failed(verdict_on(champion, nervous, world(600, seed=5))) >= {"majority, recent", "majority, replay"}


def test_a_log_that_shows_the_anomaly_for_two_fifths_is_refused(champion: Bundle, tmp_path: Path) -> None:
    recent = world(600, seed=5)
    recent[np.arange(600) % 50 < 20, 8:16, 8:16] = 255
    verdict = verdict_on(champion, challenger_in(tmp_path / "same", champion), recent)
    assert failed(verdict) == {"log"}
    assert "would be learnt" in verdict.why


def test_a_covered_lens_is_refused_before_anything_is_asked(champion: Bundle, tmp_path: Path) -> None:
    verdict = verdict_on(champion, challenger_in(tmp_path / "same", champion), np.full((600, 32, 32, 3), 90, np.uint8))
    assert failed(verdict) == {"sight"}
    assert len(verdict.checks) == 1
    assert "Clean it" in verdict.why


def test_what_was_left_out_for_a_blind_lens_counts(champion: Bundle, tmp_path: Path) -> None:
    selection = replace(selection_of(world(600, seed=5)), blind_share=0.6)
    same = challenger_in(tmp_path / "same", champion)
    verdict = judge(champion, same, selection, replay_of(world(200, seed=1)), limits=LIMITS)
    assert failed(verdict) == {"sight"}


def test_a_broken_challenger_is_a_verdict_and_no_error(champion: Bundle, tmp_path: Path) -> None:
    shutil.copytree(champion.path, tmp_path / "broken")
    arrays = dict(champion.selftest())
    arrays["score"] = arrays["score"] * 3
    np.savez(tmp_path / "selftest.npz", **arrays)
    put_file(tmp_path / "broken", "selftest.npz", (tmp_path / "selftest.npz").read_bytes())
    assert file_entry(b"")["bytes"] == 0
    verdict = verdict_on(champion, Bundle.open(tmp_path / "broken"), world(600, seed=5))
    assert failed(verdict) == {"self-test"}


def test_without_replay_only_where_that_is_asked_for(champion: Bundle, tmp_path: Path) -> None:
    same, selection = challenger_in(tmp_path / "same", champion), selection_of(world(600, seed=5))
    assert failed(judge(champion, same, selection, None, limits=LIMITS)) == {"replay"}
    verdict = judge(champion, same, selection, None, limits=replace(LIMITS, require_replay=False))
    assert verdict.passed, verdict.why
    assert "majority, replay" not in [check.name for check in verdict.checks]


def test_replay_of_single_frames_proves_nothing(champion: Bundle, tmp_path: Path) -> None:
    scattered = replay_of(world(200, seed=1))
    scattered = replace(scattered, segment=np.arange(200, dtype=np.int32))
    same = challenger_in(tmp_path / "same", champion)
    assert failed(judge(champion, same, selection_of(world(600, seed=5)), scattered, limits=LIMITS)) == {
        "probes, replay"
    }


def test_confirmed_events_are_to_be_told(champion: Bundle, tmp_path: Path) -> None:
    recent = world(600, seed=5)
    recent[420:430, 8:16, 8:16] = 255
    selection = selection_of(recent)
    event = (np.arange(600) >= 420) & (np.arange(600) < 430)
    selection = replace(
        selection, in_event=event, weight=np.where(event, 0.0, 1.0).astype(np.float32), held_out=np.arange(600) >= 400
    )
    deaf = challenger_in(tmp_path / "deaf", champion, threshold=1000.0)
    verdict = judge(champion, deaf, selection, replay_of(world(200, seed=1)), limits=LIMITS)
    assert "confirmed" in failed(verdict)


def test_too_few_frames_and_another_input_are_errors(champion: Bundle, tmp_path: Path) -> None:
    same = challenger_in(tmp_path / "same", champion)
    with pytest.raises(RefitError, match="recent frames to judge by"):
        judge(champion, same, selection_of(world(30)), replay_of(world(200, seed=1)), limits=LIMITS)
    moving = write_tiny_bundle(tmp_path / "moving", InputSpec(32, 32, MotionSpec("difference", (100,))))
    with pytest.raises(RefitError, match="fed alike"):
        verdict_on(champion, moving, world(600, seed=5))


def test_a_challenger_of_another_size_is_asked_at_its_own(champion: Bundle, tmp_path: Path) -> None:
    smaller = write_tiny_bundle(tmp_path / "smaller", InputSpec(24, 24))
    verdict = verdict_on(champion, smaller, world(600, seed=5))
    assert "probes, replay" in [check.name for check in verdict.checks]


def test_latency_is_measured_and_held_against_the_budget(champion: Bundle, tmp_path: Path) -> None:
    from edgevad.refit.machine_checks import check_latency

    found = check_latency(champion, challenger_in(tmp_path / "same", champion), LIMITS, None, None)
    assert found.limit == pytest.approx(champion.manifest.device().latency_budget_ms)
    assert found.challenger is not None
    assert found.challenger > 0
    stands_in = check_latency(champion, champion, LIMITS, "openvino", None)
    assert stands_in.passed is None
    assert champion.manifest.input == SPEC
