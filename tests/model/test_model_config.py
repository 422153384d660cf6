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
        ({"halve_memory_above_px": 0}, "halve_memory_above_px is 0; expected 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "memory_px", "cell_px"),
    [
        ("nano", {}, 64, 8),
        ("small", {}, 64, 8),
        ("base", {}, 96, 12),
        ("base", {"halve_memory_above_px": 64}, 48, 12),
        ("base", {"size_px": 64}, 64, 8),
        ("base", {"size_px": 128}, 64, 16),
        ("small", {"size_px": 192, "depth": 5}, 96, 24),
        ("small", {"size_px": 112}, 112, 14),  # half a cell would be three and a half pixels
        ("small", {"size_px": 128, "halve_memory_above_px": 128}, 128, 16),
        ("small", {"size_px": 128, "score": "patch"}, 128, 16),
    ],
)
def test_large_frames_are_remembered_at_half_their_size(
    name: str, changes: dict[str, Any], memory_px: int, cell_px: int
) -> None:
    config = preset(name, **changes)
    assert (config.memory_px, config.cell_px) == (memory_px, cell_px)


def test_a_model_from_before_that_remembers_at_full_size() -> None:
    written = preset("base", size_px=128).to_json()
    del written["halve_memory_above_px"]
    config = ModelConfig.from_json(written)
    assert (config.size_px, config.memory_px) == (128, 128)
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_judge_by_parts_and_let_the_camera_decide(name: str) -> None:
    config = preset(name)
    assert (config.score, config.motion) == ("parts", "auto")
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
