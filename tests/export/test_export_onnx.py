from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgevad.export import onnx_from_model
from edgevad.export.onnx_from_model import OPSET
from edgevad.model.config import ModelConfig
from edgevad.model.scoring import ScoringModule, local_errors, pearson_distance

TINY = ModelConfig(size_px=32, width=4, depth=2, latent=6, cell_px=8)
VARIANTS = [
    TINY,
    replace(TINY, score="mse", appearance="gray"),
    replace(TINY, score="pcc", appearance="color", decoder="conv"),
    replace(TINY, motion="flow", motion_lags_ms=(100, 200)),
    replace(TINY, appearance="none", motion="difference"),
]


def module_of(config: ModelConfig) -> ScoringModule:
    torch.manual_seed(0)
    module = ScoringModule(config)
    module.representation.mean.uniform_(-1, 1)
    module.representation.scale.uniform_(0.5, 2)
    with torch.no_grad():
        module.autoencoder.mean_frame.normal_()
    return module.eval()


def inputs_of(config: ModelConfig, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {"frames": rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)}
    if config.motion != "none":
        inputs["motion"] = rng.gamma(1.0, 5.0, (count, 32, 32, config.motion_channels)).astype(np.float32)
    return inputs


@pytest.mark.parametrize("config", VARIANTS, ids=lambda c: f"{c.appearance}-{c.motion}-{c.decoder}-{c.score}")
def test_onnx_runtime_computes_what_torch_computes(config: ModelConfig) -> None:
    module = module_of(config)
    session = onnxruntime.InferenceSession(onnx_from_model(module), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        inputs = inputs_of(config, count)
        outputs = session.run(["score", "heatmap", "latent"], inputs)
        with torch.no_grad():
            expected = module(*(torch.from_numpy(value) for value in inputs.values()))
        assert [o.shape for o in outputs] == [(count,), (count, 7, 7), (count, 6)]
        for got, want in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


def test_graph_keeps_to_the_contract() -> None:
    graph = onnx.load_from_string(onnx_from_model(module_of(VARIANTS[3]), batch=1))
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.graph.input, *graph.graph.output]
    }
    assert shapes == {
        "frames": [1, 32, 32, 3],
        "motion": [1, 32, 32, 2],
        "score": [1],
        "heatmap": [1, 7, 7],
        "latent": [1, 6],
    }
    assert graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.opset_import[0].version == OPSET
    assert "ConvTranspose" not in {node.op_type for node in graph.graph.node}


def test_graph_carries_no_path_of_the_machine_it_was_made_on() -> None:
    assert str(Path(__file__).resolve().parents[2]).encode() not in onnx_from_model(module_of(TINY))


def test_patch_score_is_the_largest_local_error_and_the_heatmap_says_where() -> None:
    x = torch.zeros(1, 1, 32, 32)
    reconstruction = x.clone()
    reconstruction[0, 0, 8:16, 16:24] = 2.0  # exactly the cell in row 2, column 4 of half-cell steps
    heatmap = local_errors(x, reconstruction, 8)
    assert heatmap.shape == (1, 7, 7)
    assert heatmap.argmax().item() == 2 * 7 + 4
    assert heatmap.max().item() == pytest.approx(4.0)


def test_pearson_distance_has_its_closed_forms() -> None:
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert pearson_distance(x, 3.0 * x + 7.0).numpy() == pytest.approx(np.zeros(3), abs=1e-5)
    assert pearson_distance(x, -x).numpy() == pytest.approx(2 * np.ones(3), abs=1e-5)
    assert pearson_distance(x, torch.ones_like(x)).numpy() == pytest.approx(np.ones(3), abs=1e-5)
