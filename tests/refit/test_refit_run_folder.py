"""A run that was killed: what is found of it, and what is swept."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgevad.errors import OptionError, RefitError
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.place import RefitHome
from edgevad.refit.run_folder import RunFolder, find_unfinished, only_one, sweep_work


@pytest.fixture
def home(tmp_path: Path) -> RefitHome:
    return RefitHome(tmp_path / "refit")


def test_what_is_done_outlives_the_process(home: RefitHome) -> None:
    run = RunFolder.begin(home, CycleOptions("refit", drives=("drives",)), "abc")
    run.depth = "refit"
    run.worked_s = 12.5
    run.finish("choose", {"frames": 7})
    again = RunFolder.open(run.path)
    assert again == run
    assert find_unfinished(home) == [run]
    assert list(again.steps) == ["choose"]


def test_half_a_run_is_swept_and_so_is_another_ones(home: RefitHome) -> None:
    kept = RunFolder.begin(home, CycleOptions("adapt"), "abc")
    other = RunFolder.begin(home, CycleOptions("refit"), "abc")
    (home.work / "half").mkdir()
    (home.work / "half" / "images.npy").write_bytes(b"0")
    (home.work / "stray").write_text("")
    assert sweep_work(home, kept.path) == [other.id]
    assert [path.name for path in home.work.iterdir()] == [kept.id]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 9}', "\x00"])
def test_a_damaged_run_cannot_go_on(home: RefitHome, text: str) -> None:
    run = RunFolder.begin(home, CycleOptions("adapt"), "abc")
    (run.path / "run.json").write_text(text)
    with pytest.raises(RefitError, match="cannot go on"):
        RunFolder.open(run.path)
    assert find_unfinished(home) == []


def test_one_at_a_time(home: RefitHome) -> None:
    with only_one(home), pytest.raises(RefitError, match="already"), only_one(home):
        pass
    with only_one(home):
        pass


def test_what_makes_a_run_the_same() -> None:
    first = CycleOptions("refit", drives=("a",), budget_minutes=5, while_idle=True)
    assert first.of_the_run() == CycleOptions("refit", drives=("a",), shadow_frames=9).of_the_run()
    assert first.of_the_run() != CycleOptions("adapt", drives=("a",)).of_the_run()
    assert first.of_the_run() != CycleOptions("refit", drives=("b",)).of_the_run()


@pytest.mark.parametrize(
    "options",
    [
        {"depth": "deep"},
        {"budget_minutes": 0.0},
        {"budget_minutes": float("nan")},
        {"since_days": -1.0},
        {"budget_frames": 10},
        {"shadow_frames": -1},
        {"shadow_frames": 100, "out": Path("b.edgevad")},
    ],
)
def test_options_that_cannot_be_used(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        CycleOptions(**options)  # type: ignore[arg-type]
