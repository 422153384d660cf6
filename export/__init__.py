"""From a model folder to a bundle. Verbs are named for what they make and from what.

Names are imported when first used: a device builds engines without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["bundle_for_target", "engine_from_onnx", "onnx_from_model"]

if TYPE_CHECKING:
    from edgevad.export.bundle_for_target import bundle_for_target
    from edgevad.export.engine_from_onnx import engine_from_onnx
    from edgevad.export.onnx_from_model import onnx_from_model


def __getattr__(name: str) -> Any:
    if name in __all__:
        # A module of the same name as its function: once imported, the function takes its place here.
        value = getattr(importlib.import_module(f"edgevad.export.{name}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'edgevad.export' has no attribute {name!r}")
