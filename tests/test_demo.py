"""The demo, with a short drive and hardly any training: every stage, every file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgevad.demo import STAGES, run_demo
from edgevad.errors import OptionError
from edgevad.model.trainer import TrainConfig
from edgevad.model.training import Observer
from edgevad.synth import SynthConfig

SHORT = SynthConfig(seconds=40, anomaly_share=0.2)
QUICK = TrainConfig(round_steps=5, max_rounds=5)


class View:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.broken = False

    def begins(self, stage: str) -> None:
        self.told.append(stage)

    def ended(self, stage: str, seconds: float, sentence: str) -> None:
        assert self.told[-1] == stage
        assert sentence

    def broke_off(self) -> None:
        self.broken = True

    def rendered(self, done: int, total: int) -> None:
        assert done <= total

    @contextmanager
    def training(self) -> Iterator[Observer]:
        yield Observer()


@pytest.mark.slow
def test_demo_goes_all_the_way(tmp_path: Path) -> None:
    view = View()
    result = run_demo(tmp_path / "demo", SHORT, view, QUICK)
    assert tuple(view.told) == STAGES
    assert result.run.frames == 400
    assert result.evaluation.auroc is not None
    value = json.loads(json.dumps(result.to_json()))
    assert value["run"]["frames"] == 400
    page = result.page.read_text()
    for kind in result.evaluation.kinds:
        assert kind.name in page
    for link in ("evaluation/evaluation.png", "model/history.png", "run/annotated.mp4", "drive/drive.mp4"):
        assert link in page
        assert (result.out / link).stat().st_size > 1000


def test_demo_leaves_other_peoples_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OptionError, match="no demo was there"):
        run_demo(tmp_path, SHORT, View(), QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_stage_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("edgevad.demo.write_drive", fail)
    view = View()
    with pytest.raises(OSError, match="no"):
        run_demo(tmp_path / "demo", SHORT, view, QUICK)
    assert view.broken
