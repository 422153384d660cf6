"""The unit file, as systemd itself judges it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgevad.service.config import load_config
from edgevad.service.refit_unit import REFIT_TIMER, REFIT_UNIT, SCHEDULES, refit_timer_text, refit_unit_text
from edgevad.service.unit import UNIT_NAME, unit_spec, unit_text

CAMERA = '[[camera]]\nname = "front"\nsource = "/dev/video0"\n'
LOCAL = '[run]\nbackend = "onnxruntime"\n' + CAMERA
EVERYTHING = (
    '[[camera]]\nname = "front"\nsource = "csi://0"\n[[camera]]\nname = "rear"\nsource = "rtsp://camera/x"\n'
    '[mqtt]\nhost = "broker"\n[events]\ndir = "/data/my events"\n[plugins.can]\nbus = "can0"\n'
    '[run]\nbundle = "/data/car.edgevad"\n'
)
# "security" calls 0 perfect and 10 open to all. What is left: see the head of unit.py.
MOST_EXPOSED = {LOCAL: 1.0, EVERYTHING: 2.0}


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is missing in CI")
        pytest.skip("systemd-analyze is not installed")
    return program


def text_of(folder: Path, config: str, **more: object) -> str:
    path = folder / "edgevad.toml"
    path.write_text(config)
    return unit_text(unit_spec(load_config(path), ("/bin/true",), **more))


@pytest.mark.parametrize("config", [LOCAL, EVERYTHING], ids=["local", "everything"])
def test_systemd_finds_no_fault(tmp_path: Path, analyze: str, config: str) -> None:
    unit = tmp_path / UNIT_NAME
    unit.write_text(text_of(tmp_path, config, memory_max="2G"))
    unit.chmod(0o644)
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_would_find_a_fault(tmp_path: Path, analyze: str) -> None:
    """That the test above can fail: a key that systemd does not know is told."""
    unit = tmp_path / UNIT_NAME
    unit.write_text(text_of(tmp_path, LOCAL).replace("ProtectClock=", "ProtectClocks="))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert "ProtectClocks" in done.stderr


@pytest.mark.parametrize("config", [LOCAL, EVERYTHING], ids=["local", "everything"])
def test_little_is_left_open(tmp_path: Path, analyze: str, config: str) -> None:
    unit = tmp_path / UNIT_NAME
    unit.write_text(text_of(tmp_path, config))
    command = [
        analyze,
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={MOST_EXPOSED[config] * 10:.0f}",
        unit,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED[config]


def test_what_a_configuration_does_not_need_is_closed(tmp_path: Path) -> None:
    text = text_of(tmp_path, LOCAL)
    for line in (
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "IPAddressDeny=any",
        "MemoryDenyWriteExecute=yes",
        "PrivateTmp=yes",
        "ProtectHome=yes",
        "DevicePolicy=closed",
    ):
        assert line in text.splitlines()
    assert "nv" not in text.split("DevicePolicy=")[1]
    assert "ReadWritePaths" not in text


@pytest.mark.parametrize(
    ("config", "may"),
    [
        (LOCAL, "yes"),
        (LOCAL.replace("onnxruntime", "openvino"), "no"),
        (CAMERA, "no"),  # whatever the bundle's engine is
        (LOCAL.replace("/dev/video0", "v4l2src ! videoconvert ! appsink"), "no"),
    ],
)
def test_memory_stays_what_it_is_where_nothing_compiles(tmp_path: Path, config: str, may: str) -> None:
    assert f"MemoryDenyWriteExecute={may}" in text_of(tmp_path, config).splitlines()


def test_what_a_configuration_needs_is_open(tmp_path: Path) -> None:
    lines = text_of(tmp_path, EVERYTHING).splitlines()
    for line in (
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_CAN",
        "MemoryDenyWriteExecute=no",
        "PrivateTmp=no",
        "DeviceAllow=char-nvhost* rw",
        "DeviceAllow=char-video4linux rw",
        "DeviceAllow=char-ttyUSB rw",
        "DeviceAllow=char-ttyACM rw",
        "DeviceAllow=char-ttyTHS rw",
        'ReadWritePaths=-"/data/my events"',
        f'RequiresMountsFor={tmp_path / "edgevad.toml"} /data/car.edgevad "/data/my events"',
    ):
        assert line in lines
    assert "DevicePolicy=auto" in text_of(tmp_path, EVERYTHING, all_devices=True).splitlines()


def test_it_is_restarted_for_ever(tmp_path: Path) -> None:
    lines = text_of(tmp_path, LOCAL).splitlines()
    assert {"Type=notify", "Restart=on-failure", "StartLimitIntervalSec=0", "RestartSec=2", "WatchdogSec=20"} <= {
        *lines
    }
    # What an older systemd does not know would be a warning at every start.
    assert not any(line.startswith("RestartSteps") for line in lines)
    assert "RestartMaxDelaySec=15" in text_of(tmp_path, LOCAL, systemd_version=255).splitlines()


def test_names_with_marks_mean_themselves(tmp_path: Path, analyze: str) -> None:
    folder = tmp_path / 'a "b" 100% $HOME'
    folder.mkdir()
    text = text_of(folder, LOCAL + '[events]\ndir = "kept $HOME"\n')
    # A "$" is a mark in commands alone.
    assert re.search(r'^ExecStart=.*100%% \$\$HOME/edgevad.toml"$', text, re.MULTILINE)
    assert re.search(r'^RequiresMountsFor=.*100%% \$HOME/edgevad.toml" .*kept \$HOME"$', text, re.MULTILINE)
    assert re.search(r'^ReadWritePaths=-.*100%% \$HOME/kept \$HOME"$', text, re.MULTILINE)
    unit = tmp_path / UNIT_NAME
    unit.write_text(text)
    unit.chmod(0o644)
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def refit_of(folder: Path, config: str) -> str:
    path = folder / "edgevad.toml"
    path.write_text(config)
    return refit_unit_text(unit_spec(load_config(path), ("/bin/true",)))


@pytest.mark.parametrize("config", [LOCAL, EVERYTHING], ids=["local", "everything"])
def test_systemd_finds_no_fault_with_what_refits(tmp_path: Path, analyze: str, config: str) -> None:
    for name, text in ((REFIT_UNIT, refit_of(tmp_path, config)), (REFIT_TIMER, refit_timer_text("weekly"))):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    command = [analyze, "verify", tmp_path / REFIT_TIMER, tmp_path / REFIT_UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("config", [LOCAL, EVERYTHING], ids=["local", "everything"])
def test_what_refits_is_left_as_little_open(tmp_path: Path, analyze: str, config: str) -> None:
    (tmp_path / REFIT_UNIT).write_text(refit_of(tmp_path, config))
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=10", tmp_path / REFIT_UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_what_refits_has_no_camera_no_network_and_only_what_is_left(tmp_path: Path) -> None:
    lines = refit_of(tmp_path, EVERYTHING).splitlines()
    for line in (
        "Type=oneshot",
        "User=edgevad",
        "Nice=19",
        "IOSchedulingClass=idle",
        "PrivateNetwork=yes",
        "MemoryDenyWriteExecute=no",
        "DevicePolicy=closed",
        "DeviceAllow=char-nvhost* rw",
        'ReadWritePaths=-"/data/my events"',
        "Environment=EDGEVAD_HOME=%S/edgevad",
    ):
        assert line in lines
    # It goes when a oneshot service ends, and the other one's socket with it.
    assert not any(line.startswith("RuntimeDirectory") for line in lines)
    assert not any("video4linux" in line or "tty" in line for line in lines)


def test_each_schedule_is_one_that_systemd_knows(analyze: str) -> None:
    for name in SCHEDULES:
        assert f"OnCalendar={name}" in refit_timer_text(name).splitlines()
        assert subprocess.run([analyze, "calendar", name], capture_output=True, timeout=60).returncode == 0
