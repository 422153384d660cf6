from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevad.calibration.frames import CalibrationFrames, Drives
from edgevad.calibration.guard import GuardLimits
from edgevad.calibration.judging import judge
from edgevad.errors import OptionError
from edgevad.export import precision
from edgevad.export.loaded_model import LoadedModel, load_model
from edgevad.export.precision import Subject, choose_precision
from edgevad.export.qdq_from_onnx import QdqStyle, quantisable_layers

STYLES: list[QdqStyle] = ["onnxruntime", "tensorrt"]
NOTHING_PASSES = GuardLimits(max_rank_loss=0.0, max_flips=0.0, min_tail=1.0, min_heatmap=1.0)


def subject_of(model: LoadedModel, drives: Drives, frames: CalibrationFrames, **changes: object) -> Subject:
    reference = judge(model.backend(model.graph), drives.cache, frames.held_out, model.calibration)
    subject = Subject(
        graph=model.graph,
        spec=model.spec,
        bank=model.bank,
        calibration=model.calibration,
        cache=drives.cache,
        frames=replace(frames, reference=reference),
        open_backend=model.backend,
    )
    return replace(subject, **changes)  # type: ignore[arg-type]


def layers_in_int8(graph: bytes) -> set[str]:
    model = onnx.load_from_string(graph)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    return {
        node.name
        for node in model.graph.node
        if node.name.startswith("autoencoder.") and makers.get(node.input[1]) == "DequantizeLinear"
    }


def test_in_graphs_for_a_cpu_detail_is_ranked_too(
    loaded: LoadedModel, drives: Drives, frames: CalibrationFrames
) -> None:
    subject = subject_of(loaded, drives, frames)
    found = {style: choose_precision(subject, ["int8"], style).attempts[0].agreement.rank for style in STYLES}
    assert set(found["tensorrt"]) == {"frame score", "anomaly score", "residual"}
    assert set(found["onnxruntime"]) == {"frame score", "anomaly score", "residual", "detail"}


@pytest.mark.parametrize("style", STYLES)
def test_int8_is_taken_where_it_changes_nothing(
    loaded: LoadedModel, drives: Drives, frames: CalibrationFrames, style: QdqStyle
) -> None:
    choice = choose_precision(subject_of(loaded, drives, frames), ["int8", "fp16"], style)
    assert choice.precision == "int8"
    assert [attempt.method for attempt in choice.attempts] == ["minmax"]
    assert choice.attempts[0].agreement.passed
    assert choice.layer_cost == {}
    assert layers_in_int8(choice.graph) == {layer.name for layer in quantisable_layers(loaded.graph, style)}
    assert choice.why.startswith("INT8 (minmax ranges): on ")


@pytest.mark.parametrize("style", STYLES)
def test_a_model_with_an_outlier_channel_is_caught_and_rescued_by_the_layer_to_blame(
    outlier_model: Path, drives: Drives, frames: CalibrationFrames, style: QdqStyle
) -> None:
    model = load_model(outlier_model, batch=None)
    subject = subject_of(model, drives, frames)
    # It computes the same as before: the reference is as it was.
    np.testing.assert_allclose(subject.frames.reference.score, frames.reference.score, rtol=2e-2, atol=1e-4)
    said: list[str] = []
    choice = choose_precision(subject, ["int8", "fp16"], style, say=said.append)
    assert not choice.attempts[0].agreement.passed
    assert "INT8 changes the scores: looking for the layers to blame" in said
    assert choice.precision == "int8"
    # The outlier stands between the first two layers of the encoder: its reader, or its maker, stays in float.
    kept = set(choice.attempts[-1].float_layers)
    assert kept & {"autoencoder.encoder.0", "autoencoder.encoder.2"}
    assert kept.isdisjoint(layers_in_int8(choice.graph))
    assert layers_in_int8(choice.graph)
    worst = sorted(choice.layer_cost or {}, key=lambda name: -(choice.layer_cost or {})[name])[: len(kept)]
    assert set(worst) == kept
    assert choice.attempts[-1].agreement.passed
    assert choice.judged is not None


def test_what_cannot_be_rescued_falls_back_to_fp16_and_says_why(
    outlier_model: Path, drives: Drives, frames: CalibrationFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "LEAST_QUANTISED", 1.0)  # no layer may stay in float
    model = load_model(outlier_model, batch=None)
    choice = choose_precision(subject_of(model, drives, frames), ["int8", "fp16"], "tensorrt")
    assert choice.precision == "fp16"
    assert [attempt.precision for attempt in choice.attempts][-1] == "fp16"
    assert "INT8 at its best was refused: frame score keeps " in choice.why
    assert choice.layer_cost == {}  # nothing to blame where nothing may be kept
    assert choice.why.startswith("FP16: on ")


def test_where_nothing_passes_float32_is_left(loaded: LoadedModel, drives: Drives, frames: CalibrationFrames) -> None:
    subject = subject_of(loaded, drives, frames, limits=NOTHING_PASSES)
    choice = choose_precision(subject, ["int8", "fp16"], "tensorrt", method="minmax")
    assert choice.precision == "fp32"
    assert choice.graph == loaded.graph
    assert choice.why.startswith("FP32, since INT8 at its best was refused: ")
    assert ", and FP16 at its best was refused: " in choice.why
    assert not any(attempt.agreement.passed for attempt in choice.attempts)
    # All of it in INT8, up to half of the five convolutions in float, FP16.
    assert [len(attempt.float_layers) for attempt in choice.attempts] == [0, 1, 2, 0]


def test_a_method_asked_for_is_the_only_one_tried(
    outlier_model: Path, drives: Drives, frames: CalibrationFrames
) -> None:
    model = load_model(outlier_model, batch=None)
    choice = choose_precision(subject_of(model, drives, frames), ["int8"], "onnxruntime", method="mse")
    assert {attempt.method for attempt in choice.attempts} == {"mse"}
    with pytest.raises(OptionError, match="unknown range method 'best'"):
        choose_precision(subject_of(model, drives, frames), ["int8"], "onnxruntime", method="best")


def test_the_same_frames_give_the_same_graph(loaded: LoadedModel, drives: Drives, frames: CalibrationFrames) -> None:
    subject = subject_of(loaded, drives, frames)
    first, second = (choose_precision(subject, ["int8"], "tensorrt") for _ in range(2))
    assert first.graph == second.graph


def test_labels_reach_the_guard(loaded: LoadedModel, drives: Drives, frames: CalibrationFrames) -> None:
    anomaly = frames.reference.anomaly
    levels = np.where(anomaly > np.quantile(anomaly, 0.9), 2, 0).astype(np.int8)
    choice = choose_precision(subject_of(loaded, drives, frames, labels=levels), ["int8"], "tensorrt")
    auroc = choice.attempts[-1].agreement.auroc
    assert auroc is not None
    assert auroc[0] == 1.0
    assert auroc[1] > 0.99
