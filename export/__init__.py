"""From a model folder to a bundle. Verbs are named for what they make and from what.

Names are imported when first used: a device builds engines without torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["bundle_for_target", "engine_from_onnx", "half_from_onnx", "onnx_from_model", "qdq_from_onnx"]

if TYPE_CHECKING:
    from edgevad.export.bundle_for_target import bundle_for_target
    from edgevad.export.engine_from_onnx import engine_from_onnx
    from edgevad.export.half_from_onnx import half_from_onnx
    from edgevad.export.onnx_from_model import onnx_from_model
    from edgevad.export.qdq_from_onnx import qdq_from_onnx


class _Verbs(ModuleType):
    """Its sub-modules are called like the functions in them: the function stands here, whoever was imported first."""

    def __getattr__(self, name: str) -> Any:
        if name in __all__:
            return getattr(importlib.import_module(f"edgevad.export.{name}"), name)
        raise AttributeError(f"module 'edgevad.export' has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        # Python puts a sub-module here once it is imported, by anybody.
        if name in __all__ and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Verbs
