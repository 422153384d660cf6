from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import MAKERS, make_avenue, make_clips, make_single, make_ubnormal, write_video

from edgevad.datasets import LAYOUTS, labelled_recording, open_dataset
from edgevad.errors import LabelError, OptionError
from edgevad.evaluation.evaluate import evaluate
from edgevad.runtime.scorer import Scorer


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_test_clips_of_every_layout_evaluate_as_one(layout: str, tmp_path: Path, tiny_bundle: Path) -> None:
    dataset = open_dataset(MAKERS[layout](tmp_path))
    source, labels = labelled_recording(dataset.test, dataset.name)
    with Scorer.from_bundle(tiny_bundle) as scorer:
        evaluation = evaluate(scorer, source, labels)
    assert evaluation.labels == evaluation.source == dataset.name
    assert evaluation.series["frame"].auroc == 1.0
    assert len(np.unique(evaluation.frames.segment)) == (2 if layout == "single" else len(dataset.test))
    assert evaluation.to_json()["anomalous"] == int((evaluation.frames.level == 2).sum()) > 0


def test_ranges_are_continued_clip_by_clip(tmp_path: Path) -> None:
    root = make_ubnormal(tmp_path)
    abnormal, normal = open_dataset(root).test[0], root / "Scene1" / "normal_scene_1_scenario_1.mp4"
    for kind, name in (("normal_training", "normal_scene_1_scenario_2"), ("normal_test", normal.stem)):
        (root / f"{kind}_video_names.txt").write_text(name)
    (root / "abnormal_test_video_names.txt").write_text(abnormal.name)
    source, labels = labelled_recording(open_dataset(root).test, "UBnormal")
    with source:
        assert sum(1 for _ in source) == 11
    fitted = labels.fitted(11)
    assert fitted.level.tolist() == [0] * 5 + [0, 2, 2, 2, 2, 0]
    assert fitted.event[6] == f"clip {abnormal.name}"


def test_another_length_names_the_clip(tmp_path: Path, tiny_bundle: Path) -> None:
    root = make_avenue(tmp_path)
    write_video(root / "testing_videos" / "02.avi", 7)
    source, labels = labelled_recording(open_dataset(root).test, "Avenue")
    with (
        Scorer.from_bundle(tiny_bundle) as scorer,
        pytest.raises(LabelError, match=r"2_label.mat: labels for 5 frames, but .*02.avi has 7 frames"),
    ):
        evaluate(scorer, source, labels)


def test_labels_of_another_video_are_found_before_it_is_scored(tmp_path: Path) -> None:
    root = make_avenue(tmp_path)
    write_video(root / "testing_videos" / "02.avi", 8)
    with pytest.raises(LabelError, match=r"2_label.mat: labels for 5 frames, but .*02.avi has 8 frames"):
        labelled_recording(open_dataset(root).test, "Avenue")
    root = make_ubnormal(tmp_path / "ubnormal")
    write_video(root / "Scene1" / "abnormal_scene_1_scenario_1.mp4", 2)
    with pytest.raises(LabelError, match=r"the ranges reach frame 4, but .*scenario_1.mp4 has 2 frames"):
        labelled_recording(open_dataset(root).test, "UBnormal")


def test_a_rate_may_be_given(tmp_path: Path) -> None:
    dataset = open_dataset(make_clips(tmp_path))
    source, _ = labelled_recording(dataset.test, "clips", fps_hz=25.0)
    with source:
        assert source.fps_hint_hz == 25.0


def test_clips_that_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there are no clips"):
        labelled_recording((), "nothing")
    dataset = open_dataset(make_single(tmp_path))
    with pytest.raises(LabelError, match="has no labels"):
        labelled_recording(dataset.train, "single")
    (train,) = open_dataset(make_clips(tmp_path / "clips")).train
    with pytest.raises(LabelError, match="not one frame is labelled as anomaly"):
        labelled_recording([train], "normal")
