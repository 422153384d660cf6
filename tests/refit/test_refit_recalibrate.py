from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from remembering import HZ, coordinates, recording, write_remembering_bundle

from edgevad.bundle import Bundle, write_bundle
from edgevad.bundle.bundle import TONES_NAME
from edgevad.calibration.judging import judge
from edgevad.errors import BundleError, OutputError, RefitError
from edgevad.model.cache import FrameCache
from edgevad.refit.elsewhere import score_elsewhere
from edgevad.refit.recalibrate import recalibrate
from edgevad.refit.selection import Selection
from edgevad.runtime.backends.opening import open_backend
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.selftest import self_test
from edgevad.runtime.toning import shares

DARK = (60, 70, 80)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_remembering_bundle(tmp_path_factory.mktemp("champion") / "bundle", recording(200))


def dark(seed: int = 5) -> FrameCache:
    return recording(100, color=DARK, seed=seed)


def dawn() -> FrameCache:
    """Four seconds at home, and then it is dark."""
    cache = dark()
    cache.images[:40] = recording(4, seed=11).images
    return cache


def anomaly(bundle: Bundle, cache: FrameCache) -> np.ndarray:
    with Scorer.from_bundle(bundle) as scorer:
        return judge(scorer.backend, cache, np.arange(len(cache)), scorer.calibration, heatmaps=False).anomaly


def test_a_new_condition_alarms_no_more_and_the_old_one_neither(champion: Bundle, tmp_path: Path) -> None:
    threshold = champion.manifest.calibration.threshold
    assert (anomaly(champion, dark()) > threshold).mean() > 0.9
    found = recalibrate(champion, Selection.of_recording(dark()), tmp_path / "out")
    threshold = found.manifest.calibration.threshold
    assert (anomaly(found, dark(seed=6)) > threshold).mean() < 0.02
    assert (anomaly(found, recording(60, seed=7)) > threshold).mean() < 0.02
    pale = recording(20, color=(200, 160, 180), seed=8)
    assert (anomaly(found, pale) > threshold).mean() > 0.9


def test_graphs_stay_the_same_to_the_byte_and_the_self_test_passes(champion: Bundle, tmp_path: Path) -> None:
    found = recalibrate(champion, Selection.of_recording(dark()), tmp_path / "out.edgevad")
    assert found.graph() == champion.graph()
    assert found.remember_graph() == champion.remember_graph()
    assert found.manifest.input == champion.manifest.input
    assert self_test(Bundle.open(tmp_path / "out.edgevad")) < 5e-2
    before, after = champion.bank(), found.bank()
    assert before is not None
    assert after is not None
    assert not np.array_equal(before, after)


def test_another_budget_can_be_had_of_what_it_brings(champion: Bundle, tmp_path: Path) -> None:
    found = recalibrate(champion, Selection.of_recording(dark()), tmp_path / "out")
    with Scorer.from_bundle(found) as scorer:
        again = scorer.recalibrated(alarms_per_hour=scorer.calibration.alarms_per_hour)
        assert again.calibration == found.manifest.calibration


def test_frames_of_events_and_those_that_stand_out_are_not_remembered(champion: Bundle, tmp_path: Path) -> None:
    cache = dark()
    rng = np.random.default_rng(1)
    logged, unseen = slice(300, 320), slice(600, 620)
    for part in (logged, unseen):
        cache.images[part] = rng.integers(225, 255, cache.images[part].shape, dtype=np.uint8)
    selection = Selection.of_recording(cache, hold_out=0.0)
    in_event = np.zeros(len(cache), np.bool_)
    in_event[logged] = True
    weight = np.where(in_event, 0.25, 1.0).astype(np.float32)
    found = recalibrate(champion, replace(selection, in_event=in_event, weight=weight), tmp_path / "out")
    bank = found.bank()
    assert bank is not None
    rows = bank[bank[..., -1] < 1e6][:, :-1]
    assert rows.max() < 20.0  # a bright frame's are above 22
    assert (anomaly(found, cache)[logged] > found.manifest.calibration.threshold).mean() > 0.5


def test_held_out_frames_are_never_learnt_from(champion: Bundle, tmp_path: Path) -> None:
    cache = dark()
    selection = Selection.of_recording(cache)
    cache.images[selection.held_out] = 250
    found = recalibrate(champion, selection, tmp_path / "out")
    bank, replay = found.bank(), found.replay()
    assert bank is not None
    assert replay is not None
    assert bank[bank[..., -1] < 1e6][:, :-1].max() < 20.0
    assert replay.images.reshape(len(replay), -1).mean(axis=1).max() < 200


def test_the_replay_holds_frames_of_before_and_of_now(champion: Bundle, tmp_path: Path) -> None:
    found = recalibrate(champion, Selection.of_recording(dark()), tmp_path / "out")
    replay = found.replay()
    assert replay is not None
    means = coordinates(replay.images)[:, 0]
    assert (means > 8.3).any()
    assert (means < 7.7).any()
    assert len(replay) <= 400
    assert (np.diff(replay.segment) >= 0).all()


def test_it_says_what_it_was_made_from(champion: Bundle, tmp_path: Path) -> None:
    first = recalibrate(champion, Selection.of_recording(dark(), "monday"), tmp_path / "one")
    second = recalibrate(first, Selection.of_recording(dark(seed=9), "tuesday"), tmp_path / "two")
    made = second.manifest.provenance["refit"]
    assert made["depth"] == "recalibrate"
    assert made["parent"] == first.digest
    assert [drive["name"] for drive in made["drives"]] == ["tuesday"]
    oldest, latest = made["lineage"]
    assert (oldest["depth"], oldest["digest"], oldest["sources"]) == ("train", champion.digest, ["first.mp4"])
    assert (latest["depth"], latest["drives"][0]["name"]) == ("recalibrate", "monday")


def test_the_same_frames_give_the_same_bundle(champion: Bundle, tmp_path: Path) -> None:
    one, two = (recalibrate(champion, Selection.of_recording(dark()), tmp_path / name) for name in ("one", "two"))
    for name in one.manifest.files:
        assert one.read(name) == two.read(name), name
    assert one.manifest.calibration == two.manifest.calibration


def test_too_little_and_frames_of_another_size_are_refused(champion: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RefitError, match="200 frames to learn from"):
        recalibrate(champion, Selection.of_recording(recording(20, color=DARK)), tmp_path / "out")
    cache = dark()
    other = replace(cache, images=np.zeros((len(cache), 8, 8, 3), np.uint8))
    with pytest.raises(RefitError, match="height, width"):
        recalibrate(champion, Selection.of_recording(other), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_not_replaced_unasked(champion: Bundle, tmp_path: Path) -> None:
    selection = Selection.of_recording(dark())
    recalibrate(champion, selection, tmp_path / "out")
    with pytest.raises(OutputError, match="there already"):
        recalibrate(champion, selection, tmp_path / "out")
    recalibrate(champion, selection, tmp_path / "out", overwrite=True)


def test_a_bundle_without_memory_gets_new_statistics(tiny_bundle: Path, tmp_path: Path) -> None:
    champion = Bundle.open(tiny_bundle)
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(60, 6, (600, 32, 32, 3)) + rng.normal(0, 3, (600, 1, 1, 1)), 0, 255).astype(np.uint8)
    times = np.arange(600, dtype=np.int64) * (1_000_000_000 // HZ)
    cache = FrameCache(images, None, times, np.zeros(600, np.int32), 0)
    found = recalibrate(champion, Selection.of_recording(cache), tmp_path / "out")
    assert found.bank() is None
    assert (anomaly(champion, cache) > champion.manifest.calibration.threshold).all()
    assert (anomaly(found, cache) > found.manifest.calibration.threshold).mean() < 0.02


def test_a_frame_is_compared_with_other_times_only(champion: Bundle) -> None:
    cache = recording(30, color=DARK, seed=3)
    seconds, apart_s = cache.elapsed_s(), 2.0
    rows = np.arange(0, len(cache), 2)[:150]
    known = coordinates(cache.images)
    bank = np.zeros((10, 20, 4), np.float32)
    bank[..., 3] = 1e6
    times_s = np.full((10, 20), np.inf)
    places = np.arange(150)
    bank[places // 20, places % 20, :3] = known[rows]
    bank[places // 20, places % 20, 3] = np.square(known[rows]).sum(axis=1)
    times_s[places // 20, places % 20] = seconds[rows]
    engine = open_backend(champion)
    engine.remember(bank)
    whole = engine.score(cache.images[:40], None).score
    found = score_elsewhere(engine, cache, bank, times_s, apart_s)
    for k in (0, 7, 120, 299):
        squared = np.square(known[k] - known[rows]).sum(axis=1)
        # A mask is shared for a quarter of the time that counts as the same.
        near = np.abs(seconds[rows] - seconds[k])
        assert squared[near >= apart_s].min() - 1e-3 <= found[k, 0] <= squared[near >= 1.25 * apart_s].min() + 1e-3
    assert np.allclose(engine.score(cache.images[:40], None).score, whole)  # it remembers all of it again
    engine.close()


def test_neither_needs_torch() -> None:
    code = "import edgevad.refit.recalibrate, edgevad.refit.slow_learner, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_log_that_is_learnt_from_again_is_not_held_against_itself(champion: Bundle, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cache = recording(80)
    means = np.clip(60 + rng.normal(0, 0.9, (len(cache), 3)).cumsum(axis=0), 5, 95)  # no view comes again
    noise = rng.normal(0, 4, cache.images.shape)
    images = np.clip(means[:, None, None, :] + noise, 0, 255).astype(np.uint8)
    selection = Selection.of_recording(replace(cache, images=images), hold_out=0.0)
    once = recalibrate(champion, selection, tmp_path / "once")
    twice = recalibrate(once, selection, tmp_path / "twice")
    first, second = (np.median(found.training_scores().score[-len(cache) :]) for found in (once, twice))
    assert second > 0.7 * first


def test_where_little_was_kept_before_the_new_takes_its_place_and_no_frame_is_there_twice(
    champion: Bundle, tmp_path: Path
) -> None:
    once = recalibrate(champion, Selection.of_recording(dark()), tmp_path / "once")
    before = once.replay()
    assert before is not None
    assert len(before) > 300  # a hundred of them the champion's
    again = recalibrate(once, Selection.of_recording(dark()), tmp_path / "again").replay()
    assert again is not None
    assert len({image.tobytes() for image in again.images}) == len(again)


def test_another_light_gets_a_tone_curve_once(champion: Bundle, tmp_path: Path) -> None:
    once = recalibrate(champion, Selection.of_recording(dark()), tmp_path / "once")
    tones = once.tones()
    assert tones is not None
    assert len(tones) == 1
    assert tones.curves[0, DARK, range(3)].astype(float) == pytest.approx(100.0, abs=4)
    again = recalibrate(once, Selection.of_recording(dark(seed=9)), tmp_path / "again").tones()
    assert again is not None
    assert len(again) == 1
    assert np.array_equal(again.curves, tones.curves)
    assert "tone curve" in once.manifest.provenance["refit"]["tones"]
    assert recalibrate(champion, Selection.of_recording(recording(100, seed=4)), tmp_path / "same").tones() is None


def test_a_machine_that_leaves_the_tone_curve_out_fails_the_self_test(champion: Bundle, tmp_path: Path) -> None:
    # The log begins at home: what stands for the new condition must be of it all the same.
    found = recalibrate(champion, Selection.of_recording(dawn(), hold_out=0.0), tmp_path / "out")
    assert self_test(found) < 5e-2
    manifest = found.manifest
    without = write_bundle(
        tmp_path / "without",
        name=manifest.name,
        target=manifest.device(),
        backend=manifest.backend,
        precision=manifest.precision,
        graphs={"fp32": found.graph()},
        input=manifest.input,
        score=manifest.score,
        calibration=manifest.calibration,
        provenance=manifest.provenance,
        selftest=found.selftest(),
        selftest_rtol=manifest.selftest_rtol,
        scores=found.training_scores().arrays(),
        bank=found.bank(),
    )
    assert TONES_NAME not in without.manifest.files
    with pytest.raises(BundleError, match="self-test frame 1"):
        Scorer.from_bundle(without)


def test_a_log_that_is_all_events_is_learnt_from_and_confirmed_ones_are_not(champion: Bundle, tmp_path: Path) -> None:
    cache = dark()
    rng = np.random.default_rng(1)
    unseen, confirmed = slice(600, 620), slice(700, 720)
    for part in (unseen, confirmed):
        cache.images[part] = rng.integers(225, 255, cache.images[part].shape, dtype=np.uint8)
    weight = np.full(len(cache), 0.25, np.float32)
    weight[confirmed] = 0.0
    selection = Selection.of_recording(cache, hold_out=0.0)
    selection = replace(selection, in_event=np.ones(len(cache), np.bool_), weight=weight)
    found = recalibrate(champion, selection, tmp_path / "out")
    bank = found.bank()
    assert bank is not None
    assert bank[bank[..., -1] < 1e6][:, :-1].max() < 20.0
    threshold = found.manifest.calibration.threshold
    assert (anomaly(found, dark(seed=6)) > threshold).mean() < 0.02
    assert (anomaly(found, cache)[unseen] > threshold).mean() > 0.5


def test_the_scores_it_brings_have_the_level_of_their_own_condition(
    champion: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, scores = dawn(), []
    for gain in (1.0, 3.0):
        level = np.array([[gain]], np.float32)
        monkeypatch.setattr(
            "edgevad.refit.recalibrate.levelled",
            lambda tones, new, before, like, level=level: replace(tones, gain=level),
        )
        found = recalibrate(champion, Selection.of_recording(cache, hold_out=0.0), tmp_path / f"{gain}")
        tones = found.tones()
        assert tones is not None
        home = shares(tones, cache.images)[:, 0]
        scores.append(found.training_scores().score[-len(cache) :, 0])
    assert (home[:40] == 1).mean() > 0.8
    assert np.array_equal(scores[0][home == 1], scores[1][home == 1])
    assert scores[1][home == 0] == pytest.approx(9.0 * scores[0][home == 0], rel=1e-4)
