from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from edgevad.errors import OptionError
from edgevad.synth import SynthConfig, render_drive
from edgevad.synth.course import build_course
from edgevad.synth.season import in_season


def first(**changes: object) -> np.ndarray:
    config = SynthConfig(seconds=3, width_px=96, height_px=64, seed=5, anomaly_share=0, **changes)  # type: ignore[arg-type]
    return next(islice(render_drive(config), 5, None)).image.astype(np.float64)


def test_plants_turn_and_lie_under_frost_and_the_road_stays() -> None:
    picture = np.zeros((1, 2, 3), np.float32)
    picture[0, 0], picture[0, 1] = (50, 120, 70), (90, 90, 90)  # grass, asphalt
    autumn, winter = in_season(picture, 0.5), in_season(picture, 1.0)
    assert autumn[0, 0, 2] > autumn[0, 0, 1]  # more red than green
    assert np.ptp(winter[0, 0]) < 45  # hardly any colour
    assert winter[0, 0].mean() > 1.5 * picture[0, 0].mean()
    for changed in (autumn, winter):
        assert np.abs(changed[0, 1] - 90).max() < 30  # light only
    assert in_season(picture, 0.0) is picture


def test_the_same_road_on_another_day_has_the_same_scenery_and_other_traffic() -> None:
    home, another_day = SynthConfig(seed=5), SynthConfig(seed=6, road=5)
    assert another_day.road_seed == home.road_seed
    assert build_course(another_day.road_seed).village_s_m == build_course(home.seed).village_s_m
    assert build_course(another_day.seed).village_s_m != build_course(home.seed).village_s_m
    assert np.abs(first(road=7) - first()).mean() > 2.0


def test_a_mount_that_turned_turns_the_whole_drive() -> None:
    assert np.abs(first(mount_deg=3.0) - first()).mean() > 2.0


@pytest.mark.parametrize(("field", "value"), [("season", 1.5), ("mount_deg", 30.0), ("road", -1)])
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(OptionError):
        SynthConfig(**{field: value})  # type: ignore[arg-type]
