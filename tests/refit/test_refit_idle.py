"""Whether the vehicle needs the machine, and what a run does then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgevad.refit.idle import DrivingMark, IdleWatch, cpu_ticks
from edgevad.refit.observer import RefitObserver
from edgevad.refit.pace import BudgetSpentError, NotIdleError, Pace


class Clock:
    """Time that passes when one sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Cores:
    """Ticks of a machine whose others use this share of it."""

    def __init__(self, clock: Clock, share: float = 0.0) -> None:
        self.clock, self.share = clock, share
        self._busy = self._total = 0.0
        self._at_s = clock()

    def __call__(self) -> tuple[int, int]:
        passed = (self.clock() - self._at_s) * 200
        self._at_s = self.clock()
        self._total += passed
        self._busy += passed * self.share
        return round(self._busy), round(self._total)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _watch(folder: Path, clock: Clock, share: float = 0.0, **more: object) -> IdleWatch:
    return IdleWatch(
        folder, settle_s=10.0, clock=clock, ticks=Cores(clock, share), **{"now": lambda: 1e9 + clock(), **more}
    )  # type: ignore[arg-type]


def _touch(folder: Path, at_s: float) -> None:
    mark = folder / ".driving"
    mark.touch()
    os.utime(mark, (at_s, at_s))


def test_a_vehicle_that_never_drove_is_idle(tmp_path: Path, clock: Clock) -> None:
    assert _watch(tmp_path, clock).reason() is None


def test_fresh_mark_means_driving_and_a_stop_at_a_light_does_not_count(tmp_path: Path, clock: Clock) -> None:
    watch = _watch(tmp_path, clock)
    _touch(tmp_path, 1e9 + clock() - 5)
    assert watch.reason() == "the cameras give frames"
    clock.sleep(50)
    assert watch.reason() == "the cameras give frames"
    clock.sleep(8)
    assert watch.reason() == "it was busy until 8 s ago"
    clock.sleep(30)
    assert watch.reason() is None


@pytest.mark.parametrize("wrong_by_s", [-40 * 365 * 86_400.0, 3600.0])
def test_a_clock_that_was_set_hides_no_drive(tmp_path: Path, clock: Clock, wrong_by_s: float) -> None:
    watch = _watch(tmp_path, clock)
    _touch(tmp_path, 1e9 + clock() + wrong_by_s)
    assert watch.reason() is None, "an old mark, or one from the future, by itself says nothing"
    clock.sleep(15)
    _touch(tmp_path, 1e9 + clock() + wrong_by_s)
    assert watch.reason() == "the cameras give frames"


def test_busy_file_and_busy_cores(tmp_path: Path, clock: Clock) -> None:
    ignition = tmp_path / "ignition"
    watch = _watch(tmp_path, clock, busy_file=ignition)
    assert watch.reason() is None
    ignition.touch()
    assert "ignition is there" in str(watch.reason())
    busy = _watch(tmp_path, clock, share=0.8)
    assert busy.reason() is None, "nothing to compare with yet"
    clock.sleep(3)
    assert busy.reason() == "others use 80% of the cores"


def test_the_service_marks_at_most_every_quarter_of_a_minute(tmp_path: Path, clock: Clock) -> None:
    mark = DrivingMark(tmp_path / "refit", clock)
    mark.frames_came()
    path = tmp_path / "refit" / ".driving"
    os.utime(path, (1, 1))
    mark.frames_came()
    assert path.stat().st_mtime == 1
    clock.sleep(15)
    mark.frames_came()
    assert path.stat().st_mtime > 1


def test_niced_work_does_not_see_itself() -> None:
    ticks = cpu_ticks()
    if ticks is None:
        pytest.skip("no /proc/stat here")
    assert 0 <= ticks[0] <= ticks[1]


def test_budget_counts_work_and_not_waiting(tmp_path: Path, clock: Clock) -> None:
    notes = []

    class Noting(RefitObserver):
        def note(self, sentence: str) -> None:
            notes.append(sentence)

    watch = _watch(tmp_path, clock)
    pace = Pace(budget_s=100.0, idle=watch, observer=Noting(), clock=clock, sleep=clock.sleep)
    pace.breathe()
    clock.sleep(40)
    _touch(tmp_path, 1e9 + clock())
    pace.breathe()  # until the mark is old, and the vehicle has stood for a while
    assert notes == ["waiting: the cameras give frames"]
    assert pace.worked_s == pytest.approx(40)
    assert pace.waited_s > 60
    clock.sleep(61)
    with pytest.raises(BudgetSpentError, match="goes on there"):
        pace.breathe()


def test_it_does_not_wait_for_ever(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "ignition").touch()
    watch = _watch(tmp_path, clock, busy_file=tmp_path / "ignition")
    pace = Pace(idle=watch, longest_wait_s=3600.0, clock=clock, sleep=clock.sleep)
    with pytest.raises(NotIdleError, match="no time was free for 1 hours"):
        pace.breathe()
    assert pace.worked_s == pytest.approx(0)


def test_giving_way(tmp_path: Path) -> None:
    code = (
        "import os; from edgevad.refit.priority import give_way; refused = give_way(); give_way();"
        "print(os.nice(0), open('/proc/self/oom_score_adj').read().strip(), refused)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    nice, oom, refused = done.stdout.split(maxsplit=2)
    assert (nice, oom) == ("19", "800") or "nice" in refused
