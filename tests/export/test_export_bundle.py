from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevad.bundle import Bundle
from edgevad.calibration.guard import GuardLimits
from edgevad.errors import CalibrationError, EdgevadError, ExportError, LabelError, OptionError, OutputError
from edgevad.export import bundle_for_target, choosing
from edgevad.export.options import ExportObserver, ExportOptions
from edgevad.runtime.selftest import SELFTEST_RTOL, self_test
from edgevad.targets import load_target

CPU, ORIN = load_target("cpu"), load_target("jetson-orin")


@pytest.fixture
def int8_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine is: how fast a net of 32 pixels runs is not what is tested."""
    monkeypatch.setattr(choosing, "_milliseconds", lambda *_: {"fp32": 3.0, "int8": 1.0})


@pytest.fixture
def int8_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_milliseconds", lambda *_: {"fp32": 1.0, "int8": 0.95})


class Told(ExportObserver):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.done = 0

    def stage(self, what: str, total: int | None = None) -> None:
        self.stages.append(what)

    def advance(self, done: int) -> None:
        self.done = done


@pytest.mark.usefixtures("int8_is_fast")
def test_an_int8_bundle_holds_both_graphs_and_the_whole_report(trained_model: Path, tmp_path: Path) -> None:
    told = Told()
    bundle = bundle_for_target(trained_model, CPU, tmp_path / "bundle", observer=told)
    manifest = bundle.manifest
    assert (manifest.precision, manifest.backend) == ("int8", "onnxruntime")
    assert set(manifest.graphs) == {"fp32", "int8"}
    assert len(bundle.graph("int8")) < 0.6 * len(bundle.graph("fp32"))
    assert manifest.selftest_rtol == SELFTEST_RTOL["int8"]
    assert self_test(bundle) < 1e-3
    assert manifest.guard is not None
    assert manifest.guard["agreement"]["passed"] is True
    assert manifest.guard["calibration_frames"] == 300
    report = json.loads(bundle.read("guard.json"))
    assert report["attempts"][0]["precision"] == "int8"
    assert report["limits"]["max_rank_loss"] == 0.01
    assert len(report["drives"]["timestamps_ns"]) == 300
    assert bundle.read("guard.png").startswith(b"\x89PNG")
    assert "trying INT8 (minmax)" in told.stages
    assert told.done == 1000
    assert not [path for path in tmp_path.iterdir() if path.name != "bundle"]


@pytest.mark.usefixtures("int8_is_slow")
def test_where_int8_does_not_pay_float_is_kept_and_the_drives_are_not_even_read(
    trained_model: Path, tmp_path: Path
) -> None:
    told = Told()
    bundle = bundle_for_target(trained_model, CPU, tmp_path / "bundle", observer=told)
    assert bundle.manifest.precision == "fp32"
    assert bundle.manifest.guard is not None
    assert "too small for INT8 to pay, which takes 0.95 ms" in bundle.manifest.guard["why"]
    assert "reading the drives" not in told.stages
    assert "guard.png" not in bundle.manifest.files


def test_a_jetson_gets_a_static_graph_of_int8_pairs(trained_model: Path, tmp_path: Path) -> None:
    bundle = bundle_for_target(trained_model, ORIN, tmp_path / "orin.edgevad")
    assert bundle.path.is_file()
    assert (bundle.manifest.precision, bundle.manifest.backend) == ("int8", "tensorrt")
    assert bundle.manifest.device() == ORIN
    # ONNX Runtime stands in for the engine that only the device can build.
    assert self_test(Bundle.open(bundle.path), backend="onnxruntime") < 1e-3


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_precision_can_be_asked_for(trained_model: Path, tmp_path: Path, precision: str) -> None:
    options = ExportOptions(precision=precision)
    bundle = bundle_for_target(trained_model, ORIN, tmp_path / "bundle", options=options)
    assert bundle.manifest.precision == precision
    assert bundle.manifest.selftest_rtol == SELFTEST_RTOL[precision]
    assert self_test(bundle, backend="onnxruntime") <= SELFTEST_RTOL[precision]


def test_what_was_asked_for_and_changes_the_scores_is_refused(outlier_model: Path, tmp_path: Path) -> None:
    limits = GuardLimits(max_rank_loss=0.0)
    options = ExportOptions(precision="int8", range_method="minmax", limits=limits)
    with pytest.raises(ExportError, match=r"INT8 would change what the car is told: .* --precision auto"):
        bundle_for_target(outlier_model, ORIN, tmp_path / "bundle", options=options)
    assert list(tmp_path.iterdir()) == []


def with_sources(model: Path, copy: Path, source: Path | str) -> Path:
    """A copy of the model that says it was trained on something else."""
    shutil.copytree(model, copy)
    config = json.loads((copy / "config.json").read_text())
    config["recipe"]["sources"] = [str(source)]
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_without_the_training_recordings_float32_is_left_and_says_so(trained_model: Path, tmp_path: Path) -> None:
    copy = with_sources(trained_model, tmp_path / "model", tmp_path / "gone.mp4")
    bundle = bundle_for_target(copy, ORIN, tmp_path / "bundle")
    assert bundle.manifest.precision == "fp32"
    why = (bundle.manifest.guard or {})["why"]
    assert why.startswith("FP32: the training recordings cannot be quantised by (")
    assert "--calib" in why
    with pytest.raises(CalibrationError, match=r"gone.mp4.*--calib"):
        bundle_for_target(copy, ORIN, tmp_path / "other", options=ExportOptions(precision="int8"))
    with pytest.raises(CalibrationError, match=r"gone.mp4.*--calib"):  # what is named must do
        bundle_for_target(copy, ORIN, tmp_path / "o", options=ExportOptions(drives=(str(tmp_path / "gone.mp4"),)))


def test_training_recordings_too_short_to_quantise_by_leave_float32(
    trained_model: Path, tiny_video: Path, tmp_path: Path
) -> None:
    copy = with_sources(trained_model, tmp_path / "model", tiny_video)
    bundle = bundle_for_target(copy, ORIN, tmp_path / "bundle")
    assert bundle.manifest.precision == "fp32"
    assert "120 frames leave" in (bundle.manifest.guard or {})["why"]


def test_a_model_of_a_glob_is_quantised_by_what_it_names(trained_model: Path, tmp_path: Path) -> None:
    copy = with_sources(trained_model, tmp_path / "model", trained_model.parent / "drive" / "*.mp4")
    assert bundle_for_target(copy, ORIN, tmp_path / "bundle").manifest.precision == "int8"


def test_a_bundle_for_openvino_gets_its_own_graph(trained_model: Path, tmp_path: Path) -> None:
    options = ExportOptions(precision="int8", backend="openvino")
    bundle = bundle_for_target(trained_model, CPU, tmp_path / "new" / "bundle", options=options)
    assert bundle.manifest.backend == "openvino"
    model = onnx.load_from_string(bundle.graph())
    zeros = [tensor for tensor in model.graph.initializer if "zero_point" in tensor.name]
    assert {tensor.data_type for tensor in zeros} >= {onnx.TensorProto.UINT8}
    assert "Resize" in {node.op_type for node in model.graph.node}
    assert len(bundle.graph()) < 0.6 * len(bundle.graph("fp32"))
    # The guard looked through OpenVINO; ONNX Runtime, which gave the self-test's scores, agrees with it.
    assert self_test(bundle) <= SELFTEST_RTOL["int8"]


def test_a_profile_that_prefers_float32_gets_it(trained_model: Path, tmp_path: Path) -> None:
    target = replace(ORIN, precisions=("fp32", "int8"))
    bundle = bundle_for_target(trained_model, target, tmp_path / "bundle")
    assert bundle.manifest.precision == "fp32"
    assert (bundle.manifest.guard or {})["why"] == "FP32: jetson-orin's profile prefers it."


def test_motion_comes_along(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A model whose camera stands still for it: flow is a part of the score, and an input of both graphs."""
    from trained import write_trained

    model = write_trained(tmp_path_factory.mktemp("moving"), motion="difference")
    bundle = bundle_for_target(model, ORIN, tmp_path / "bundle")
    assert bundle.manifest.precision == "int8"
    assert "motion" in bundle.manifest.calibration.names
    assert self_test(bundle, backend="onnxruntime") <= SELFTEST_RTOL["int8"]


@pytest.mark.parametrize("score", ["patch", "pcc"])
def test_models_with_a_single_score_are_quantised_too(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, score: str
) -> None:
    from trained import write_trained

    model = write_trained(tmp_path_factory.mktemp(score), score=score)
    bundle = bundle_for_target(
        model, ORIN, tmp_path / "bundle", options=ExportOptions(limits=GuardLimits(0.05, 0.05, 0.5, 0.5))
    )
    assert bundle.manifest.precision == "int8"
    assert score in (bundle.manifest.guard or {})["agreement"]["rank"]


def test_labels_give_the_auroc_before_and_after(trained_model: Path, tmp_path: Path) -> None:
    drive = next((trained_model.parent / "drive").glob("*.mp4"))
    labels = next((trained_model.parent / "drive").glob("*labels*.csv"))
    options = ExportOptions(precision="int8", drives=(str(drive),), labels=labels)
    bundle = bundle_for_target(trained_model, ORIN, tmp_path / "bundle", options=options)
    before, after = (bundle.manifest.guard or {})["agreement"]["auroc"]
    assert 0.5 < before <= 1
    assert abs(before - after) < 0.005


def test_labels_of_another_length_are_refused(trained_model: Path, tmp_path: Path) -> None:
    drive = next((trained_model.parent / "drive").glob("*.mp4"))
    labels = tmp_path / "labels.csv"
    labels.write_text("frame,level\n0,0\n1,2\n")
    options = ExportOptions(precision="int8", drives=(str(drive),), labels=labels)
    with pytest.raises(LabelError, match="labels for 2 frames, but"):
        bundle_for_target(trained_model, ORIN, tmp_path / "bundle", options=options)
    labels.write_text("frame,level\n" + "".join(f"{k},{2 * (k % 7 == 0)}\n" for k in range(5000)))
    with pytest.raises(LabelError, match="labels for 5000 frames, but"):
        bundle_for_target(trained_model, ORIN, tmp_path / "bundle", options=options)


def test_labels_that_are_not_there_are_missed_at_once(trained_model: Path, tmp_path: Path) -> None:
    told = Told()
    options = ExportOptions(precision="fp32", drives=("drive.mp4",), labels=tmp_path / "none.csv")
    with pytest.raises(LabelError, match=r"none\.csv"):
        bundle_for_target(trained_model, ORIN, tmp_path / "bundle", options=options, observer=told)
    assert told.stages == ["exporting the graph"]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (CPU, {"precision": "fp16"}, r"target cpu does not compute in fp16; expected one of int8, fp32"),
        (CPU, {"backend": "tensorrt"}, r"target cpu does not run 'tensorrt'; expected onnxruntime or openvino"),
        (ORIN, {"backend": "openvino"}, r"target jetson-orin does not run 'openvino'; expected tensorrt"),
    ],
)
def test_what_a_target_cannot_do_is_said_before_anything_is_read(
    target: object, options: dict[str, str], message: str, tmp_path: Path, trained_model: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        bundle_for_target(trained_model, target, tmp_path / "bundle", options=ExportOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"calibration_frames": 3}, "3 calibration frames; expected 30 to 10000"),
        ({"labels": Path("labels.csv")}, "labels are of one recording"),
        ({"range_method": "best"}, "unknown range method 'best'; expected one of auto, minmax"),
        ({"fps_hz": 5.0}, "a frame rate, and no drive that it is of"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExportOptions(**options)  # type: ignore[arg-type]


def test_what_is_there_stays(trained_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for overwrite, message in ((False, "is there already"), (True, "is no bundle")):
        with pytest.raises(OutputError, match=message):
            bundle_for_target(trained_model, CPU, tmp_path, overwrite=overwrite)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_int8_scores_like_float32_through_the_whole_runtime(trained_model: Path, tmp_path: Path) -> None:
    """The guard's promise, held by the pipeline itself on the recording."""
    from edgevad import Pipeline, Scorer, open_source

    bundle = bundle_for_target(trained_model, CPU, tmp_path / "b", options=ExportOptions(precision="int8"))
    drive = next((trained_model.parent / "drive").glob("*.mp4"))
    scores = []
    for which in (
        bundle,
        bundle_for_target(trained_model, CPU, tmp_path / "f", options=ExportOptions(precision="fp32")),
    ):
        with Scorer.from_bundle(which) as scorer, open_source(str(drive)) as source:
            scores.append(np.array([result.anomaly_score for result in Pipeline(scorer, source)]))
    assert np.corrcoef(scores[0], scores[1])[0, 1] > 0.999


def test_errors_are_of_ours(tmp_path: Path) -> None:
    with pytest.raises(EdgevadError):
        bundle_for_target(tmp_path / "nothing", CPU, tmp_path / "bundle")
