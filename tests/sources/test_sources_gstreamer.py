from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rtsp import SYSTEM_PYTHON, lacking
from system import require

from edgevad.errors import OptionError, SourceError
from edgevad.sources import open_source
from edgevad.sources.gstreamer import csi_pipeline
from edgevad.sources.opencv import has_gstreamer

ROOT = Path(__file__).resolve().parents[2]
END = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


@pytest.fixture(scope="module")
def system_opencv() -> None:
    """The system's Python has an OpenCV with GStreamer, as JetPack's has."""
    require(lacking("import cv2, numpy\nassert 'GStreamer:                   YES' in cv2.getBuildInformation()"))


def with_system_opencv(program: str) -> Any:
    """What `program` prints as JSON, run by the system's Python."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(ROOT)
    program = f"import json\nfrom edgevad.errors import *\nfrom edgevad.sources import open_source\n{program}"
    run = subprocess.run(
        [SYSTEM_PYTHON, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("address", "source", "pipeline"),
    [
        (
            "csi://0",
            "nvarguscamerasrc",
            "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),format=NV12 ! nvvidconv flip-method=0 "
            f"! video/x-raw,format=BGRx ! {END}",
        ),
        (
            "csi://1?width=1280&height=720&fps=30&flip=2",
            "nvarguscamerasrc",
            "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,framerate=30/1 "
            f"! nvvidconv flip-method=2 ! video/x-raw,format=BGRx ! {END}",
        ),
        (
            "csi://0?fps=29.97&flip=6",
            "libcamerasrc",
            f"libcamerasrc ! video/x-raw,framerate=30000/1001 ! videoconvert ! videoflip video-direction=vert ! {END}",
        ),
    ],
)
def test_the_pipeline_of_a_csi_camera(address: str, source: str, pipeline: str) -> None:
    assert csi_pipeline(address, source) == pipeline


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("csi://", r"csi:// names no sensor; expected for example csi://0"),
        ("csi://front", "csi://front names no sensor"),
        ("csi://0?size=3", "size=3 is no option of a camera; expected width=… & height=… & fps=… & flip=…"),
        ("csi://0?width=1280&width=640", "width is stated twice"),
        ("csi://0?width=wide", "width=wide; expected a whole number from 1"),
        ("csi://0?width=0", "width=0; expected a whole number from 1"),
        ("csi://0?width=1e3", "width=1e3; expected a whole number"),
        ("csi://0?fps=nan", "fps=nan; expected a number above 0"),
        ("csi://0?flip=8", "flip=8; expected 0 to 7"),
        ("csi://0?fps", "fps is no option"),
    ],
)
def test_a_csi_address_that_cannot_be_is_one_clear_error(address: str, message: str) -> None:
    with pytest.raises(OptionError) as error:
        open_source(address)
    assert f"{address}: {message}" in str(error.value)


def test_libcamera_knows_no_numbers() -> None:
    with pytest.raises(OptionError, match="libcamera knows cameras by name"):
        csi_pipeline("csi://1", "libcamerasrc")


@pytest.mark.skipif(has_gstreamer(), reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("spec", ["csi://0?width=1280", "videotestsrc ! videoconvert ! appsink"])
def test_without_gstreamer_it_is_said_which_opencv_is_there_and_how_to_get_another(spec: str) -> None:
    with pytest.raises(SourceError, match="need an OpenCV built with GStreamer") as error:
        open_source(spec)
    text = str(error.value)
    assert "cv2/__init__.py" in text
    for word in ("python3-opencv", "--system-site-packages", "pip uninstall opencv-python", "JetPack"):
        assert word in text
    assert "\n" not in text


@pytest.mark.usefixtures("system_opencv")
def test_a_pipeline_gives_frames_until_it_ends() -> None:
    seen = with_system_opencv(
        "spec = 'videotestsrc is-live=true num-buffers=20 ! video/x-raw,width=320,height=240,framerate=50/1'\n"
        "frames = []\n"
        "with open_source(spec, timeout_s=5) as source:\n"
        "    try:\n"
        "        for frame in source:\n"
        "            frames.append(frame)\n"
        "    except CameraLostError as error:\n"
        "        told = str(error)\n"
        "    print(json.dumps([source.kind, source.fps_hint_hz, len(frames) + source.dropped, frames[0].image.shape,\n"
        "        sorted({frame.segment for frame in frames}), told]))\n"
    )
    kind, rate_hz, count, shape, segments, told = seen
    assert (kind, rate_hz, shape, segments) == ("pipeline", 50.0, [240, 320, 3], [0])
    assert 15 <= count <= 20
    assert told.endswith("camera lost: the stream ended")


@pytest.mark.usefixtures("system_opencv")
def test_a_pipeline_that_ends_is_started_again() -> None:
    told, segments = with_system_opencv(
        "spec = 'videotestsrc is-live=true num-buffers=15 ! video/x-raw,width=320,height=240,framerate=50/1'\n"
        "told, segments = [], []\n"
        "with open_source(spec, reconnect=True, stale_s=0.4, name='front') as source:\n"
        "    source.on_incident = lambda incident: told.append((incident.kind, incident.source_id, incident.lasts))\n"
        "    for frame in source:\n"
        "        segments.append(frame.segment)\n"
        "        if frame.segment == 2:\n"
        "            break\n"
        "print(json.dumps([told, segments]))\n"
    )
    assert told[:3] == [["camera_lost", "front", True], ["camera_lost", "front", False], ["camera_lost", "front", True]]
    assert sorted(set(segments)) == [0, 1, 2]


@pytest.mark.usefixtures("system_opencv")
def test_a_pipeline_that_gstreamer_refuses_is_one_clear_error() -> None:
    (told,) = with_system_opencv(
        "try:\n"
        "    open_source('nosuchsrc ! appsink')\n"
        "except SourceUnreadableError as error:\n"
        "    print(json.dumps([str(error)]))\n"
    )
    assert told.startswith("nosuchsrc ! appsink: GStreamer refuses this pipeline. Try it with gst-launch-1.0")


@pytest.mark.usefixtures("system_opencv")
def test_a_csi_camera_on_a_machine_without_any_says_what_is_missing() -> None:
    told, missing, there = with_system_opencv(
        "from edgevad.sources.gstreamer import has_element\n"
        "try:\n"
        "    open_source('csi://0?width=1280&height=720')\n"
        "except SourceError as error:\n"
        "    told = str(error)\n"
        "print(json.dumps([told, has_element('nvarguscamerasrc'), has_element('videotestsrc')]))\n"
    )
    if missing:
        pytest.skip("this machine is a Jetson")
    assert there
    assert "nvarguscamerasrc" in told
    assert "libcamerasrc" in told


@pytest.mark.usefixtures("system_opencv")
def test_what_follows_a_libcamera_is_taken_by_gstreamer() -> None:
    """All but the camera itself, whose part a test picture plays."""
    shapes = with_system_opencv(
        "from edgevad.sources.gstreamer import csi_pipeline\n"
        "shapes = []\n"
        "for flip in (0, 1, 2, 7):\n"
        "    text = csi_pipeline(f'csi://0?width=320&height=240&fps=30&flip={flip}', 'libcamerasrc')\n"
        "    with open_source(text.replace('libcamerasrc', 'videotestsrc is-live=true')) as source:\n"
        "        shapes.append(next(iter(source)).image.shape)\n"
        "print(json.dumps(shapes))\n"
    )
    assert shapes == [[240, 320, 3], [320, 240, 3], [240, 320, 3], [320, 240, 3]]


@pytest.mark.usefixtures("system_opencv")
def test_a_recording_is_read_by_the_systems_opencv_too(tmp_path: Path) -> None:
    from recordings import make_video

    video = make_video(tmp_path / "drive.mp4", frames=5)
    (count,) = with_system_opencv(f"with open_source({str(video)!r}) as s:\n    print(json.dumps([len(list(s))]))\n")
    assert count == 5
