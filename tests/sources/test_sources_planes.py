from __future__ import annotations

import copy
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recordings import make_video

from edgevad.errors import SourceUnreadableError
from edgevad.sources import Frame, Image, open_source
from edgevad.sources.planes import MATRICES, PlanarFrame
from edgevad.sources.video import VideoSource

av = pytest.importorskip("av")

SIZE = (64, 48)


def picture(number: int, size: tuple[int, int]) -> Image:
    """Coloured and moving, without hard edges, which coders wash out."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = [np.sin((x * k + y * (3 - k) + 9 * number) / 14.0) for k in range(3)]
    return (128 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def write(
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    size: tuple[int, int] = SIZE,
    times_ms: Sequence[int] = tuple(range(0, 800, 50)),
    options: dict[str, str] | None = None,
    color_range: int = 0,
    colorspace: int = 2,
    of: Callable[[int, tuple[int, int]], Image] = picture,
) -> Path:
    """A video of `picture`s at these times; colours are stated as said (1 and 5 are BT.709 and BT.601)."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        # AVI knows no other times than multiples of its rate.
        unit = Fraction(1, 20) if path.suffix == ".avi" else Fraction(1, 1000)
        stream.codec_context.time_base = unit
        stream.codec_context.color_range, stream.codec_context.colorspace = color_range, colorspace
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(of(number, size), format="bgr24").reformat(format=pixels)
            frame.color_range, frame.colorspace = color_range, colorspace
            frame.pts, frame.time_base = round(time_ms / 1000 / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_by_both(path: Path) -> tuple[list[Frame], list[Frame]]:
    """What PyAV and what OpenCV read."""
    source = VideoSource(path)
    frames = list(source)
    source._first_planes = None
    return frames, list(source)


def assert_alike(some: Sequence[Frame], others: Sequence[Frame]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.index, one.segment, one.shape) == (other.index, other.segment, other.image.shape)
        assert one.timestamp_ns == pytest.approx(other.timestamp_ns, abs=1000)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reordered.mp4", {"options": {"bf": "2", "g": "8"}}),
        ("large.mp4", {"size": (960, 540), "times_ms": [0, 50, 100], "options": {"preset": "ultrafast"}}),
        ("unsteady.mkv", {"times_ms": [0, 41, 86, 160, 200, 2_000, 2_033, 2_110]}),
        ("stream.ts", {"options": {"bf": "2", "g": "8"}}),
        ("raw.h264", {"options": {"bf": "2", "g": "8"}}),
        ("old.mp4", {"codec": "mpeg4"}),
        ("jpegs.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("exact.mkv", {"codec": "ffv1"}),
        ("web.webm", {"codec": "libvpx"}),
        ("full.mp4", {"pixels": "yuvj420p", "color_range": 2}),
        ("hd.mp4", {"colorspace": 1}),
        ("sd.mp4", {"colorspace": 5}),
        ("full_hd.webm", {"codec": "libvpx-vp9", "colorspace": 1, "color_range": 2}),
    ],
)
def test_the_pixels_and_times_are_those_that_opencv_reads(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    by_planes, by_opencv = read_by_both(write(tmp_path / name, **options))
    assert all(isinstance(frame, PlanarFrame) for frame in by_planes)
    assert not any(isinstance(frame, PlanarFrame) for frame in by_opencv)
    assert_alike(by_planes, by_opencv)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd.mkv", {"codec": "ffv1", "size": (63, 47)}),
        ("whole_colours.mp4", {"pixels": "yuv444p"}),
        ("ten_bits.mp4", {"pixels": "yuv420p10le"}),
        ("other_colours.avi", {"codec": "mjpeg", "pixels": "yuvj422p"}),
    ],
)
def test_what_has_no_such_planes_is_left_to_opencv(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    frames, by_opencv = read_by_both(write(tmp_path / name, **options))
    assert not any(isinstance(frame, PlanarFrame) for frame in frames)
    assert_alike(frames, by_opencv)


def test_a_recording_that_is_to_be_turned_is_left_to_opencv(tmp_path: Path) -> None:
    path = write(tmp_path / "upright.mp4")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE[1] << 16, 0, 1 << 30)
    path.write_bytes(data)
    frames, by_opencv = read_by_both(path)
    assert frames[0].shape == (SIZE[0], SIZE[1], 3)
    assert_alike(frames, by_opencv)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_what_is_damaged_is_left_out_and_what_follows_is_read(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"drive{suffix}", times_ms=range(0, 4000, 50), options={"g": "5"})
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for position in rng.integers(len(data) // 4, len(data) // 2, 12):
        data[position : position + 20] = rng.bytes(20)
    path.write_bytes(data)
    frames, by_opencv = read_by_both(path)
    assert len(by_opencv) <= len(frames) <= 80
    assert_alike(frames[: len(by_opencv)][:10], by_opencv[:10])
    last = frames[-1]
    assert last.timestamp_ns > 3.8e9
    assert np.abs(last.image.astype(int) - picture(79, SIZE)).mean() < 12
    times = [(frame.segment, frame.timestamp_ns) for frame in frames]
    assert times == sorted(set(times))


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_recording_that_was_cut_off_gives_what_there_is(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"drive{suffix}", times_ms=range(0, 4000, 50), options={"g": "5"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, by_opencv = read_by_both(path)
    assert 20 < len(frames) < 80
    assert_alike(frames, by_opencv)


def test_pictures_that_change_size_have_their_own(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.ts"), write(tmp_path / "b.ts", size=(96, 64))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames, by_opencv = read_by_both(joined)
    assert len(frames) == len(by_opencv) == 32
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 16 + [(64, 96, 3)] * 16
    assert np.abs(frames[-1].image.astype(int) - picture(15, (96, 64))).mean() < 12


def test_a_file_with_sound_alone_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceUnreadableError, match="cannot decode a single frame"):
        open_source(path)


def test_without_pyav_opencv_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "drive.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    frames = list(open_source(path))
    assert len(frames) == 12
    assert not any(isinstance(frame, PlanarFrame) for frame in frames)


def test_where_pyav_sees_another_picture_opencv_reads(tmp_path: Path) -> None:
    source = VideoSource(make_video(tmp_path / "drive.mp4"))
    assert source._first_planes is not None
    source._first_planes.samples[:] += 100
    frames = list(source)
    assert len(frames) == 12
    assert not any(isinstance(frame, PlanarFrame) for frame in frames)


def test_a_pyav_that_cannot_be_told_its_threads_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 17, the newest for Python 3.10."""
    monkeypatch.setattr("av.filter.Graph", object)
    frames = list(open_source(make_video(tmp_path / "drive.mp4")))
    assert len(frames) == 12
    assert not any(isinstance(frame, PlanarFrame) for frame in frames)


@pytest.mark.parametrize("matrices", [MATRICES, MATRICES[::-1]])
@pytest.mark.parametrize("colour", [0.0, 0.05, 1.0])
def test_a_gray_first_picture_does_not_decide_about_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrices: tuple[int | None, ...], colour: float
) -> None:
    """OpenCV 4 makes colours by BT.601, OpenCV 5 as the file states: neither order may be taken for granted."""

    def fading(number: int, size: tuple[int, int]) -> Image:
        image = picture(number, size).astype(float)
        gray = image.mean(axis=-1, keepdims=True)
        return (image if number else gray + colour * (image - gray)).astype(np.uint8)

    monkeypatch.setattr("edgevad.sources.decoder.MATRICES", matrices)
    assert_alike(*read_by_both(write(tmp_path / "hd.mp4", colorspace=1, of=fading)))


def test_options_for_opencv_are_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fflags;+igndts")
    assert not any(isinstance(frame, PlanarFrame) for frame in open_source(make_video(tmp_path / "drive.mp4")))


@pytest.mark.parametrize("name", ["it's, a [drive]; no=1.mp4", "a:b.mp4", "100%.mp4", "ü\\.mp4"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    frames = list(open_source(make_video(tmp_path / name)))
    assert len(frames) == 12
    assert all(isinstance(frame, PlanarFrame) for frame in frames)


def test_leaving_early_releases_the_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "drive.mp4")
    source = open_source(path)
    frames = iter(source)
    frame = next(frames)
    assert open_files(path) == 1
    source.close()
    assert open_files(path) == 0
    assert frame.image.shape == (48, 64, 3)  # it outlives its decoder


def open_files(path: Path) -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("no /proc here")
    links = []
    for link in folder.iterdir():
        try:
            links.append(str(link.readlink()))
        except OSError:
            continue
    return links.count(str(path.resolve()))


def test_a_frame_of_planes_is_a_frame(tmp_path: Path) -> None:
    frame = next(iter(open_source(make_video(tmp_path / "drive.mp4"))))
    assert isinstance(frame, PlanarFrame)
    assert (frame.shape, frame.nbytes) == ((48, 64, 3), 48 * 64 * 3)
    assert frame.planes is not None
    assert frame.planes._bgr is None  # nobody has looked at it
    y, u, v = frame.planes.arrays()
    assert (y.shape, u.shape, v.shape) == ((48, 64), (24, 32), (24, 32))
    with pytest.raises(ValueError, match="read-only"):
        y[0, 0] = 1
    moved = frame.placed(7, 3)
    assert isinstance(moved, PlanarFrame)
    assert (moved.index, moved.segment) == (7, 3)
    assert (moved.timestamp_ns, moved.source_id) == (frame.timestamp_ns, frame.source_id)
    assert moved.planes is frame.planes
    assert frame.image is frame.image


def test_a_copy_with_another_image_has_that_image(tmp_path: Path) -> None:
    frame = next(iter(open_source(make_video(tmp_path / "drive.mp4"))))
    other = replace(frame, image=np.full((4, 6, 3), 9, np.uint8))
    assert (other.shape, other.image.max(), other.index) == ((4, 6, 3), 9, 0)
    assert not isinstance(other, PlanarFrame) or other.planes is None
    assert cv2.mean(other.placed(1, 0).image)[0] == 9


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy])
def test_it_can_be_copied_as_any_frame_can(tmp_path: Path, through: Callable[[Frame], Frame]) -> None:
    frame = next(iter(open_source(make_video(tmp_path / "drive.mp4"))))
    other = through(frame)
    np.testing.assert_array_equal(other.image, frame.image)
    assert (other.index, other.timestamp_ns, other.source_id) == (frame.index, frame.timestamp_ns, frame.source_id)
