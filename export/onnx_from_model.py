"""The scoring graph as ONNX: the contract every backend computes (docs/architecture.md)."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.version_converter
import torch

from edgevad.errors import ModelError
from edgevad.export.graph import name_layers
from edgevad.model.scoring import ScoringModule

__all__ = ["OPSET", "onnx_from_model", "remember_from_model"]

# TensorRT 8.5 to 11 and ONNX Runtime since 1.12 take it. The next one made the axes of every reduction an input, which
# TensorRT 8 ignores without a word: it then reduces over all of them.
OPSET = 17
IR_VERSION = 8  # the file format of that time
TORCH_OPSET = 18  # the oldest that torch's exporter speaks by itself


def onnx_from_model(
    module: ScoringModule, *, bank: npt.NDArray[np.float32] | None = None, batch: int | None = None
) -> bytes:
    """Serialise the scoring graph.

    Inputs `frames` uint8 (N, H, W, 3) and, where the model uses them, `motion` float32 (N, H, W, M) and `bank` float32
    of the shape of the one given here; outputs `score` (N, P), `heatmap` (N, Q, h, w), `latent` (N, d), all float32. N
    is `batch`, or any where it is None.

    Raises:
        ModelError: torch's exporter refused the graph.
    """
    spec = module.config.input
    count = batch or 2
    inputs: list[torch.Tensor] = [torch.zeros(count, spec.height_px, spec.width_px, 3, dtype=torch.uint8)]
    names = ["frames"]
    if spec.motion is not None:
        inputs.append(torch.zeros(count, spec.height_px, spec.width_px, spec.motion.channels))
        names.append("motion")
    frame_inputs = len(inputs)
    if module.memory is not None:
        if bank is None:
            raise ModelError("the model has a memory and was given no bank", fix="Train the model again")
        inputs.append(torch.from_numpy(bank))
        names.append("bank")
    dynamic = None
    if batch is None:
        n = torch.export.Dim("N", min=1)
        per_input: list[dict[int, torch.export.Dim]] = [{0: n} if k < frame_inputs else {} for k in range(len(inputs))]
        # The graph's further inputs come as varargs, which are one argument to torch.export, and none where empty.
        dynamic = (per_input[0], tuple(per_input[1:])) if len(inputs) > 1 else (per_input[0],)
    return _exported(module, tuple(inputs), names, ["score", "heatmap", "latent"], dynamic)


class _Coordinates(torch.nn.Module):
    def __init__(self, module: ScoringModule) -> None:
        super().__init__()
        assert module.memory is not None
        self.representation, self.memory = module.representation, module.memory

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.memory.coordinates(self.representation(frames, None))


def remember_from_model(module: ScoringModule) -> bytes | None:
    """Serialise the way from `frames` uint8 (N, H, W, 3) to `coordinates` float32 (N, d), what the bank keeps of them.

    None where the model has no memory.

    Raises:
        ModelError: torch's exporter refused the graph.
    """
    if module.memory is None:
        return None
    spec = module.config.input
    frames = torch.zeros(2, spec.height_px, spec.width_px, 3, dtype=torch.uint8)
    dynamic = {"frames": {0: torch.export.Dim("N", min=1)}}
    return _exported(_Coordinates(module), (frames,), ["frames"], ["coordinates"], dynamic)


def _exported(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], outputs: list[str], dynamic: Any
) -> bytes:
    """`module` as ONNX, for `inputs` of these names; `dynamic` as torch's `dynamic_shapes`."""
    try:
        # The exporter prints its progress and warns of its own internals.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx", "onnxscript"):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.cpu().eval(),
                inputs,
                dynamo=True,
                opset_version=TORCH_OPSET,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=dynamic,
                verbose=False,
            )
        assert program is not None
        return bytes(_portable(program.model_proto).SerializeToString())
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(f"torch could not export the graph ({error})") from error


def _portable(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in opset `OPSET`, without the traces of the machine it was made on."""
    for node in graph.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
            # Says what empty axes mean; the converter would hand it on to operators that never knew it.
            kept = [attribute for attribute in node.attribute if attribute.name != "noop_with_empty_axes"]
            del node.attribute[:]
            node.attribute.extend(kept)
    graph = onnx.version_converter.convert_version(graph, OPSET)
    graph.ir_version = IR_VERSION
    name_layers(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


@contextlib.contextmanager
def _quiet(*names: str):  # type: ignore[no-untyped-def]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
