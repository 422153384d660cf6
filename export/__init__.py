"""From a model folder to a bundle. Verbs are named for what they make and from what."""

from __future__ import annotations

from edgevad.export.bundle_for_target import bundle_for_target
from edgevad.export.onnx_from_model import onnx_from_model

__all__ = ["bundle_for_target", "onnx_from_model"]
