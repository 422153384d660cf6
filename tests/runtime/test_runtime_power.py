"""What is read of a machine, and that nothing a machine says can break it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import ORIN, VIRTUAL, XAVIER, lay_out

from edgevad.runtime.power import MachineReading, read_machine


def test_orin_with_jetpack_6(tmp_path: Path) -> None:
    reading = read_machine(lay_out(tmp_path, ORIN))
    assert reading.temperatures_c == {"cpu-thermal": 51.281, "gpu-thermal": 49.5, "tj-thermal": 51.812}
    assert reading.temperature_c == 51.812
    assert reading.power_mode == "MAXN_SUPER"
    assert reading.gpu_load == pytest.approx(0.437)
    assert reading.power_w == pytest.approx({"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 1.96})
    assert reading.memory_total_bytes == 7_800_000 * 1024
    assert reading.memory_used_bytes == 4_000_000 * 1024
    assert reading.process_bytes == 250_000 * 1024
    assert reading.throttled == ("gpu-throttle-alert",), "a fan is not throttling"


def test_xavier_and_nano_with_jetpack_4(tmp_path: Path) -> None:
    reading = read_machine(lay_out(tmp_path, XAVIER))
    assert reading.temperature_c == 46.5, "the power supply's zone says 100 °C whatever it has"
    assert reading.power_mode == "MAXN"
    assert reading.gpu_load == 1.0
    assert reading.power_w == {"POM_5V_IN": 2.48, "POM_5V_GPU": 0.0}
    assert reading.throttled == ()


def test_a_virtual_machine_has_memory_alone(tmp_path: Path) -> None:
    reading = read_machine(lay_out(tmp_path, VIRTUAL))
    assert reading == MachineReading(
        memory_used_bytes=4_000_000 * 1024, memory_total_bytes=7_800_000 * 1024, process_bytes=250_000 * 1024
    )
    assert reading.temperature_c is None


def test_nothing_at_all(tmp_path: Path) -> None:
    assert read_machine(tmp_path) == MachineReading()


def test_a_mode_without_a_name_is_its_number(tmp_path: Path) -> None:
    assert read_machine(lay_out(tmp_path, {"var/lib/nvpmodel/status": "pmode:0008\n"})).power_mode == "8"


def test_zones_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    files = {
        f"sys/class/thermal/thermal_zone{k}/{name}": value
        for k in (0, 1)
        for name, value in (("type", "acpitz"), ("temp", f"{30 + k}000"))
    }
    assert read_machine(lay_out(tmp_path, files)).temperatures_c == {"acpitz": 30.0, "acpitz (thermal_zone1)": 31.0}


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    for name in ORIN:
        (tmp_path / name).mkdir(parents=True)
    assert read_machine(tmp_path) == MachineReading()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(sorted({**ORIN, **XAVIER})),
        st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"\0"])),
        max_size=12,
    )
)
def test_garbage_is_no_figure_and_no_error(tmp_path: Path, garbage: dict[str, bytes]) -> None:
    reading = read_machine(lay_out(tmp_path, {**ORIN, **garbage}))
    assert all(-60.0 < value < 150.0 for value in reading.temperatures_c.values())
    assert reading.gpu_load is None or 0.0 <= reading.gpu_load <= 1.0
    json.dumps(reading.to_json(), allow_nan=False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_this_machine() -> None:
    reading = read_machine()
    assert reading.memory_total_bytes is not None
    assert reading.memory_used_bytes is not None
    assert reading.process_bytes is not None
    assert 1_000_000 < reading.process_bytes < reading.memory_total_bytes
