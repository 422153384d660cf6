"""edgevad: fully unsupervised video anomaly detection for vehicles.

    with edgevad.Scorer.from_bundle("bundle") as scorer, edgevad.open_source("drive.mp4") as source:
        for result in edgevad.Pipeline(scorer, source):
            print(result.frame.index, result.anomaly_score, result.is_anomaly)

Names are imported when first used: `import edgevad` brings neither OpenCV nor ONNX Runtime nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "EdgevadError",
    "Event",
    "Frame",
    "Hysteresis",
    "Incident",
    "ModelConfig",
    "Pipeline",
    "Recipe",
    "Result",
    "Scorer",
    "TrainConfig",
    "Training",
    "WindowSpec",
    "__version__",
    "calibrate",
    "open_source",
    "open_sources",
]

_HOMES = {
    "Bundle": "edgevad.bundle",
    "EdgevadError": "edgevad.errors",
    "Event": "edgevad.events",
    "Frame": "edgevad.sources",
    "Hysteresis": "edgevad.runtime.threshold",
    "Incident": "edgevad.events",
    "ModelConfig": "edgevad.model.config",
    "Pipeline": "edgevad.runtime.pipeline",
    "Recipe": "edgevad.model.folder",
    "Result": "edgevad.runtime.pipeline",
    "Scorer": "edgevad.runtime.scorer",
    "TrainConfig": "edgevad.model.trainer",
    "Training": "edgevad.model.training",
    "WindowSpec": "edgevad.runtime.window",
    "calibrate": "edgevad.calibration",
    "open_source": "edgevad.sources",
    "open_sources": "edgevad.sources",
}

if TYPE_CHECKING:
    from edgevad.bundle import Bundle
    from edgevad.calibration import calibrate
    from edgevad.errors import EdgevadError
    from edgevad.events import Event, Incident
    from edgevad.model.config import ModelConfig
    from edgevad.model.folder import Recipe
    from edgevad.model.trainer import TrainConfig
    from edgevad.model.training import Training
    from edgevad.runtime.pipeline import Pipeline, Result
    from edgevad.runtime.scorer import Scorer
    from edgevad.runtime.threshold import Hysteresis
    from edgevad.runtime.window import WindowSpec
    from edgevad.sources import Frame, open_source, open_sources


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edgevad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
