from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from network_camera import network_camera

from edgevad.bundle import activate
from edgevad.cli import main
from edgevad.events.store import EventStore

NAMES = ("frames.jsonl", "events.jsonl", "incidents.jsonl", "summary.json")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], edgevad_home: Path):  # type: ignore[no-untyped-def]
    """`edgevad run` with these arguments: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevad", "run", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


def refused(outcome: tuple[int, str, str], *parts: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("edgevad: ")
    for part in parts:
        assert part in err


def test_the_backend_that_was_named_scores(run, tiny_bundle: Path, tiny_video: Path) -> None:  # type: ignore[no-untyped-def]
    arguments = ("--source", tiny_video, "--bundle", tiny_bundle, "--quiet")
    summaries = {}
    for backend in ("onnxruntime", "openvino"):
        code, stdout, stderr = run(*arguments, "--backend", backend, "--json")
        assert (code, stderr) == (0, "")
        summaries[backend] = json.loads(stdout)
        assert summaries[backend]["engine"] == f"{backend}, fp32"
    one, other = ([(e["start_frame"], e["end_frame"]) for e in s["events"]] for s in summaries.values())
    assert one == other
    assert len(one) == 1
    code, stdout, _ = run(*arguments)
    assert "onnxruntime, fp32" in stdout  # the bundle's own, in the table
    refused(run(*arguments, "--backend", "abacus"), "abacus", "onnxruntime, openvino")


def test_a_video_end_to_end(run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out, save = tmp_path / "out", tmp_path / "annotated.mp4"
    code, stdout, stderr = run("--source", tiny_video, "--bundle", tiny_bundle, "--out", out, "--save", save, "--json")

    assert code == 0
    summary = json.loads(stdout)
    assert (summary["frames"], summary["scored"], summary["skipped"], summary["dropped"]) == (120, 120, 0, 0)
    assert summary["duration_s"] == pytest.approx(11.9)
    assert summary["sources"] == [str(tiny_video)]
    assert set(summary["latency_ms"]) == {"p50", "p95", "p99", "max"}
    [event] = summary["events"]
    assert (event["start_frame"], event["end_frame"]) == (60, pytest.approx(82, abs=2))
    assert "event 1: frames 60 to" in stderr
    assert summary["files"] == [str(out / n) for n in NAMES] + [str(save)]

    rows = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(120))
    assert {(row["cause"], len(row["deviates"])) for row in rows} == {("patch", 1)}
    assert event["cause"] == "patch"
    assert {row["frame"] for row in rows if row["is_anomaly"]} == set(range(60, event["end_frame"] + 1))
    assert [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()] == [event]
    assert json.loads((out / "summary.json").read_text())["events"] == [event]
    capture = cv2.VideoCapture(str(save))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 120
    capture.release()


def test_without_a_bundle_the_active_one_is_used(run, tiny_motion_bundle: Path, tiny_video: Path) -> None:  # type: ignore[no-untyped-def]
    refused(run("--source", tiny_video), "no bundle is active", "edgevad activate BUNDLE", "--bundle")
    slot = activate(tiny_motion_bundle).path

    code, out, err = run("--source", tiny_video, "--quiet", "--max-frames", 50)

    assert (code, err) == (0, "")
    assert slot.name in out
    assert "50, 49 scored" in out


def test_window_budget_and_threshold_can_be_overridden(run, tiny_bundle: Path, tiny_video: Path) -> None:  # type: ignore[no-untyped-def]
    def summary(*options: object) -> dict[str, object]:
        code, out, _ = run("--source", tiny_video, "--bundle", tiny_bundle, "--quiet", "--json", *options)
        assert code == 0
        value = json.loads(out)
        assert isinstance(value, dict)
        return value

    usual = summary()
    lenient = summary("--alarms-per-hour", 100)
    assert lenient["threshold"] < usual["threshold"]  # type: ignore[operator]
    assert lenient["alarms_per_hour"] == 100
    given = summary("--threshold", 1e6)
    assert (given["threshold"], given["alarms_per_hour"], given["events"]) == (1e6, None, [])
    short = summary("--window", "median", "--window-s", 0.1)
    assert short["events"][0]["end_frame"] == 79  # type: ignore[index]


def test_several_sources_are_one_run(run, tiny_bundle: Path, tiny_video: Path) -> None:  # type: ignore[no-untyped-def]
    both = ("--source", tiny_video, "--source", tiny_video)
    code, out, _ = run(*both, "--bundle", tiny_bundle, "--quiet", "--json")
    assert code == 0
    summary = json.loads(out)
    assert (summary["frames"], summary["event_count"]) == (240, 2)
    assert [event["segment"] for event in summary["events"]] == [0, 1]


def test_a_source_is_needed(run) -> None:  # type: ignore[no-untyped-def]
    refused(run(), "nothing to score is named")


def test_what_stands_in_a_configuration_is_not_said_beside_it(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = ("--config", tmp_path / "car.toml")
    refused(run(*config, "--threshold", 0), "--threshold beside --config")
    refused(run(*config, "--camera", 0), "--camera or --source beside --config")
    refused(run(*config, "--events", tmp_path), "--events beside --config")
    refused(run(*config), "car.toml")


def test_events_and_a_drive_log_of_a_recording(run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    kept, log = tmp_path / "kept", tmp_path / "log"
    code, out, err = run(
        "--source", tiny_video, "--bundle", tiny_bundle, "--events", kept, "--log", log, "--json", "--quiet"
    )
    assert code == 0, err
    summary = json.loads(out)
    assert summary["files"] == [str(kept), str(log)]
    with EventStore.open(kept) as store:
        [event] = store.events()
    assert (event.kind, event.start_frame) == ("anomaly", summary["events"][0]["start_frame"])
    # What was logged is a recording like any other.
    code, out, err = run("--source", log, "--bundle", tiny_bundle, "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)["frames"] >= 20


def test_cameras_and_recordings_do_not_go_together(run, tiny_bundle: Path, tiny_video: Path) -> None:  # type: ignore[no-untyped-def]
    both = ("--camera", 63, "--source", tiny_video, "--bundle", tiny_bundle)
    refused(run(*both), "a camera never ends, and a recording beside it does")
    refused(run("--camera", 63, "--camera", 63, "--bundle", tiny_bundle), "is named twice")


def test_bad_input_is_one_line_each(run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bundle = ("--bundle", tiny_bundle)
    refused(run("--source", tmp_path / "no.mp4", *bundle), "no.mp4")
    refused(run("--camera", 63, *bundle), "63")
    refused(run("--source", tiny_video, *bundle, "--window", "box"), "unknown window 'box'")
    refused(run("--source", tiny_video, *bundle, "--alarms-per-hour", 0), "alarms per hour")
    refused(run("--source", tiny_video, *bundle, "--save", tmp_path / "x.txt"), ".txt")
    refused(run("--source", tiny_video, *bundle, "--threads", 0), "0 threads")
    refused(run("--source", tiny_video, *bundle, "--window-s", 1e9), "window of 1000000000.0 s")
    refused(run("--source", tiny_video, *bundle, "--alarms-per-hour", 1e6), "expected 900 or less")
    refused(run("--source", tiny_video, "--bundle", tmp_path / ("x" * 300)), "cannot be read")
    (tmp_path / "file").write_text("x")
    refused(run("--source", tiny_video, *bundle, "--out", tmp_path / "file"), "a file is in the way")
    ones = tmp_path / "ones"
    ones.mkdir()
    cv2.imwrite(str(ones / "0.png"), np.zeros((1, 1, 3), np.uint8))
    refused(run("--source", ones, *bundle, "--quiet"), "1x1 pixels")


@pytest.mark.parametrize("kind", ["itself", "link", "in a folder"])
def test_a_recording_is_never_replaced_by_its_annotated_video(
    run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path, kind: str
) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "drives"
    folder.mkdir()
    video = Path(shutil.copy(tiny_video, folder / "1.mp4"))
    shutil.copy(tiny_video, folder / "2.mp4")
    before = video.read_bytes()
    save = video
    if kind == "link":
        save = tmp_path / "link.mp4"
        save.symlink_to(video)
    out = tmp_path / "out"
    source = folder if kind == "in a folder" else video
    outcome = run("--source", source, "--bundle", tiny_bundle, "--save", save, "--out", out)
    refused(outcome, f"{save}: the recording to be scored", "Choose another name for --save")
    assert video.read_bytes() == before
    assert not out.exists()
    new = folder / "annotated.mp4"
    assert run("--source", source, "--bundle", tiny_bundle, "--save", new, "--quiet", "--max-frames", 5)[0] == 0
    assert new.exists()


def test_the_password_of_a_stream_is_shown_nowhere(run, tiny_bundle: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with network_camera() as plain:
        shown = plain.replace("http://", "http://***@")
        common = ("--source", plain.replace("http://", "http://me:secret@"), "--bundle", tiny_bundle, "--max-frames", 3)
        code, table, err = run(*common, "--out", tmp_path)
        assert code == 0, err
        code, printed, more = run(*common, "--json")
        assert code == 0, more
    files = "".join(file.read_text() for file in tmp_path.iterdir())
    assert "secret" not in table + err + printed + more + files
    assert json.loads(printed)["sources"] == [shown]
    assert json.loads((tmp_path / "summary.json").read_text())["sources"] == [shown]


def test_a_failed_run_says_so_in_its_summary(run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    many = ("--source", tiny_video, "--bundle", tiny_bundle, "--out", tmp_path, "--quiet")
    assert run(*many)[0] == 0
    assert json.loads((tmp_path / "summary.json").read_text())["error"] is None
    images = tmp_path / "images"
    images.mkdir()
    for k, size in enumerate([64, 64, 64, 1]):
        cv2.imwrite(str(images / f"{k}.png"), np.full((size, size, 3), 100, np.uint8))

    refused(run("--source", images, "--bundle", tiny_bundle, "--out", tmp_path, "--quiet"), "1x1 pixels")

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "1x1 pixels" in summary["error"]
    assert summary["frames"] == 3
    assert len((tmp_path / "frames.jsonl").read_text().splitlines()) == 3


def test_options_that_are_refused_leave_earlier_results_alone(
    run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    common = ("--source", tiny_video, "--bundle", tiny_bundle, "--out", tmp_path, "--quiet")
    assert run(*common)[0] == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    refused(run(*common, "--save", tmp_path / "x.txt"), ".txt")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_changed_bundle_is_one_line(run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes(b"x")
    refused(run("--source", tiny_video, "--bundle", copy), "model.onnx", "not the file that was exported")
    (copy / "manifest.json").write_text("{")
    refused(run("--source", tiny_video, "--bundle", copy), "manifest cannot be read")


def test_a_full_disk_is_one_line(run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "frames.jsonl").symlink_to("/dev/full")
    outcome = run("--source", tiny_video, "--bundle", tiny_bundle, "--out", tmp_path, "--quiet")
    refused(outcome, "the disk is full")


def test_a_window_without_a_display_is_one_line(
    run, tiny_bundle: Path, tiny_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    refused(run("--source", tiny_video, "--bundle", tiny_bundle, "--show"), "there is no display")


def test_ctrl_c_ends_the_run_cleanly(tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    many = [argument for _ in range(500) for argument in ("--source", str(tiny_video))]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "edgevad", "run", *many, "--bundle", str(tiny_bundle), "--out", str(out), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    frames = out / "frames.jsonl"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (frames.exists() and frames.stat().st_size > 0):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)

    # A recording that was not scored to its end is no success; a camera would be.
    assert process.returncode == 130
    assert "Traceback" not in stderr
    summary = json.loads(stdout)
    assert summary["interrupted"]
    assert 0 < summary["frames"] < 60_000
    assert len(frames.read_text().splitlines()) == summary["frames"]
    assert len((out / "events.jsonl").read_text().splitlines()) == summary["event_count"]


def test_it_runs_with_the_base_install_alone(tiny_bundle: Path, tiny_video: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'onnxscript', 'matplotlib', 'sklearn', 'safetensors', 'scipy', 'cryptography'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['edgevad', 'run', '--source', {str(tiny_video)!r}, '--bundle', {str(tiny_bundle)!r},"
        " '--alarms-per-hour', '2', '--json']\n"
        "from edgevad.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 120
