"""The thread that looks at the machine, with and without jetson-stats' client."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from machines import ORIN, lay_out

from edgevad.runtime.machine_watch import MachineWatch
from edgevad.runtime.power import MachineReading

SOCKET = "run/jtop.sock"


class FakeMode:
    """nvpmodel is an object there whose text is the mode's name."""

    def __repr__(self) -> str:
        return "25W"


class FakeJtop:
    """jetson-stats' client, as far as it is used: temperatures in °C, powers in mW, loads in percent, memory in kB."""

    def __init__(self) -> None:
        self.is_open = False
        self.temperature: Any = {
            "tj": {"temp": 61.5, "online": True, "max": -256, "crit": -256},
            "cv0": {"temp": -256, "online": False},
        }
        self.power: Any = {
            "rail": {"VDD_IN": {"type": "INA3221", "volt": 5000, "curr": 1500, "power": 7500, "online": True}},
            "tot": {"name": "VDD_IN", "power": 7500},
        }
        self.gpu: Any = {"gpu": {"type": "integrated", "status": {"load": 72.5}, "freq": {"cur": 612000}}}
        self.memory: Any = {"RAM": {"tot": 8000, "used": 6000, "free": 100}, "SWAP": {"tot": 0}}
        self.nvpmodel: Any = FakeMode()
        self.lives = True

    def start(self) -> None:
        self.is_open = True

    def ok(self, spin: bool = False) -> bool:
        assert spin, "it would wait for the next look"
        return self.lives

    def close(self) -> None:
        self.is_open = False


class Readings:
    """Collects what the watch says, for a test to wait on."""

    def __init__(self) -> None:
        self.all: list[MachineReading] = []
        self._more = threading.Condition()

    def __call__(self, reading: MachineReading) -> None:
        with self._more:
            self.all.append(reading)
            self._more.notify_all()

    def wait_for(self, count: int) -> MachineReading:
        with self._more:
            assert self._more.wait_for(lambda: len(self.all) >= count, timeout=20.0)
            return self.all[count - 1]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJtop]:
    fake, module = FakeJtop(), ModuleType("jtop")
    module.jtop = lambda: fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jtop", module)
    yield fake
    assert not fake.is_open, "the watch closes what it opened"


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    return lay_out(tmp_path, {**ORIN, SOCKET: ""})


def threads() -> int:
    return sum(thread.name == "edgevad-machine" for thread in threading.enumerate())


def test_looks_again_and_again_and_ends_when_closed(tmp_path: Path) -> None:
    readings = Readings()
    watch = MachineWatch(0.01, on_reading=readings, root=lay_out(tmp_path, ORIN))
    assert watch.latest is None
    with watch:
        assert readings.wait_for(3).power_mode == "MAXN_SUPER"
        assert watch.latest is not None
    assert threads() == 0
    watch.close()


def test_closing_does_not_wait_for_the_next_look(tmp_path: Path) -> None:
    readings = Readings()
    with MachineWatch(3600.0, on_reading=readings, root=tmp_path):
        readings.wait_for(1)
    assert threads() == 0


def test_never_started_can_be_closed(tmp_path: Path) -> None:
    MachineWatch(root=tmp_path).close()


def test_a_listener_that_fails_does_not_end_the_watch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    readings = Readings()

    def listen(reading: MachineReading) -> None:
        readings(reading)
        raise ValueError("no")

    with MachineWatch(0.01, on_reading=listen, root=tmp_path):
        readings.wait_for(3)
    assert "machine reading" in caplog.text


def test_jetson_stats_goes_before_the_files(orin: Path, client: FakeJtop) -> None:
    readings = Readings()
    with MachineWatch(0.01, on_reading=readings, root=orin):
        reading = readings.wait_for(1)
    assert reading.temperatures_c == {"tj": 61.5}
    assert reading.power_w == {"VDD_IN": 7.5}
    assert reading.gpu_load == pytest.approx(0.725)
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (6_144_000, 8_192_000)
    assert reading.power_mode == "25W"
    assert reading.process_bytes == 250_000 * 1024, "it knows nothing of us"
    assert reading.throttled == ("gpu-throttle-alert",)


def test_what_jetson_stats_lacks_comes_from_the_files(orin: Path, client: FakeJtop) -> None:
    client.temperature, client.power, client.gpu, client.memory, client.nvpmodel = {}, {}, {}, {}, None
    readings = Readings()
    with MachineWatch(0.01, on_reading=readings, root=orin):
        reading = readings.wait_for(1)
    assert reading.temperature_c == 51.812
    assert reading.power_mode == "MAXN_SUPER"
    assert reading.gpu_load == pytest.approx(0.437)


@pytest.mark.parametrize("broken", ["lives", "power", "gpu"])
def test_a_service_that_goes_is_no_longer_asked(
    orin: Path, client: FakeJtop, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    readings = Readings()
    with MachineWatch(0.01, on_reading=readings, root=orin):
        assert readings.wait_for(1).power_mode == "25W"
        setattr(client, broken, False if broken == "lives" else {"rail": {"VDD_IN": {}}, "gpu": {}})
        count = len(readings.all)
        assert readings.wait_for(count + 3).power_mode == "MAXN_SUPER"
    assert "jetson-stats" in caplog.text


def test_without_its_service_the_package_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    readings = Readings()
    with MachineWatch(0.01, on_reading=readings, root=lay_out(tmp_path, ORIN)):
        assert readings.wait_for(1).temperature_c == 51.812


def test_a_service_without_the_package_is_no_error(orin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    readings = Readings()
    with MachineWatch(0.01, on_reading=readings, root=orin):
        assert readings.wait_for(1).temperature_c == 51.812
