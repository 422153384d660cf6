from __future__ import annotations

from typing import Any

import pytest

from edgevad.errors import OptionError
from edgevad.synth import SynthConfig, parse_size


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seconds": -3}, "-3 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": 20}, "too short for anomalies"),
        ({"fps_hz": 0}, "0 frames per second"),
        ({"width_px": 0, "height_px": 0}, "0x0"),
        ({"width_px": 161}, "161x120"),
        ({"width_px": 640, "height_px": 32}, "aspect"),
        ({"seed": -1}, "seed -1"),
        ({"anomaly_share": 0.9}, "share of 0.9"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        SynthConfig(**options)
    assert named in str(caught.value)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_short_drive_without_anomalies_is_fine() -> None:
    assert SynthConfig(seconds=3, anomaly_share=0).frame_count == 30


def test_sizes_are_read_from_text() -> None:
    assert parse_size("160x120") == (160, 120)
    assert parse_size(" 64 X 48 ") == (64, 48)


@pytest.mark.parametrize("text", ["", "160", "160x", "ax b", "-1x4", "1.5x2"])
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(OptionError, match="WIDTHxHEIGHT"):
        parse_size(text)
