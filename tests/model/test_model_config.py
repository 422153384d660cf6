from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgevad.errors import OptionError
from edgevad.model.config import PRESETS, ModelConfig, Part, preset

CONFIG = ModelConfig()


@pytest.mark.parametrize(
    ("changes", "parts", "channels", "motion_channels"),
    [
        ({}, ("residual", "detail", "view"), 1, 0),
        ({"motion": "none", "appearance": "color"}, ("residual", "detail", "view"), 3, 0),
        # With parts motion is one of them and never goes through the network.
        ({"motion": "flow", "motion_lags_ms": (100, 200)}, ("residual", "detail", "motion", "view"), 1, 2),
        ({"motion": "difference", "score": "patch"}, ("patch",), 2, 1),
        ({"motion": "flow", "score": "pcc", "appearance": "none"}, ("pcc",), 1, 1),
        ({"score": "mse"}, ("mse",), 1, 0),
    ],
)
def test_what_a_frame_is_judged_by(
    changes: dict[str, Any], parts: tuple[Part, ...], channels: int, motion_channels: int
) -> None:
    config = replace(CONFIG, **changes)
    assert (config.parts, config.channels, config.motion_channels) == (parts, channels, motion_channels)
    motion = config.input.motion
    assert (0 if motion is None else motion.channels) == motion_channels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": "fast"}, "unknown motion 'fast'; expected one of auto, none, difference, flow"),
        ({"score": "best"}, "one of parts, patch, mse, pcc"),
        ({"appearance": "none", "motion": "auto"}, "another score: patch, mse or pcc"),
        ({"appearance": "none", "motion": "none", "score": "patch"}, "look at nothing"),
        ({"appearance": "none", "motion": "flow"}, "another score: patch, mse or pcc"),
        ({"motion": "flow", "motion_lags_ms": ()}, "motion lags"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_judge_by_parts_and_let_the_camera_decide(name: str) -> None:
    config = preset(name)
    assert (config.score, config.motion) == ("parts", "auto")
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
