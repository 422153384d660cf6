from __future__ import annotations

import numpy as np
import pytest

from edgevad.synth import SynthConfig
from edgevad.synth.anomalies import ANOMALY, NORMAL
from edgevad.synth.drive import Drive


@pytest.fixture(scope="module")
def drive() -> Drive:
    return Drive(SynthConfig(seed=2))


def test_an_object_grows_until_the_car_has_steered_past(drive: Drive) -> None:
    ego = drive._ego
    for hazard in (h for h in drive._hazards if h.event.kind == "object on the road"):
        times = [t for t in ego.time_s if hazard.level(ego, float(t)) == ANOMALY]
        shares = [hazard.visible(ego, float(t)).height_share for t in times]  # type: ignore[union-attr]
        assert len(times) >= 10
        assert np.all(np.diff(shares) >= 0)
        assert shares[0] < 0.12 < 0.3 < shares[-1]
        assert abs(ego.across_at(hazard.event.end_s) - hazard.u_m) > 1


def test_a_person_crosses_the_lane_before_the_car_is_there(drive: Drive) -> None:
    ego = drive._ego
    for hazard in (h for h in drive._hazards if h.event.kind == "person crossing"):
        first = hazard.visible(ego, hazard.event.start_s)
        last = hazard.visible(ego, hazard.event.end_s)
        assert first is not None
        assert last is not None
        assert last.ahead_m > 5
        lane = ego.across_at(hazard.event.start_s)
        assert (first.u_m - lane) * (last.u_m - lane) < 0


def test_far_away_nothing_is_labelled(drive: Drive) -> None:
    for hazard in drive._hazards:
        assert hazard.level(drive._ego, hazard.event.start_s - 30) == NORMAL
        assert hazard.level(drive._ego, hazard.event.end_s + 30) == NORMAL


def test_no_car_hides_or_hits_a_hazard(drive: Drive) -> None:
    for hazard in drive._hazards:
        for time_s in np.arange(hazard.event.start_s, hazard.event.end_s, 0.1):
            seen = hazard.visible(drive._ego, float(time_s))
            nearer = [car for car in drive._traffic.visible(float(time_s)) if seen and car.ahead_m < seen.ahead_m]
            assert not nearer


def test_other_cars_recur_all_along(drive: Drive) -> None:
    seen = [bool(drive._traffic.visible(float(t))) for t in drive._ego.time_s]
    assert 0.3 < np.mean(seen) < 0.95
    quarters = np.array_split(np.array(seen), 4)
    assert min(float(quarter.mean()) for quarter in quarters) > 0.2
