"""The state of a training run in one safetensors file: weights, optimiser, where it stood. Nothing is pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from edgevad._files import atomic_file
from edgevad.errors import ModelError

__all__ = ["load_checkpoint", "load_weights", "save_checkpoint", "save_weights"]

_MODEL, _OPTIMISER = "model.", "optimiser."


def save_weights(path: Path, module: nn.Module) -> None:
    """Write a module's parameters and buffers, atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    with atomic_file(path) as stream:
        stream.write(safetensors_bytes(tensors))


def load_weights(path: Path, module: nn.Module) -> None:
    """Fill a module from `save_weights`.

    Raises:
        ModelError: the file is missing, damaged, or holds the weights of another configuration.
    """
    tensors, _ = _read(path)
    _fill(module, tensors, path)


def save_checkpoint(path: Path, module: nn.Module, optimiser: Optimizer, state: dict[str, Any]) -> None:
    """Write weights, optimiser state and `state` (JSON) into one file, atomically."""
    tensors = {_MODEL + name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    for index, entry in optimiser.state_dict()["state"].items():
        for name, value in entry.items():
            tensors[f"{_OPTIMISER}{index}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    with atomic_file(path) as stream:
        stream.write(safetensors_bytes(tensors, metadata={"state": json.dumps(state, allow_nan=False)}))


def load_checkpoint(path: Path, module: nn.Module, optimiser: Optimizer) -> dict[str, Any]:
    """Restore what `save_checkpoint` wrote and return its `state`.

    Raises:
        ModelError: the file is missing, damaged, or of another configuration.
    """
    tensors, metadata = _read(path)
    weights = {name.removeprefix(_MODEL): value for name, value in tensors.items() if name.startswith(_MODEL)}
    _fill(module, weights, path)
    entries: dict[int, dict[str, Tensor]] = {}
    try:
        for key, value in tensors.items():
            if key.startswith(_OPTIMISER):
                index, _, name = key.removeprefix(_OPTIMISER).partition(".")
                entries.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
        state: dict[str, Any] = json.loads(metadata["state"])
    except (KeyError, ValueError) as error:
        raise ModelError(f"the checkpoint is damaged ({error})", where=path, fix="Train without --resume") from error
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError("no such file", where=path, expected="weights written by edgevad train") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the weights cannot be read ({error})", where=path, fix="Train the model again") from error


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            "the weights do not fit the model's configuration", where=path, fix="Train the model again"
        ) from error
