from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from driven import START_NS, log_days, results, run_of
from remembering import recording, write_remembering_bundle

from edgevad.bundle import Bundle
from edgevad.drives.folder import mark, open_drives
from edgevad.drives.layout import leg_name
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.errors import OptionError, RefitError, StoreError
from edgevad.refit.drift import DriftReport, DriftSpec, drift_of_drives
from edgevad.refit.drift_compare import compare
from edgevad.refit.drift_reference import DriftReference
from edgevad.refit.drift_taking import FrameTaker
from edgevad.refit.recalibrate import recalibrate
from edgevad.refit.selection import Selection
from edgevad.report.drift_plot import plot_drift

# The tiny bundle was calibrated on a minute.
SPEC = DriftSpec(alpha=0.3)


def look(root: Path, bundle: Bundle, **more: object) -> DriftReport:
    return drift_of_drives(root, bundle, **{"spec": SPEC, **more})  # type: ignore[arg-type]


def told(report: DriftReport) -> list[bool]:
    return [day.comparison.has_drifted for day in report.days]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, replaying_bundle: Bundle) -> Path:
    root = tmp_path_factory.mktemp("quiet")
    log_days(root, replaying_bundle, 4)
    return root


def test_days_like_the_calibration_tell_nothing(quiet: Path, replaying_bundle: Bundle) -> None:
    report = look(quiet, replaying_bundle)
    assert told(report) == [False] * 4
    assert report.advice.what == "none"
    assert [day.day for day in report.days] == ["2027-01-15", "2027-01-16", "2027-01-17", "2027-01-18"]
    assert [day.look for day in report.days] == [1, 2, 3, 4]
    # Little is driven: it is looked at with the days before it.
    assert [day.days for day in report.days] == [1, 2, 3, 4]
    assert "remembers nothing" in report.notes[0]


def test_darker_days_are_told_and_call_for_nothing_while_scores_hold(tmp_path: Path, replaying_bundle: Bundle) -> None:
    log_days(tmp_path, replaying_bundle, 1)
    log_days(tmp_path, replaying_bundle, 2, first=1, gray=0.3)
    report = look(tmp_path, replaying_bundle, spec=DriftSpec(alpha=0.3, window_days=1))
    assert told(report) == [False, True, True]
    finding = next(one for one in report.days[-1].comparison.findings if one.figure.name == "brightness")
    assert finding.effect.value == 0
    assert finding.sentence == "brightness is lower: in 100% of all pairs of frames"
    assert report.advice.what == "none"
    assert "scores hold, though brightness is lower" in report.advice.sentence


@pytest.mark.parametrize(("deviate", "depth"), [(1.2, "recalibrate"), (3.5, "adapt"), (9.0, "refit")])
def test_the_further_scores_move_the_deeper_is_the_adaptation(
    tmp_path: Path, replaying_bundle: Bundle, deviate: float, depth: str
) -> None:
    log_days(tmp_path, replaying_bundle, 1, deviate=deviate, seconds=300)
    report = look(tmp_path, replaying_bundle, spec=DriftSpec(alpha=0.9, margin=0.05))
    assert report.advice.what == report.advice.depth == depth
    assert "patch moved by" in report.advice.sentence


def test_a_lens_that_shows_nothing_in_a_tenth_of_the_frames_is_to_be_cleaned(replaying_bundle: Bundle) -> None:
    reference = DriftReference.of(replaying_bundle)
    taker = FrameTaker(reference, replaying_bundle.manifest.input)
    for number, result in enumerate(results(200)):
        is_faulty = number % 6 < 2
        taker.push(replace(result, state="fault", deviates=(), fault="covered") if is_faulty else result)
    found = compare(reference, taker.taken(), alpha=0.05)
    assert found.faulty_share == pytest.approx(1 / 3, abs=0.02)
    assert found.advice.what == "clean the lens"
    assert "33% of the frames" in found.advice.sentence


def test_json_has_every_effect_and_no_nan(quiet: Path, replaying_bundle: Bundle) -> None:
    document = json.loads(json.dumps(look(quiet, replaying_bundle).to_json(), allow_nan=False))
    assert document["drifted"] is False
    assert document["advice"] == {
        "what": "none",
        "depth": "none",
        "sentence": "nothing differs from the calibration by more than days do",
    }
    first = document["days"][0]
    assert set(first["effects"]) >= {"score patch", "brightness", "contrast", "veil", "blue", "red"}
    assert first["effects"]["brightness"][0].keys() == {"kind", "value", "low", "high", "p", "blocks", "margin"}


def test_what_was_measured_is_remembered_and_a_spoilt_memory_is_measured_again(
    tmp_path: Path, quiet: Path, replaying_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "drift"
    first = look(quiet, replaying_bundle, cache=cache)
    kept = sorted(cache.glob("legs/*/*.npz"))
    assert len(kept) == 4
    kept[0].write_bytes(b"nothing")
    assert look(quiet, replaying_bundle, cache=cache).to_json() == first.to_json()
    monkeypatch.setattr("edgevad.refit.drift_log.messages_of", lambda *_: pytest.fail("it was read again"))
    assert look(quiet, replaying_bundle, cache=cache).to_json() == first.to_json()


def test_a_day_keeps_its_number_when_the_days_before_it_are_gone(tmp_path: Path, replaying_bundle: Bundle) -> None:
    root, cache = tmp_path / "drives", tmp_path / "drift"
    log_days(root, replaying_bundle, 3, seconds=60)
    look(root, replaying_bundle, cache=cache)
    report = look(root, replaying_bundle, cache=cache, spec=DriftSpec(days=1))
    assert [(day.day, day.look) for day in report.days] == [("2027-01-17", 3)]
    # The look of a lost memory is counted anew.
    (cache / "looks.json").write_text("[]")
    assert look(root, replaying_bundle, cache=cache, spec=DriftSpec(days=1)).days[0].look == 1


def test_legs_that_nothing_is_to_be_learned_from_are_not_looked_at(tmp_path: Path, replaying_bundle: Bundle) -> None:
    log_days(tmp_path, replaying_bundle, 2, seconds=60)
    with open_drives(tmp_path) as catalogue:
        name = catalogue.drives()[0].name
        mark(tmp_path, catalogue, name, never_train=True)
    report = look(tmp_path, replaying_bundle)
    assert [day.day for day in report.days] == ["2027-01-16"]
    assert any("never-train" in note for note in report.notes)


def test_scores_of_another_bundle_are_left_out(tmp_path: Path, replaying_bundle: Bundle, tiny_bundle: Path) -> None:
    other = Bundle.open(tiny_bundle)
    log_days(tmp_path, other, 1, deviate=9.0, seconds=100)
    report = look(tmp_path, replaying_bundle)
    assert "score patch" not in report.days[0].comparison.effects
    assert "brightness" in report.days[0].comparison.effects
    assert any("another bundle" in note for note in report.notes)


def test_without_replay_frames_only_scores_are_compared(tmp_path: Path, tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    log_days(tmp_path, bundle, 1, seconds=100)
    report = look(tmp_path, bundle)
    assert list(report.days[0].comparison.effects) == ["score patch"]
    assert "no replay frames" in report.notes[0]


def test_a_broken_leg_is_a_note_and_the_others_are_looked_at(tmp_path: Path, replaying_bundle: Bundle) -> None:
    log_days(tmp_path, replaying_bundle, 2, seconds=60)
    drive = sorted(path for path in tmp_path.iterdir() if path.is_dir())[0]
    (drive / leg_name(1)).write_bytes(b"broken")
    report = look(tmp_path, replaying_bundle)
    assert [day.day for day in report.days] == ["2027-01-16"]
    assert any("the leg is broken" in note for note in report.notes)


def test_where_there_is_nothing_to_compare_it_says_so(tmp_path: Path, replaying_bundle: Bundle) -> None:
    with pytest.raises(StoreError, match="no drives"):
        look(tmp_path / "nowhere", replaying_bundle)
    log_days(tmp_path, replaying_bundle, 1, seconds=30)
    with pytest.raises(RefitError, match="no logged frame"):
        look(tmp_path, replaying_bundle, cameras=["rear"])


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"margin": 0.5}, {"margin": -0.1}, {"days": 0}])
def test_a_spec_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        DriftSpec(**wrong)  # type: ignore[arg-type]


def test_a_picture_is_drawn_of_every_figure(tmp_path: Path, quiet: Path, replaying_bundle: Bundle) -> None:
    pytest.importorskip("matplotlib")
    plot_drift(look(quiet, replaying_bundle), tmp_path / "drift.png")
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


def test_the_log_and_a_running_camera_give_the_same_figures(tmp_path: Path, replaying_bundle: Bundle) -> None:
    reference = DriftReference.of(replaying_bundle)
    taker = FrameTaker(reference, replaying_bundle.manifest.input)
    for result in results(60):
        taker.push(result)
    log_days(tmp_path, replaying_bundle, 1, seconds=60)
    from edgevad.refit.drift_log import LegReader

    with open_drives(tmp_path) as catalogue:
        reader = LegReader(tmp_path, reference, replaying_bundle.manifest.input)
        read = reader.read(catalogue.drives()[0], catalogue.legs()[0])["front"]
    live = taker.taken()
    assert read.values.shape == live.values.shape
    assert (read.time_ns == live.time_ns).all()
    # But for what JPEG does to noise.
    assert np.nanmax(np.abs(read.values[:, :2] - live.values[:, :2])) < 0.5
    assert run_of(replaying_bundle).bundle_digest == reference.digest


def test_what_a_recalibrated_bundle_repeats_is_no_surer_for_it(tmp_path: Path) -> None:
    before = write_remembering_bundle(tmp_path / "before", recording(200))
    found = recalibrate(before, Selection.of_recording(recording(100, seed=3)), tmp_path / "found")
    stretches = len(np.unique(found.training_scores().segment))
    blocks = len(np.unique(DriftReference.of(found).column(0)[1]))
    assert blocks < 40 < stretches  # of 100 frames of before in ten stretches, and of 80 seconds


def test_a_bundle_that_was_activated_in_the_middle_of_a_drive_has_its_own_scores(
    tmp_path: Path, replaying_bundle: Bundle
) -> None:
    """The drive was begun with another one, and its scores are on another scale."""
    other = replace(run_of(replaying_bundle), bundle_digest="0" * 64)
    with DriveLog(tmp_path, LogPolicy(image_fps_hz=None, pre_roll_s=0), LegRetention(floor_bytes=0)) as log:
        log.start(other)
        for result in results(150, deviate=9.0):
            log.push(result)
        log.continues(run_of(replaying_bundle))
        for result in results(150, start_ns=START_NS + 151 * 10**9):
            log.push(result)
    report = look(tmp_path, replaying_bundle)
    assert [note for note in report.notes if "1 legs were scored by another bundle" in note]
    assert abs(report.days[0].comparison.moved["score patch"]) < 1.0
