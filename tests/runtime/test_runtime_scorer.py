from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgevad.bundle import Bundle
from edgevad.errors import BundleError, OptionError
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.window import WindowSpec


def test_a_bundle_becomes_a_scorer(tiny_bundle: Path) -> None:
    with Scorer.from_bundle(tiny_bundle, threads=2) as scorer:
        assert (scorer.name, scorer.path) == ("tiny", str(tiny_bundle))
        assert scorer.calibration == Bundle.open(tiny_bundle).manifest.calibration


def test_another_budget_or_window_is_calibrated_anew(tiny_bundle: Path) -> None:
    scorer = Scorer.from_bundle(tiny_bundle)
    before = scorer.calibration

    assert scorer.recalibrated().calibration == before
    # The bundle was calibrated from the very scores it carries.
    again = scorer.recalibrated(window=before.window, alarms_per_hour=before.alarms_per_hour).calibration
    assert again.threshold == pytest.approx(before.threshold)
    lenient = scorer.recalibrated(alarms_per_hour=60.0).calibration
    assert lenient.threshold < before.threshold
    assert (lenient.window, lenient.alarms_per_hour) == (before.window, 60.0)
    longer = scorer.recalibrated(window=WindowSpec("mean", 3.0)).calibration
    assert longer.names == before.names == ("patch",)
    assert longer.parts[0].scale < before.parts[0].scale
    assert longer.alarms_per_hour == before.alarms_per_hour


@pytest.mark.parametrize("margin", [None, 2.5])
def test_a_recalibration_keeps_who_leads(tiny_bundle: Path, margin: float | None) -> None:
    scorer = Scorer.from_bundle(tiny_bundle)
    rows = scorer.training_scores()
    twice = replace(rows, score=np.repeat(rows.score, 2, axis=1))
    patch = scorer.calibration.parts[0]
    calibration = replace(scorer.calibration, parts=(replace(patch, name="view", margin=margin), patch))
    two = replace(scorer, calibration=calibration, training_scores=lambda: twice)
    again = two.recalibrated(alarms_per_hour=60.0).calibration
    assert [(part.name, part.margin) for part in again.parts] == [("view", margin), ("patch", 0.0)]
    assert again.threshold == pytest.approx(scorer.recalibrated(alarms_per_hour=60.0).calibration.threshold)


def test_a_threshold_is_taken_as_it_is(tiny_bundle: Path) -> None:
    scorer = Scorer.from_bundle(tiny_bundle)
    other = scorer.recalibrated(threshold=2.5)
    assert other.calibration.threshold == 2.5
    assert other.calibration.parts == scorer.calibration.parts
    assert scorer.calibration.threshold != 2.5
    with pytest.raises(OptionError, match="threshold nan"):
        scorer.recalibrated(threshold=float("nan"))


def test_no_bundle_no_scorer(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Scorer.from_bundle(tmp_path / "nothing")
