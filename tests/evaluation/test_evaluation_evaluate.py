from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgevad.bundle.manifest import PartCalibration
from edgevad.errors import LabelError, ModelError, OptionError, SourceUnreadableError
from edgevad.evaluation.evaluate import Evaluation, evaluate
from edgevad.evaluation.labels import Labels
from edgevad.evaluation.metrics import centred_mean
from edgevad.evaluation.opening import open_scorer
from edgevad.evaluation.top_frames import TopFrames
from edgevad.report.evaluation_view import evaluation_tables
from edgevad.runtime.backends import Backend, Scores
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.scorer import Scorer
from edgevad.sources import Frame, open_source


def labels(level: np.ndarray, *, event: str = "square", segment: np.ndarray | None = None) -> Labels:
    return Labels(level.astype(np.int8), tuple(event if at == 2 else "" for at in level), segment, "labels.csv")


def square(count: int = 120) -> np.ndarray:
    """The truth about `tiny_video`: a white square stands in frames 60 to 79."""
    level = np.zeros(count, np.int8)
    level[60:80] = 2
    return level


def run(bundle: Path, source: Path, truth: Labels) -> Evaluation:
    with open_scorer(bundle) as scorer, open_source(source) as frames:
        return evaluate(scorer, frames, truth)


def test_it_judges_what_the_runtime_decided(tiny_bundle: Path, tiny_video: Path) -> None:
    evaluation = run(tiny_bundle, tiny_video, labels(square()))
    with Scorer.from_bundle(tiny_bundle) as scorer, Pipeline(scorer, open_source(tiny_video)) as pipeline:
        results = list(pipeline)
        last = pipeline.finish()
    frames = evaluation.frames
    assert frames.frame_score.tolist() == [result.frame_score for result in results]
    assert frames.anomaly_score.tolist() == [result.anomaly_score for result in results]
    assert frames.is_anomaly.tolist() == [result.is_anomaly for result in results]
    assert list(evaluation.events) == [*(result.event for result in results if result.event is not None), *last]

    assert evaluation.series["frame"].auroc == 1.0
    assert evaluation.auroc == evaluation.series["window"].auroc
    assert evaluation.match.found == (True,)
    assert evaluation.false_alarms == 0
    assert evaluation.false_alarms_per_hour == 0.0
    assert evaluation.frames.duration_s == pytest.approx(11.9)
    assert [(kind.name, kind.events_found, kind.events, kind.frames) for kind in evaluation.kinds] == [
        ("square", 1, 1, 20)
    ]
    assert evaluation.kinds[0].auroc["frame"] == 1.0
    assert evaluation.top_frames[0].index in range(60, 80)


def test_the_centred_window_does_not_lag(tiny_bundle: Path, tiny_video: Path) -> None:
    evaluation = run(tiny_bundle, tiny_video, labels(square()))
    high = evaluation.threshold * 2
    trailing, centred = (np.flatnonzero(evaluation.scores(name) > high) for name in ("window", "centred"))
    assert trailing.mean() > 70.5  # looks back only: late by half a window
    assert centred.mean() == pytest.approx(69.5)


def test_false_alarms_are_counted_by_the_hour(tiny_bundle: Path, tiny_video: Path) -> None:
    level = np.zeros(120, np.int8)
    level[:10] = 2
    evaluation = run(tiny_bundle, tiny_video, labels(level))
    assert evaluation.match.found == (False,)
    assert evaluation.false_alarms == 1
    assert evaluation.false_alarms_per_hour == pytest.approx(3600 / 11.9)
    ambiguous = level.copy()
    ambiguous[70] = 1
    assert run(tiny_bundle, tiny_video, labels(ambiguous)).false_alarms == 0


def test_nothing_is_smoothed_across_the_labels_gaps(tiny_bundle: Path, tiny_video: Path) -> None:
    segment = np.where(np.arange(120) < 80, 0, 1)
    evaluation = run(tiny_bundle, tiny_video, labels(square(), segment=segment))
    assert evaluation.frames.segment.tolist() == segment.tolist()
    # The square ends with the segment, so neither window carries it on.
    blind = run(tiny_bundle, tiny_video, labels(square()))
    for name in ("window", "centred"):
        assert evaluation.scores(name)[79] > 200
        assert evaluation.scores(name)[80] < 20 < 150 < blind.scores(name)[80]
    assert evaluation.frames.duration_s == pytest.approx(7.9 + 3.9)


def test_frames_without_a_score_are_left_out_and_counted(tiny_motion_bundle: Path, tiny_video: Path) -> None:
    segment = np.where(np.arange(120) < 30, 0, 1)
    level = square()
    level[100:110] = 1
    evaluation = run(tiny_motion_bundle, tiny_video, labels(level, segment=segment))
    assert np.flatnonzero(np.isnan(evaluation.frames.frame_score)).tolist() == [0, 30]
    value = evaluation.to_json()
    assert value["left_out"] == {"ambiguous": 10, "warming_up": 2, "skipped": 0}
    assert value["scored"] == 118
    assert all(series["frames"] == 108 for series in value["series"].values())


def test_frames_that_cannot_be_read_keep_their_labels(tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    with open_source(tiny_video) as source:
        for frame in source:
            cv2.imwrite(str(tmp_path / f"{frame.index:03d}.png"), frame.image)
    for broken in (0, 5, 119):
        (tmp_path / f"{broken:03d}.png").write_bytes(b"no image")
    evaluation = run(tiny_bundle, tmp_path, labels(square()))
    assert evaluation.skipped == 3
    assert evaluation.to_json()["left_out"] == {"ambiguous": 0, "warming_up": 0, "skipped": 3}
    assert evaluation.series["frame"].auroc == 1.0
    assert evaluation.frames.duration_s == pytest.approx(11.7)
    assert np.flatnonzero(~evaluation.frames.seen).tolist() == [0, 5, 119]

    path = tmp_path / "scores.csv"
    evaluation.frames.write_csv(path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 120
    assert rows[5] == {
        "frame": "5",
        "timestamp_s": "",
        "segment": "",
        "frame_score": "",
        "anomaly_score": "",
        "cause": "",
        "is_anomaly": "0",
        "level": "0",
        "event": "",
    }
    assert rows[65]["timestamp_s"] == "6.500000"
    assert float(rows[65]["anomaly_score"]) == pytest.approx(evaluation.frames.anomaly_score[65], rel=1e-8)
    assert (rows[65]["is_anomaly"], rows[65]["level"], rows[65]["event"]) == ("1", "2", "square")
    assert {row["cause"] for row in rows if row["frame_score"]} == {"patch"}


def test_to_json_is_json(tiny_bundle: Path, tiny_video: Path) -> None:
    # All anomalies fall on frames of one segment: its own AUROC is all there is.
    value = run(tiny_bundle, tiny_video, labels(square())).to_json()
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again == value
    assert set(again["series"]) == {"frame", "window", "centred"}
    assert again["auroc"] == again["series"]["window"]["auroc"]
    assert again["at_threshold"]["events_found"] == 1


class TwoParts:
    """A part that is white where the frame is, and one that is noise."""

    batch = None

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._rng = np.random.default_rng(7)

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        scores = self._backend.score(frames, motion)
        noise = self._rng.normal(3.0, 0.5, (len(frames), 1)).astype(np.float32) ** 2
        return replace(scores, score=np.concatenate([noise, scores.score], axis=1))

    def close(self) -> None:
        self._backend.close()


def test_each_part_is_judged_by_itself(tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    with open_scorer(tiny_bundle) as one, open_source(tiny_video) as source:
        [white] = one.calibration.parts
        calibration = replace(one.calibration, parts=(PartCalibration("noise", 3.0, 0.3), white))
        two = replace(one, calibration=calibration, backend=TwoParts(one.backend))
        evaluation = evaluate(two, source, labels(square()))
    alone = run(tiny_bundle, tiny_video, labels(square()))
    assert alone.parts == alone.to_json()["parts"] == {}  # of one part it is the AUROC of the whole
    assert list(evaluation.parts) == ["noise", "patch"]
    assert evaluation.parts["patch"] == alone.auroc
    assert evaluation.parts["noise"] is not None
    assert abs(evaluation.parts["noise"] - 0.5) < 0.25
    assert json.loads(json.dumps(evaluation.to_json()))["parts"] == evaluation.parts

    frames = evaluation.frames
    assert frames.names == ("noise", "patch")
    assert frames.parts.shape == frames.deviates.shape == (120, 2)
    assert (frames.anomaly_score == frames.deviates.max(axis=1)).all()
    assert (frames.parts[:, 1] == alone.frames.parts[:, 0]).all()
    # The centred series is the largest deviate too, of means that look both ways.
    mean = np.stack(
        [centred_mean(part, frames.timestamp_ns, frames.segment, evaluation.window.length_s) for part in frames.parts.T]
    )
    expected = [max(calibration.deviates(row)) for row in mean.T.tolist()]
    assert evaluation.centred == pytest.approx(expected)
    [peak] = [event.cause for event in evaluation.events if event.peak_frame in range(60, 80)]
    assert peak == "patch"

    frames.write_csv(tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["cause"] for row in rows[62:80]] == ["patch"] * 18
    assert {row["cause"] for row in rows[:60]} == {"noise", "patch"}

    # A part that decides nothing is judged all the same, and is the cause of nothing.
    silent = replace(calibration, parts=(replace(calibration.parts[0], margin=None), white))
    with open_scorer(tiny_bundle) as one, open_source(tiny_video) as source:
        quiet = evaluate(replace(one, calibration=silent, backend=TwoParts(one.backend)), source, labels(square()))
    assert quiet.parts == evaluation.parts
    assert quiet.auroc == alone.auroc
    quiet.frames.write_csv(tmp_path / "quiet.csv")
    rows = list(csv.DictReader((tmp_path / "quiet.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["cause"] for row in rows} == {"patch"}

    console = Console(width=100)
    with console.capture() as capture:
        console.print(evaluation_tables(evaluation, []))
    words = [line.replace("│", " ").split() for line in capture.get().splitlines()]
    causes = [event.cause for event in evaluation.events]
    for name in ("noise", "patch"):
        assert [name, f"{evaluation.parts[name]:.3f}", str(causes.count(name))] in words


def test_parts_of_frames_without_a_score_are_left_out(tiny_motion_bundle: Path, tiny_video: Path) -> None:
    segment = np.where(np.arange(120) < 30, 0, 1)
    frames = run(tiny_motion_bundle, tiny_video, labels(square(), segment=segment)).frames
    for table in (frames.parts, frames.deviates):
        assert np.flatnonzero(np.isnan(table[:, 0])).tolist() == [0, 30]


@pytest.mark.parametrize("count", [50, 119, 121, 500])
def test_labels_of_another_length(tiny_bundle: Path, tiny_video: Path, count: int) -> None:
    level = np.zeros(count, np.int8)
    level[10:20] = 2
    with pytest.raises(LabelError, match=rf"labels for {count} frames, but .*drive\.mp4 has 120 frames"):
        run(tiny_bundle, tiny_video, labels(level))


def test_ranges_fit_any_length(tiny_bundle: Path, tiny_video: Path) -> None:
    ranges = Labels(square(80), ("square",) * 80, None, "ranges.csv", open_ended=True)
    assert (
        run(tiny_bundle, tiny_video, ranges).to_json()["series"]
        == (run(tiny_bundle, tiny_video, labels(square())).to_json()["series"])
    )


def test_a_live_source_cannot_be_labelled(tiny_bundle: Path, tiny_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_scorer(tiny_bundle) as scorer, open_source(tiny_video) as source:
        monkeypatch.setattr(source, "is_live", True)
        with pytest.raises(OptionError, match="is live; expected a recording"):
            evaluate(scorer, source, labels(square()))


def test_progress_is_told(tiny_bundle: Path, tiny_video: Path) -> None:
    told: list[int] = []
    with open_scorer(tiny_bundle) as scorer, open_source(tiny_video) as source:
        evaluate(scorer, source, labels(square()), on_frame=told.append)
    assert told == list(range(1, 121))


def test_what_is_neither_a_model_nor_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder; expected a model"):
        open_scorer(tmp_path / "missing")
    with pytest.raises(ModelError, match="this folder holds neither a model nor a bundle"):
        open_scorer(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="this is not a folder"):
        open_scorer(tmp_path / "file")
    shutil.copy(tiny_bundle / "model.onnx", tmp_path / "config.json")
    with pytest.raises(ModelError):  # a model then, but a broken one
        open_scorer(tmp_path)


def test_a_bundle_is_scored_by_the_backend_that_was_named_and_a_model_by_torch(
    tiny_bundle: Path, tiny_video: Path, tmp_path: Path
) -> None:
    found = {}
    for backend in ("onnxruntime", "openvino"):
        with open_scorer(tiny_bundle, backend=backend) as scorer, open_source(tiny_video) as source:
            assert scorer.engine == f"{backend}, fp32"
            found[backend] = evaluate(scorer, source, labels(square())).frames.frame_score
    np.testing.assert_allclose(found["openvino"], found["onnxruntime"], atol=1e-4)  # deviates
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OptionError, match="the backend openvino was named for a model, which torch scores"):
        open_scorer(tmp_path, backend="openvino")


def test_an_unreadable_recording_is_the_sources_error(tiny_bundle: Path, tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(b"no image")
    with pytest.raises(SourceUnreadableError):
        run(tiny_bundle, tmp_path, labels(np.array([0, 2, 0])))


def result(index: int, score: float | None, segment: int = 0) -> Result:
    image = np.full((100, 640, 3), index % 256, np.uint8)
    heatmap = None if score is None else np.full((2, 2), score, np.float32)
    frame = Frame(image, index, index * 10**9, "made", segment)
    row = () if score is None else (score,)
    cause = None if score is None else "patch"
    return Result(frame, row, row, score, score, cause, False, "normal", heatmap, 0.0, None)


def test_top_frames_are_apart_small_and_in_order() -> None:
    top = TopFrames(count=3, apart_s=3.0)
    scores = [5.0, 6.0, 4.0, None, 1.0, 7.0, 2.0, 8.0, 3.0, 9.0]
    for index, score in enumerate(scores):
        top.push(result(index, score))
    top.push(result(10, 8.5, segment=1))
    best = top.best()
    # 8 replaces 7, which is 2 s before it, and 9 replaces 8; 6 replaces 5.
    assert [(frame.index, frame.frame_score) for frame in best] == [(9, 9.0), (10, 8.5), (1, 6.0)]
    assert best[0].image.shape == (50, 320, 3)
    assert (best[0].image == 9).all()
    top.push(result(20, 1.0))
    assert [frame.index for frame in top.best()] == [9, 10, 1]
    top.push(result(30, 6.5))
    assert [frame.index for frame in top.best()] == [9, 10, 30]


def test_no_top_frames_wanted() -> None:
    top = TopFrames(count=0)
    top.push(result(0, 1.0))
    assert top.best() == ()
