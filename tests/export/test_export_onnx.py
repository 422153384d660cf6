from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgevad.errors import ModelError
from edgevad.export import onnx_from_model
from edgevad.export.onnx_from_model import OPSET
from edgevad.model.config import ModelConfig
from edgevad.model.memory import EXCLUDED
from edgevad.model.scoring import ScoringModule, local_errors, motion_errors, pearson_distance

TINY = ModelConfig(size_px=32, width=4, depth=2, latent=6, cell_px=8)
PATCH = replace(TINY, score="patch", motion="none")
PARTS = replace(TINY, motion="none")
LARGE = replace(PARTS, halve_memory_above_px=16)
MOVING = replace(TINY, motion="flow", motion_lags_ms=(100, 200))
VARIANTS = [
    PATCH,
    replace(PATCH, score="mse", appearance="gray"),
    replace(PATCH, score="pcc", appearance="color", decoder="conv"),
    replace(PATCH, motion="flow", motion_lags_ms=(100, 200)),
    replace(PATCH, appearance="none", motion="difference"),
    PARTS,
    replace(PARTS, appearance="color", decoder="conv"),
    MOVING,
    LARGE,
    replace(LARGE, appearance="color", motion="flow"),
]


def name_of(config: ModelConfig) -> str:
    return f"{config.appearance}-{config.motion}-{config.decoder}-{config.score}-{config.memory_px}"


def module_of(config: ModelConfig) -> ScoringModule:
    torch.manual_seed(0)
    module = ScoringModule(config)
    module.representation.mean.uniform_(-1, 1)
    module.representation.scale.uniform_(0.5, 2)
    with torch.no_grad():
        module.autoencoder.mean_frame.normal_()
        if module.memory is not None:
            values = len(module.memory.mean_frame)
            directions, _ = torch.linalg.qr(torch.randn(values, 6))
            module.memory.learn(torch.randn(values), directions.T)
            module.memory.rank.copy_(torch.eye(5)[2])
        if "motion" in config.parts:
            module.mean_motion.exponential_(0.2)
    return module.eval()


def inputs_of(config: ModelConfig, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {"frames": rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)}
    if config.motion != "none":
        inputs["motion"] = rng.gamma(1.0, 5.0, (count, 32, 32, config.motion_channels)).astype(np.float32)
    if config.score == "parts":
        inputs["bank"] = bank_of()
    return inputs


def bank_of() -> np.ndarray:
    """Seven episodes of up to four frames; one was forgotten altogether, another in part."""
    rng = np.random.default_rng(1)
    bank = np.zeros((7, 4, 7), np.float32)
    bank[..., :6] = rng.normal(0, 1, (7, 4, 6))
    bank[..., 6] = np.square(bank[..., :6]).sum(axis=-1)
    for padding in (bank[2], bank[5, 3:]):
        padding[:] = [0, 0, 0, 0, 0, 0, EXCLUDED]
    return bank


def exported(config: ModelConfig, **options: int) -> bytes:
    return onnx_from_model(module_of(config), bank=bank_of() if config.score == "parts" else None, **options)


@pytest.mark.parametrize("config", VARIANTS, ids=name_of)
def test_onnx_runtime_computes_what_torch_computes(config: ModelConfig) -> None:
    module = module_of(config)
    session = onnxruntime.InferenceSession(exported(config), providers=["CPUExecutionProvider"])
    places = sum(part != "view" for part in config.parts)
    for count in (1, 5):
        inputs = inputs_of(config, count)
        outputs = session.run(["score", "heatmap", "latent"], inputs)
        with torch.no_grad():
            expected = module(*(torch.from_numpy(value) for value in inputs.values()))
        shapes = [(count, len(config.parts)), (count, places, 7, 7), (count, 6)]
        assert [o.shape for o in outputs] == shapes
        for got, want in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)
        assert (outputs[0] > 0.1).all()  # every part says something, so that the tolerance means something


def shapes_of(graph: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.graph.input, *graph.graph.output]
    }


def test_graph_keeps_to_the_contract() -> None:
    graph = onnx.load_from_string(exported(VARIANTS[3], batch=1))
    assert shapes_of(graph) == {
        "frames": [1, 32, 32, 3],
        "motion": [1, 32, 32, 2],
        "score": [1, 1],
        "heatmap": [1, 1, 7, 7],
        "latent": [1, 6],
    }
    assert graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.opset_import[0].version == OPSET
    assert "ConvTranspose" not in {node.op_type for node in graph.graph.node}


@pytest.mark.parametrize("config", VARIANTS, ids=name_of)
def test_graph_has_no_form_that_a_tensorrt_in_the_field_refuses_or_misreads(config: ModelConfig) -> None:
    graph = onnx.load_from_string(exported(config, batch=1))
    assert (graph.opset_import[0].version, graph.ir_version) == (17, 8)
    readers = [node for node in graph.graph.node if "frames" in node.input]
    assert {node.op_type for node in readers} <= {"Cast"}  # uint8 is an input there, never a value inside
    reductions = [node for node in graph.graph.node if node.op_type.startswith("Reduce")]
    assert reductions
    # TensorRT 8 ignores axes that come as an input, but for sums, and reduces over everything.
    assert all(len(node.input) == 1 or node.op_type == "ReduceSum" for node in reductions)


@pytest.mark.parametrize("batch", [1, None])
def test_what_is_remembered_is_an_input_of_its_own_shape(batch: int | None) -> None:
    graph = onnx.load_from_string(onnx_from_model(module_of(MOVING), bank=bank_of(), batch=batch))
    count = batch or "N"
    assert shapes_of(graph) == {
        "frames": [count, 32, 32, 3],
        "motion": [count, 32, 32, 2],
        "bank": [7, 4, 7],  # never of the number of frames
        "score": [count, 4],
        "heatmap": [count, 3, 7, 7],
        "latent": [count, 6],
    }
    assert graph.graph.input[2].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    # Another bank is another answer: nothing of the one given for its shape is left in the graph.
    assert bank_of()[0, 0, :6].tobytes() not in graph.SerializeToString()


def test_another_bank_behind_the_same_graph_is_another_memory() -> None:
    module = module_of(PARTS)
    session = onnxruntime.InferenceSession(exported(PARTS), providers=["CPUExecutionProvider"])
    inputs = inputs_of(PARTS, 3)
    before = session.run(["score"], inputs)[0]
    # What the frames themselves look like, in every episode.
    with torch.no_grad():
        own = module.memory.coordinates(module.representation(torch.from_numpy(inputs["frames"]))).numpy()  # type: ignore[union-attr]
    bank = np.zeros((7, 4, 7), np.float32)
    bank[:, :3, :6], bank[:, :3, 6] = own, np.square(own).sum(axis=1)
    bank[:, 3, 6] = EXCLUDED
    after = session.run(["score"], {**inputs, "bank": bank})[0]
    assert (after[:, 0] == before[:, 0]).all()  # the residual remembers nothing
    assert (after[:, 1] < before[:, 1]).all()
    assert after[:, 2] == pytest.approx([0.0] * 3, abs=1e-3)


def test_a_model_that_remembers_is_not_exported_without_a_bank() -> None:
    with pytest.raises(ModelError, match=r"has a memory and was given no bank\. Train the model again"):
        onnx_from_model(module_of(PARTS))


def test_graph_carries_no_path_of_the_machine_it_was_made_on() -> None:
    assert str(Path(__file__).resolve().parents[2]).encode() not in exported(PARTS)


def test_patch_score_is_the_largest_local_error_and_the_heatmap_says_where() -> None:
    x = torch.zeros(1, 1, 32, 32)
    reconstruction = x.clone()
    reconstruction[0, 0, 8:16, 16:24] = 2.0  # exactly the cell in row 2, column 4 of half-cell steps
    heatmap = local_errors(x, reconstruction, 8)
    assert heatmap.shape == (1, 7, 7)
    assert heatmap.argmax().item() == 2 * 7 + 4
    assert heatmap.max().item() == pytest.approx(4.0)


def test_motion_is_looked_at_in_cells_and_in_cells_twice_as_large() -> None:
    deviation = torch.zeros(1, 32, 32, 2)
    deviation[0, 8:16, 16:24, 0] = 2.0
    fine, coarse = motion_errors(deviation, 8)
    assert (fine.shape, coarse.shape) == ((1, 7, 7), (1, 3, 3))
    assert fine.argmax().item() == 2 * 7 + 4
    assert fine.max().item() == pytest.approx(2.0)  # the mean over both lags
    assert coarse.max().item() == pytest.approx(0.5)


def test_the_motion_part_is_the_geometric_mean_of_both_scales() -> None:
    module = module_of(MOVING)
    inputs = {name: torch.from_numpy(value) for name, value in inputs_of(MOVING, 2).items()}
    with torch.no_grad():
        score, heatmap, _ = module(*inputs.values())
    fine, coarse = motion_errors(inputs["motion"] - module.mean_motion, 8)
    expected = (fine.amax(dim=(1, 2)).sqrt() * coarse.amax(dim=(1, 2)).sqrt()).sqrt()
    torch.testing.assert_close(score[:, 2], expected)
    torch.testing.assert_close(heatmap[:, 2], fine.sqrt())


def test_pearson_distance_has_its_closed_forms() -> None:
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert pearson_distance(x, 3.0 * x + 7.0).numpy() == pytest.approx(np.zeros(3), abs=1e-5)
    assert pearson_distance(x, -x).numpy() == pytest.approx(2 * np.ones(3), abs=1e-5)
    assert pearson_distance(x, torch.ones_like(x)).numpy() == pytest.approx(np.ones(3), abs=1e-5)
