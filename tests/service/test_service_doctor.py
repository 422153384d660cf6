"""The doctor: what it finds, and that nothing it looks at can take it down."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from edgevad.bundle import activate
from edgevad.cli.app import build_app
from edgevad.errors import EngineError
from edgevad.runtime.power import MachineReading
from edgevad.service import checks, doctor, probes
from edgevad.service.clock import check_clock, is_synchronised
from edgevad.service.config import RunConfig, load_config
from edgevad.service.doctor import examine
from edgevad.service.finding import Finding
from edgevad.service.needs import missing_needs

CAMERA = '[[camera]]\nname = "front"\nsource = "/dev/video0"\n'


def configured(folder: Path, text: str) -> RunConfig:
    path = folder / "edgevad.toml"
    path.write_text(text)
    return load_config(path)


def only(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def child(check: str, config: object, limit_s: float) -> list[Finding]:
    path = None if config is None else str(config)
    return doctor._child({"check": check, "about": check, "config": path}, limit_s)


@pytest.fixture
def fake_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that the doctor's processes find before the real ones."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


def test_a_machine_that_is_fit(edgevad_home: Path, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    activate(tiny_bundle)
    config = tmp_path / "edgevad.toml"
    config.write_text(CAMERA.replace("/dev/video0", str(tiny_video)))
    done = CliRunner().invoke(build_app(), ["doctor", "--config", str(config), "--camera", str(tiny_video), "--json"])
    findings = [Finding(**row) for row in json.loads(done.stdout)["findings"]]
    assert [finding for finding in findings if finding.state == "fail"] == []
    assert done.exit_code == 0
    assert only(findings, "bundle").found.startswith("tiny for cpu, fp32; not signed; self-test within")
    assert only(findings, str(tiny_video)).found == "opens and gives 64x48"
    assert only(findings, "camera front").state == "ok"
    names = {finding.check for finding in findings}
    assert names >= {
        "python",
        "packages",
        "config",
        "opencv",
        "onnxruntime",
        "gpu",
        "disk",
        "clock",
        "permissions",
        "machine",
    }


def test_what_fails_makes_the_exit_code_1_and_says_what_to_do(edgevad_home: Path, tmp_path: Path) -> None:
    config = tmp_path / "edgevad.toml"
    config.write_text(CAMERA + "colour = 3\n")
    done = CliRunner().invoke(build_app(), ["doctor", "--config", str(config)])
    assert done.exit_code == 1
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "no bundle is active" in text
    assert "edgevad activate BUNDLE" in text
    assert "colour is no setting here" in text


def test_an_opencv_that_crashes_is_a_finding(fake_module: Path) -> None:
    (fake_module / "cv2.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    found = only(child("opencv", None, 20.0), "opencv")
    assert found.state == "fail"
    assert "crashed with SIGSEGV" in found.found
    assert found.fix is not None


def test_an_opencv_that_hangs_or_lacks_a_library_is_a_finding(fake_module: Path) -> None:
    (fake_module / "cv2.py").write_text("import time\ntime.sleep(60)\n")
    found = only(child("opencv", None, 1.0), "opencv")
    assert (found.state, found.found) == ("fail", "no answer within 1 s")
    (fake_module / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    found = only(child("opencv", None, 20.0), "opencv")
    assert "libGL.so.1" in found.found
    assert "libgl1" in str(found.fix)


def test_a_check_that_hangs_or_raises_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(config: RunConfig | None) -> list[Finding]:
        raise RuntimeError("odd")

    monkeypatch.setattr(
        doctor, "_HERE", {"python": lambda config: time.sleep(30), "packages": raises, "clock": checks.clock}
    )
    monkeypatch.setattr(doctor, "_ORDER", ("python", "packages", "clock"))
    monkeypatch.setitem(doctor._HERE, "service", checks.service)
    started_s = time.monotonic()
    findings = examine(limit_s=1.0)
    assert time.monotonic() - started_s < 15
    assert only(findings, "python").found == "no answer within 1 s"
    assert "RuntimeError: odd" in only(findings, "packages").found
    assert only(findings, "clock")


def test_gstreamer_is_missed_where_a_camera_needs_it(
    fake_module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake_module / "cv2.py").write_text(
        "__version__ = '4.9'\nCAP_FFMPEG = 1900\n"
        "def setLogLevel(level): pass\n"
        "def getBuildInformation(): return 'Video I/O:\\n    GStreamer:    NO\\n'\n"
        "class videoio_registry:\n    getStreamBackends = staticmethod(lambda: [])\n"
    )
    config = configured(tmp_path, CAMERA.replace("/dev/video0", "csi://0"))
    found = child("opencv", str(config.path), 20.0)[0]
    assert found.state == "fail"
    assert "needs GStreamer" in found.found
    assert "--system-site-packages" in str(found.fix)
    config = configured(tmp_path, CAMERA.replace("/dev/video0", "rtsp://camera/x"))
    found = child("opencv", str(config.path), 20.0)[0]
    assert "needs FFmpeg" in found.found


def test_a_camera_that_is_not_there_is_found_out(tmp_path: Path) -> None:
    found = only(examine(cameras=["rtsp://me:hidden@127.0.0.1:9/x"]), "rtsp://***@127.0.0.1:9/x")
    assert found.state == "fail"
    assert "no video stream could be opened" in found.found
    assert "hidden" not in str(found)


def test_cameras_are_looked_for_and_their_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = tmp_path / "dev"
    (devices / "v4l" / "by-id").mkdir(parents=True)
    (devices / "video0").touch()
    (devices / "v4l" / "by-id" / "usb-Front").symlink_to(devices / "video0")
    monkeypatch.setattr(checks, "DEVICES", devices)
    assert checks.cameras(None)[0].found == f"{devices}/video0 (usb-Front), may be opened"
    config = configured(tmp_path, CAMERA.replace("/dev/video0", "7"))
    assert checks.cameras(config)[1].found == f"there is no {devices}/video7"
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = checks.cameras(None)[0]
    assert found.state == "fail"
    assert "usermod -aG" in str(found.fix)


def test_streams_are_asked_for_an_answer(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        config = configured(tmp_path, CAMERA.replace("/dev/video0", f"rtsp://127.0.0.1:{port}/x"))
        assert only(checks.cameras(config), "camera front").found == f"127.0.0.1:{port} answers"
    assert "does not answer" in only(checks.cameras(config), "camera front").found


def test_a_camera_that_cannot_be_looked_for_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[[camera]]\nname = "odd"\nsource = "rtsp://127.0.0.1:1/x"\n' + CAMERA

    def odd(check: str, host: str, port: int) -> Finding:
        raise UnicodeError("label too long")

    monkeypatch.setattr(checks, "_reachable", odd)
    found = checks.cameras(configured(tmp_path, text))
    assert only(found, "camera odd").state == "fail"
    assert only(found, "camera front")


def test_a_bundle_that_was_damaged_is_found_out(edgevad_home: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "b")
    graph = tmp_path / "b" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    config = configured(tmp_path, '[run]\nbundle = "b"\n' + CAMERA)
    (found,) = child("bundle", str(config.path), 60.0)
    assert found.state == "fail"
    assert "not the file that was exported" in found.found


def test_gpu_and_tensorrt_are_held_against_the_bundle(
    edgevad_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_gpu.obtain import ORIN

    monkeypatch.setattr("edgevad.runtime.engines.machine.find_machine", lambda: ORIN)
    config = configured(tmp_path, '[run]\nbackend = "tensorrt"\n' + CAMERA)
    gpu, tensorrt = probes._gpu(config, {})
    assert (gpu.state, tensorrt.state) == ("ok", "ok")
    assert "Orin, compute capability 8.7" in gpu.found
    monkeypatch.setattr(probes, "_wanted", lambda config: ("tensorrt", ("8.6", "11.x")))
    _, tensorrt = probes._gpu(config, {})
    assert tensorrt.state == "warn"
    assert "8.6, 11.x" in tensorrt.found

    def none() -> None:
        raise EngineError("there is no NVIDIA driver on this machine", fix="Likely causes: ...")

    monkeypatch.setattr("edgevad.runtime.engines.machine.find_machine", none)
    (found,) = probes._gpu(config, {})
    assert (found.state, found.fix) == ("fail", "Likely causes: ...")


def test_room_on_the_disk(tmp_path: Path) -> None:
    assert checks._room(tmp_path / "not" / "made" / "yet", 0, 0).state in ("ok", "warn")
    low = checks._room(tmp_path, 10**18, 0)
    assert (low.state, low.fix) == ("fail", "Free some space")
    greedy = checks._room(tmp_path, 0, 10**18)
    assert greedy.state == "warn"
    assert "max_bytes" in greedy.found


def test_others_must_not_change_what_is_trusted_nor_read_secrets(
    edgevad_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (edgevad_home / "trust").mkdir(parents=True)
    (edgevad_home / "trust").chmod(0o777)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o644)
    text = CAMERA.replace("/dev/video0", "rtsp://me@cam/x") + 'password_file = "secret"\n'
    found = checks.permissions(configured(tmp_path, text))
    assert [finding.state for finding in found] == ["fail", "warn"]
    (edgevad_home / "trust").chmod(0o755)
    (tmp_path / "secret").chmod(0o600)
    assert [finding.state for finding in checks.permissions(configured(tmp_path, text))] == ["ok"]


@pytest.mark.parametrize(
    ("now_s", "synchronised", "rtc", "state", "said"),
    [
        (1_800_000_000.0, True, "1800000001", "ok", "2027-01-15 08:00:00 UTC, synchronised"),
        (1_800_000_000.0, False, "1800000001", "warn", "not synchronised"),
        (1_800_000_000.0, True, "1799990000", "warn", "10000 s away"),
        (1_800_000_000.0, True, None, "warn", "no clock runs while the machine is off"),
        (86_400.0, True, "86400", "fail", "1970-01-02 00:00:00 UTC cannot be"),
    ],
)
def test_clocks(tmp_path: Path, now_s: float, synchronised: bool, rtc: str | None, state: str, said: str) -> None:
    file = tmp_path / "since_epoch"
    if rtc is not None:
        file.write_text(rtc + "\n")
    found = check_clock(now_s, synchronised, file)
    assert found.state == state
    assert said in found.found
    assert (found.fix is None) == (state == "ok")


def test_the_kernel_is_asked() -> None:
    assert is_synchronised() in (True, False)


def test_a_service_that_keeps_dying_is_told(systemctl: Path) -> None:
    answer = systemctl / "answer"
    answer.write_text("LoadState=loaded\nActiveState=active\nResult=success\nNRestarts=0\nStatusText=2 cameras\n")
    assert checks.service(None)[0].state == "ok"
    answer.write_text("LoadState=loaded\nActiveState=active\nResult=success\nNRestarts=40\n")
    assert checks.service(None)[0].state == "warn"
    answer.write_text("LoadState=loaded\nActiveState=failed\nResult=watchdog\nNRestarts=40\n")
    assert checks.service(None)[0].state == "fail"
    (systemctl / "refuse").touch()
    found = checks.service(None)[0]
    assert (found.state, found.found) == ("warn", "systemctl show edgevad.service: Failed: access denied")


def test_what_the_configuration_needs_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgevad.service import needs

    text = '[run]\nbundle = "gone"\n' + CAMERA + '[mqtt]\nhost = "b"\nusername = "u"\npassword_env = "NOT_SET_HERE"\n'
    text += "[plugins.no_such_plugin]\nx = 1\n"
    monkeypatch.setattr(needs, "EXTRAS", (("mqtt", "no_such_package", "mqtt"),))
    found = checks.packages(configured(tmp_path, text))[1:]
    assert [finding.state for finding in found] == ["fail"] * 4
    assert "gone" in found[0].found
    assert "NOT_SET_HERE" in found[1].found
    assert found[2].fix == "pip install 'edgevad[mqtt]'"
    assert "[plugins.no_such_plugin]" in found[3].found


def test_folders_that_cannot_be_used_are_said_beforehand(
    tmp_path: Path, edgevad_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    text = CAMERA + '[events]\ndir = "file/x"\n[drives]\ndir = "free/x"\n[[webhook]]\nurl = "http://h/x"\n'
    (line,) = missing_needs(configured(tmp_path, text))
    assert f"[events]: nothing can be kept in {tmp_path / 'file/x'}: {tmp_path / 'file'} is no folder" in line
    edgevad_home.mkdir(exist_ok=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != edgevad_home)
    refused = missing_needs(configured(tmp_path, text))
    assert any(f"this user may not write to {edgevad_home}" in line for line in refused)
    # A file system that was mounted read-only after errors, root or not.
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=real.f_flag | os.ST_RDONLY))
    assert sum("the disk is read-only" in line for line in missing_needs(configured(tmp_path, text))) == 2
    assert not (tmp_path / "free").exists()


def test_a_token_that_is_still_to_be_made_is_no_problem(tmp_path: Path, edgevad_home: Path) -> None:
    text = CAMERA + '[metrics]\ntoken_file = "fresh/metrics.token"\n'
    assert missing_needs(configured(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("reading", "state", "said"),
    [
        (MachineReading(), "ok", "tells neither"),
        (MachineReading({"cpu": 50.0}, "MAXN"), "ok", "power mode MAXN, hottest zone 50 °C"),
        (MachineReading({"cpu": 70.0}), "warn", "above 65 °C"),
        (MachineReading({"cpu": 50.0}, throttled=("gpu-throttle",)), "warn", "held back by gpu-throttle"),
    ],
)
def test_heat_and_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: MachineReading, state: str, said: str
) -> None:
    monkeypatch.setattr("edgevad.runtime.power.read_machine", lambda: reading)
    (found,) = checks.machine(configured(tmp_path, CAMERA + "[governor]\ntemperature_limit_c = 65\n"))
    assert found.state == state
    assert said in found.found


def test_nothing_found_tells_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(config: RunConfig | None) -> list[Finding]:
        raise OSError("cannot open rtsp://camera/x?password=geheim")

    monkeypatch.setattr(doctor, "_HERE", {"cameras": look, "service": lambda config: []})
    monkeypatch.setattr(doctor, "_ORDER", ("cameras",))
    monkeypatch.setattr(doctor, "_child", lambda request, limit_s: [Finding(request["about"], "fail", "pwd=geheim")])
    findings = examine(None, ["rtsp://camera/y?pwd=geheim"])
    assert [finding.check for finding in findings] == ["cameras", "rtsp://camera/y?pwd=***"]
    assert "geheim" not in str(findings)
