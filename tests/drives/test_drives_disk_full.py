from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from logged import START_NS, event, run_info

from edgevad.drives import log as log_module
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.folder import verify
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.errors import OutputError
from edgevad.events import Dispatcher, Incident
from edgevad.events.dispatch import Limits
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame

NOISE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)  # some 60 kB as JPEG
POLICY = LogPolicy(image_fps_hz=None, pre_roll_s=0, flush_s=0, leg_bytes=500_000)

pytestmark = pytest.mark.disk("4m")


def frames(log: DriveLog, first: int, count: int) -> list[int]:
    """Push `count` frames; return those that the log refused."""
    refused = []
    for index in range(first, first + count):
        frame = Frame(NOISE, index, START_NS + index * 10**8, "front", 0)
        try:
            log.push(Result(frame, (1.0,), (1.0,), 1.0, 1.0, "detail", False, "normal", None, 0.0, None))
        except OutputError as error:
            assert "disk is" in error.what  # noqa: PT017
            refused.append(index)
    return refused


# By the floor, the leg under way is still finished; by a disk that is really full, it is recovered later.
@pytest.mark.parametrize("floor_bytes", [500_000, 0])
def test_on_a_full_disk_the_log_rests_and_goes_on_when_there_is_space(
    small_disk: Path, floor_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "RETRY_S", 0.0)
    monkeypatch.setattr("edgevad.events.disk.LOOK_EVERY_S", 0.0)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_000_000))
    root = small_disk / "drives"
    log = DriveLog(root, POLICY, LegRetention(floor_bytes=floor_bytes, event_margin_s=10**6))
    log.start(run_info())
    assert frames(log, 0, 2) == []
    log.event_began(event(0, 0))  # with its wide margin: none of what is there may go
    refused = frames(log, 2, 100)
    assert refused
    assert refused == list(range(refused[0], 102))
    ballast.unlink()
    assert frames(log, 102, 10) == []
    log.event(event(0, 105))
    log.close()
    with Catalogue(root) as catalogue:
        verdicts = verify(root, catalogue)
        legs = catalogue.legs()
        assert [one.end_ns for one in catalogue.events(legs[0].drive)] == [START_NS + 105 * 10**8]
    assert {one.verdict for one in verdicts} == {"whole"}
    # The frame at which the disk was full is lost; that at which the floor was reached is still there.
    assert sum(leg.frames for leg in legs) == 112 - len(refused) + (floor_bytes > 0)
    from edgevad.sources import open_source

    with open_source(root) as source:
        segments = [frame.segment for frame in source]
    assert sorted(set(segments)) == [0, 1]  # what came after the rest is no continuation


# Of a disk that is really full the catalogue takes nothing either.
@pytest.mark.parametrize("floor_bytes", [500_000, 0])
def test_the_legs_before_an_event_are_evidence_though_the_log_rests_all_through_it(
    small_disk: Path, floor_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "RETRY_S", 0.0)
    monkeypatch.setattr("edgevad.events.disk.LOOK_EVERY_S", 0.0)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    root = small_disk / "drives"
    log = DriveLog(root, POLICY, LegRetention(floor_bytes=floor_bytes, event_margin_s=10**6))
    log.start(run_info())
    refused = frames(log, 0, 100)
    if not floor_bytes:
        ballast.write_bytes(b"")
        while True:  # to the last byte
            try:
                with ballast.open("ab", buffering=0) as stream:
                    stream.write(bytes(4096))
            except OSError:
                break
        refused = frames(log, 100, 5)
    assert refused
    for tell in (log.event_began, log.event):
        with pytest.raises(OutputError):
            tell(event(refused[0] - 2, refused[0] - 1))
    ballast.unlink()
    assert frames(log, 105, 5) == []
    log.close()
    with Catalogue(root) as catalogue:
        (found,) = catalogue.events(catalogue.drives()[0].name)
        assert (found.id, found.end_ns) == (1, START_NS + (refused[0] - 1) * 10**8)
        assert any(leg.events for leg in catalogue.legs(margin_ns=10**10))


def test_a_full_disk_takes_ordinary_legs_first(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgevad.events.disk.LOOK_EVERY_S", 0.0)
    log = DriveLog(small_disk / "drives", POLICY, LegRetention(floor_bytes=1_000_000, event_margin_s=0))
    log.start(run_info())
    assert frames(log, 0, 200) == []
    log.close()
    with Catalogue(small_disk / "drives") as catalogue:
        legs = catalogue.legs()
    assert legs[0].number > 5
    assert legs[-1].frames


def test_a_full_disk_is_one_incident_that_ends(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "RETRY_S", 0.0)
    monkeypatch.setattr("edgevad.events.disk.LOOK_EVERY_S", 0.0)
    (small_disk / "ballast").write_bytes(bytes(3_000_000))
    told: list[Incident] = []
    log = DriveLog(small_disk / "drives", POLICY, LegRetention(floor_bytes=300_000, event_margin_s=10**6))
    with Dispatcher([log], lossless=False, report=told.append, limits=Limits(settle_s=0.2)) as dispatcher:
        dispatcher.start(run_info())
        index = 0
        deadline_s = time.monotonic() + 20
        while not told or told[-1].lasts:
            assert time.monotonic() < deadline_s, told
            frame = Frame(NOISE, index, START_NS + index * 10**8, "front", 0)
            dispatcher.push(Result(frame, (1.0,), (1.0,), 1.0, 1.0, "detail", False, "normal", None, 0.0, None))
            time.sleep(0.01)
            index += 1
            if told:
                (small_disk / "ballast").unlink(missing_ok=True)
    assert [(one.kind, one.id, one.lasts) for one in told] == [
        ("storage", told[0].id, True),
        ("storage", told[0].id, False),
    ]
    assert "almost full" in told[0].detail
