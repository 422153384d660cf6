from __future__ import annotations

from pathlib import Path

import pytest
from driven import DAY_NS, START_NS, results, run_of

from edgevad.bundle import Bundle
from edgevad.errors import OptionError
from edgevad.events import Incident
from edgevad.events.counters import RunSnapshot
from edgevad.refit.drift_watch import DriftWatch, WatchSpec
from edgevad.runtime.pipeline import Pipeline
from edgevad.service.config import load_config
from edgevad.service.sinks import Deferred, SinkSet

SPEC = WatchSpec(compared_s=300, look_s=60, alpha=0.5)


class Told:
    """A watch, and the incidents that it told."""

    def __init__(self, folder: Path, bundle: Bundle, spec: WatchSpec = SPEC) -> None:
        self.incidents: list[Incident] = []
        self.watch = DriftWatch(folder, spec)
        self.watch.on_incident = self.incidents.append
        self.watch.start(run_of(bundle))

    def drive(self, seconds: float, *, day: int = 0, **seen: float) -> None:
        for result in results(seconds, start_ns=START_NS + day * DAY_NS, seed=day, **seen):  # type: ignore[arg-type]
            self.watch.push(result)

    def stop(self) -> None:
        self.watch.finish(None)  # type: ignore[arg-type]
        self.watch.close()


def test_a_camera_that_sees_what_it_was_calibrated_on_tells_nothing(tmp_path: Path, replaying_bundle: Bundle) -> None:
    told = Told(tmp_path, replaying_bundle)
    told.drive(400)
    assert told.incidents == []
    latest = told.watch.latest()["front"]
    assert latest.looks == 6
    assert latest.advice.what == "none"
    assert latest.shifts["brightness"] == pytest.approx(0.5, abs=0.1)
    assert told.watch.figures() == {"looks": 6, "drifted": 0}


def test_a_change_is_one_incident_that_ends_when_it_is_over(tmp_path: Path, replaying_bundle: Bundle) -> None:
    told = Told(tmp_path, replaying_bundle)
    told.drive(350, deviate=9.0)
    assert [one.kind for one in told.incidents] == ["drift"]
    began = told.incidents[0]
    assert (began.cause, began.source_id, began.lasts) == ("refit", "front", True)
    assert "patch moved by" in began.detail
    assert told.watch.figures()["drifted"] == 1
    told.drive(700, day=1)
    assert told.incidents[-1].cause == "recalibrate" or len(told.incidents) == 2
    first = [one for one in told.incidents if one.id == began.id]
    assert len(first) == 2
    assert not first[-1].lasts
    assert told.watch.latest()["front"].advice.what == "none"
    assert not told.incidents[-1].lasts


def test_short_drives_add_up_over_restarts(tmp_path: Path, replaying_bundle: Bundle) -> None:
    found: list[Incident] = []
    for day in range(5):
        told = Told(tmp_path, replaying_bundle)
        told.drive(40, day=day, deviate=9.0)
        told.stop()
        found += told.incidents
    assert [one.cause for one in found[:1]] == ["refit"]
    # Those who are new in a run hear of it again, as the same one.
    assert len({one.id for one in found}) == 1
    assert all(one.lasts for one in found)


def test_another_bundle_starts_anew_and_ends_what_lasted(
    tmp_path: Path, replaying_bundle: Bundle, tiny_bundle: Path
) -> None:
    told = Told(tmp_path, replaying_bundle)
    told.drive(350, deviate=9.0)
    told.watch.continues(run_of(replaying_bundle))  # the same one: nothing changes
    assert len(told.incidents) == 1
    told.watch.continues(run_of(Bundle.open(tiny_bundle)))
    assert len(told.incidents) == 2
    assert told.incidents[1].id == told.incidents[0].id
    assert "another bundle" in told.incidents[1].detail
    assert told.watch.latest() == {}
    told.drive(70, day=1)
    assert list(told.watch.latest()["front"].shifts) == ["score patch"]


@pytest.mark.parametrize("spoilt", [b"", b"nothing", b"PK\x05\x06" + b"\0" * 18])
def test_a_spoilt_state_is_begun_anew(tmp_path: Path, replaying_bundle: Bundle, spoilt: bytes) -> None:
    told = Told(tmp_path, replaying_bundle)
    told.drive(70)
    told.stop()
    (state,) = (tmp_path / "watch").iterdir()
    state.write_bytes(spoilt)
    told = Told(tmp_path, replaying_bundle)
    told.drive(70, day=1)
    assert told.watch.latest()["front"].looks == 1


def test_the_state_stays_small(tmp_path: Path, replaying_bundle: Bundle) -> None:
    told = Told(tmp_path, replaying_bundle, WatchSpec(compared_s=60, look_s=10))
    told.drive(500)
    told.stop()
    (state,) = (tmp_path / "watch").iterdir()
    # A minute: a row a second and one for every other.
    assert state.stat().st_size < 10_000


@pytest.mark.parametrize(
    "wrong", [{"compared_s": 1.0}, {"look_s": 1.0}, {"look_s": 7200.0}, {"alpha": 0.0}, {"margin": 0.5}]
)
def test_a_spec_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        WatchSpec(**wrong)


def _no_pipeline() -> Pipeline:
    raise AssertionError("nobody who watches for drift asks for it")


def test_a_service_that_watches_tells_the_metrics_page(
    tmp_path: Path, edgevad_home: Path, replaying_bundle: Bundle
) -> None:
    path = tmp_path / "car.toml"
    path.write_text('[[camera]]\nname = "front"\nsource = "/dev/video0"\n[drift]\ncompared_s = 60\nlook_s = 30\n')
    sinks = SinkSet(RunSnapshot, _no_pipeline)
    [watch] = sinks.of(load_config(path))
    assert sinks.drift() == {}
    watch.start(run_of(replaying_bundle))
    for result in results(100):
        watch.push(result)
    assert list(sinks.drift()) == ["front"]
    watch.finish(None)  # type: ignore[arg-type]
    assert list((edgevad_home / "refit" / "drift" / "watch").iterdir())
    # Other settings: the new one is made when the old one has put down what it knows.
    path.write_text(path.read_text().replace("look_s = 30", "look_s = 45"))
    [later] = sinks.of(load_config(path))
    assert isinstance(later, Deferred)
    later.start(run_of(replaying_bundle))
    for result in results(100, start_ns=START_NS + DAY_NS):
        later.push(result)
    assert sinks.drift()["front"].looks > 3
