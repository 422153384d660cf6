"""A whole run, its parts made of paper: what is done once, what is done again, what is refused, and what is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import edit_manifest

from edgevad.bundle import Bundle, activate
from edgevad.bundle.slots import Slots
from edgevad.cli.app import build_app
from edgevad.errors import BundleError, OptionError, OutputError, RefitError
from edgevad.model.cache import FrameCache
from edgevad.model.camera_motion import CameraDecision
from edgevad.refit.cycle import STEPS, run_cycle
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.history import decisions
from edgevad.refit.place import RefitHome
from edgevad.refit.run_folder import find_unfinished
from edgevad.refit.selection import Selection
from edgevad.refit.verdict import Check, Verdict


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it and tidy up."""


@dataclass
class Parts:
    """What the steps call, as a test wants it.

    Attributes:
        calls: which were called, in their order.
        broken: what a part raises, by its name.
        passed: whether it is content, by its name.
    """

    calls: list[str] = field(default_factory=list)
    broken: dict[str, BaseException] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)
    advice: tuple[str, str] = ("recalibrate", "scores are higher")

    def note(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            raise self.broken[name]

    def trust(self, *_: object, **__: object) -> Any:
        self.note("trust")
        trusted = self.passed.get("trust", True)
        return SimpleNamespace(trusted=trusted, reasons=("trust failed",), to_json=lambda: {"blind": 0.0})

    def judge(self, champion: Bundle, challenger: Bundle, *_: object, **__: object) -> Verdict:
        self.note("gate")
        passed = self.passed.get("gate", True)
        checks = (Check("log", passed, "gate passed" if passed else "gate failed"),)
        return Verdict(checks, champion.digest, challenger.digest, ("a", "b"), "onnxruntime, fp32", {"recent": 8})

    def select(self, drives: object, spec: object, work: Path, **_: object) -> Selection:
        self.note("choose")
        count = 40
        images = np.zeros((count, 32, 32, 3), np.uint8)
        times = np.arange(count, dtype=np.int64) * 10**8
        cache = FrameCache(images, None, times, np.zeros(count, np.int32), 0, CameraDecision(0.0, 0.0, 0))
        return Selection.of_recording(cache, "monday")

    def recalibrate(self, bundle: Bundle, selection: Selection, out: Path, **_: object) -> None:
        self.note("learn")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(bundle.path, out)
        edit_manifest(out, name="recalibrated", provenance={**bundle.manifest.provenance, "refit": "recalibrate"})


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    found = Parts()

    def stub(name: str, **names: Callable[..., Any]) -> None:
        module = ModuleType(f"edgevad.refit.{name}")
        for key, function in names.items():
            setattr(module, key, function)
        monkeypatch.setitem(sys.modules, f"edgevad.refit.{name}", module)

    def drift(*_: object, **__: object) -> Any:
        found.note("drift")
        what, sentence = found.advice
        return SimpleNamespace(advice=SimpleNamespace(what=what, sentence=sentence, to_json=lambda: {"what": what}))

    stub("choosing", select=found.select)
    stub("blurring", open_blur=lambda name: None)
    stub("trust", contamination=found.trust)
    stub("recalibrate", recalibrate=found.recalibrate)
    stub("gate", judge=found.judge)
    stub("drift", drift_of_drives=drift)
    return found


@pytest.fixture
def champion(tiny_bundle: Path, edgevad_home: Path) -> Bundle:
    return activate(tiny_bundle)


def _now() -> str:
    current = Slots.of_device().current
    assert current is not None
    return current.digest


OPTIONS = CycleOptions("recalibrate", drives=("drives",))


def test_a_challenger_that_passes_is_active_on_trial(parts: Parts, champion: Bundle) -> None:
    result = run_cycle(OPTIONS)
    assert result.outcome == "activated"
    assert parts.calls == ["choose", "trust", "learn", "gate"]
    assert _now() == result.steps["export"]["digest"] != champion.digest
    current = Slots.of_device().current
    assert current is not None
    assert current.state == "trial"
    assert [name for name in STEPS if name in result.steps] == list(result.steps)
    assert result.steps["choose"]["drives"][0]["name"] == "monday"
    home = RefitHome.of_device()
    assert list(home.work.iterdir()) == []
    assert [(one.id, one.outcome) for one in decisions(home)] == [(result.id, "activated")]
    assert result.page is not None
    assert result.page.is_file()
    assert json.loads((home.history / result.id / "run.json").read_text())["steps"] == json.loads(
        json.dumps(result.steps)
    )


@pytest.mark.parametrize("name", ["trust", "gate"])
def test_what_is_refused_changes_nothing(parts: Parts, champion: Bundle, name: str) -> None:
    parts.passed[name] = False
    result = run_cycle(OPTIONS)
    assert (result.outcome, result.sentence) == ("refused", f"{name} failed")
    assert "learn" not in parts.calls or name == "gate"
    assert _now() == champion.digest
    assert list(RefitHome.of_device().work.iterdir()) == []
    assert [(one.outcome, one.sentence) for one in decisions(RefitHome.of_device())] == [("refused", result.sentence)]


@pytest.mark.parametrize("name", ["choose", "trust", "learn", "gate"])
def test_killed_anywhere_it_goes_on_there(parts: Parts, champion: Bundle, name: str) -> None:
    parts.broken[name] = Killed()
    with pytest.raises(Killed):
        run_cycle(OPTIONS)
    assert _now() == champion.digest
    before = list(parts.calls)
    del parts.broken[name]
    result = run_cycle(OPTIONS)
    assert result.outcome == "activated"
    assert parts.calls[len(before) :] == ["choose", "trust", "learn", "gate"][len(before) - 1 :]


def test_killed_after_the_swap_it_is_not_swapped_again(
    parts: Parts, champion: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = Slots.activate

    def and_die(*args: Any, **more: Any) -> Bundle:
        swap(*args, **more)
        raise Killed

    monkeypatch.setattr(Slots, "activate", and_die)
    with pytest.raises(Killed):
        run_cycle(OPTIONS)
    swapped = _now()
    assert swapped != champion.digest
    monkeypatch.setattr(Slots, "activate", lambda *_, **__: pytest.fail("swapped twice"))
    result = run_cycle(OPTIONS)
    assert (result.outcome, _now()) == ("activated", swapped)
    assert parts.calls == ["choose", "trust", "learn", "gate"]


def test_other_options_or_another_champion_begin_anew(parts: Parts, champion: Bundle, tmp_path: Path) -> None:
    parts.broken["gate"] = Killed()
    with pytest.raises(Killed):
        run_cycle(OPTIONS)
    with pytest.raises(Killed):
        run_cycle(CycleOptions("recalibrate", drives=("others",)))
    assert parts.calls == ["choose", "trust", "learn", "gate"] * 2
    assert len(find_unfinished(RefitHome.of_device())) == 1
    other = tmp_path / "other"
    shutil.copytree(champion.path, other)
    edit_manifest(other, name="other")
    activate(other)
    with pytest.raises(Killed):
        run_cycle(CycleOptions("recalibrate", drives=("others",)))
    assert parts.calls == ["choose", "trust", "learn", "gate"] * 3


def test_what_would_fail_again_is_dropped_and_told(parts: Parts, champion: Bundle) -> None:
    home = RefitHome.of_device()
    parts.broken["learn"] = OutputError("the disk is full")
    with pytest.raises(OutputError):
        run_cycle(OPTIONS)
    assert len(find_unfinished(home)) == 1, "once there is room it goes on"
    parts.broken["learn"] = RefitError("too few frames")
    with pytest.raises(RefitError):
        run_cycle(OPTIONS)
    assert parts.calls == ["choose", "trust", "learn", "learn"]
    assert find_unfinished(home) == []
    assert [(one.outcome, one.sentence) for one in decisions(home)] == [("failed", "too few frames")]


def test_a_challenger_that_did_harm_here_is_not_tried_again(
    parts: Parts, champion: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = Slots.activate

    def and_die(*args: Any, **more: Any) -> Bundle:
        swap(*args, **more)
        raise Killed

    monkeypatch.setattr(Slots, "activate", and_die)
    with pytest.raises(Killed):
        run_cycle(OPTIONS)
    monkeypatch.setattr(Slots, "activate", swap)
    Slots.of_device().rollback("it crashed")
    result = run_cycle(OPTIONS)
    assert result.outcome == "refused"
    assert "does not take it" in result.sentence
    assert _now() == champion.digest


def test_written_and_not_activated(parts: Parts, champion: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "new.edgevad"
    result = run_cycle(CycleOptions("recalibrate", drives=("drives",), out=out))
    assert (result.outcome, result.bundle) == ("written", out)
    assert Bundle.open(out).manifest.name == "recalibrated"
    assert _now() == champion.digest
    with pytest.raises(OutputError, match="already"):
        run_cycle(CycleOptions("recalibrate", drives=("drives",), out=out))
    assert parts.calls.count("choose") == 1, "refused before any work"


def test_a_dry_run_leaves_nothing(parts: Parts, champion: Bundle) -> None:
    result = run_cycle(OPTIONS, dry_run=True)
    assert result.outcome == "tried"
    assert parts.calls == ["choose", "trust"]
    assert list(RefitHome.of_device().work.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "depth", "outcome"),
    [
        ("none", "none", "nothing"),
        ("clean the lens", "none", "nothing"),
        ("recalibrate", "recalibrate", "activated"),
        ("refit", "recalibrate", "activated"),  # there is no model here to train on from
    ],
)
def test_drift_decides(parts: Parts, champion: Bundle, what: str, depth: str, outcome: str) -> None:
    parts.advice = (what, "since Tuesday")
    result = run_cycle(CycleOptions("auto", drives=("drives",)))
    assert (result.depth, result.outcome) == (depth, outcome)
    if what == "refit":
        assert "cannot be done here" in result.steps["depth"]["sentence"]


def test_without_a_model_there_is_no_refit(parts: Parts, champion: Bundle) -> None:
    pytest.importorskip("torch")
    with pytest.raises(RefitError, match="is not on this machine"):
        run_cycle(CycleOptions("refit", drives=("drives",)))


def test_recalibrating_needs_no_torch(tmp_path: Path) -> None:
    """Whatever its steps import, where torch cannot be."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import edgevad.refit.cycle, edgevad.refit.choosing, edgevad.refit.trust, edgevad.refit.recalibrate\n"
        "import edgevad.refit.gate, edgevad.refit.history, edgevad.refit.shadow, edgevad.refit.drift\n"
        "import edgevad.report.gate_page, edgevad.report.refit_progress, edgevad.report.refit_view\n"
        "from types import SimpleNamespace\n"
        "from pathlib import Path\n"
        "from edgevad.refit.steps import Context\n"
        "champion = SimpleNamespace(replay=lambda: 'its own')\n"
        "context = Context(None, SimpleNamespace(model=Path('.')), None, None, None, champion)\n"
        "context.model = lambda: Path('.')\n"
        "print(context.replay())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "its own", done.stderr


def test_a_device_that_trusts_keys_wants_one(parts: Parts, champion: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from edgevad.bundle import sign_bundle
    from edgevad.bundle.signing import make_key
    from edgevad.bundle.trust import trust

    key = make_key(tmp_path / "device.pem")
    sign_bundle(champion.path, key.private)
    trust(key.public)
    with pytest.raises(OptionError, match="runs only bundles that a trusted key has signed"):
        run_cycle(OPTIONS)
    assert parts.calls == []
    result = run_cycle(CycleOptions("recalibrate", drives=("drives",), sign_key_file=key.private))
    assert result.outcome == "activated"
    assert result.steps["export"]["signed_by"] == key.id
    with pytest.raises(OptionError):
        run_cycle(CycleOptions("recalibrate", drives=("drives",), sign_key_file=tmp_path / "none.pem"))


def test_no_champion(parts: Parts, edgevad_home: Path) -> None:
    with pytest.raises(BundleError, match="no bundle is active"):
        run_cycle(OPTIONS)


def test_spent_minutes_are_no_failure(parts: Parts, champion: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    from edgevad.refit.pace import BudgetSpentError

    parts.broken["learn"] = BudgetSpentError("the 3 minutes are spent")
    with pytest.raises(SystemExit) as end:
        build_app()(["recalibrate", "--drives", "drives"])
    assert end.value.code == 75
    assert "3 minutes are spent" in capsys.readouterr().err
    del parts.broken["learn"]
    with pytest.raises(SystemExit) as end:
        build_app()(["recalibrate", "--drives", "drives", "--json", "--budget-minutes", "5"])
    assert end.value.code == 0
    assert '"outcome": "activated"' in capsys.readouterr().out
    assert parts.calls == ["choose", "trust", "learn", "learn", "gate"]


def test_refused_is_exit_code_1_and_said(
    parts: Parts, champion: Bundle, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parts.passed["gate"] = False
    config = tmp_path / "car.toml"
    config.write_text(
        '[[camera]]\nname = "front"\nsource = "/dev/video0"\n'
        '[refit]\ndepth = "recalibrate"\ndrives = "drives"\nwhile_idle = false\n'
    )
    with pytest.raises(SystemExit) as end:
        build_app()(["refit", "--config", str(config)])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "gate failed" in out
    assert "monday" in out
