from __future__ import annotations

import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from mcap.writer import CompressionType, Writer

from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.errors import MissingExtraError, SourceUnreadableError
from edgevad.events import RunInfo
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame, open_source

NO_FLOOR = LegRetention(floor_bytes=0)
START_NS = 1_800_000_000 * 10**9


def jpeg(level: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes())


def level_of(frame: Frame) -> int:
    return round(float(frame.image.mean()))


def ros2_message(data: bytes, *, order: str = "<", frame_id: bytes = b"camera\0") -> bytes:
    """sensor_msgs/CompressedImage in CDR."""
    body = struct.pack(f"{order}iI", 7, 5)
    for part in (frame_id, b"jpeg\0", data):
        body += bytes(-len(body) % 4) + struct.pack(f"{order}I", len(part)) + part
    return (b"\0\1\0\0" if order == "<" else b"\0\0\0\0") + body


def write_foreign(
    path: Path,
    images: list[tuple[int, bytes]],
    *,
    ros2: bool = False,
    compression: CompressionType = CompressionType.ZSTD,
) -> Path:
    """An MCAP file as another program writes it: log times and JPEGs of one topic."""
    with path.open("wb") as stream:
        writer = Writer(stream, compression=compression)
        writer.start()
        if ros2:
            schema = writer.register_schema("sensor_msgs/msg/CompressedImage", "ros2msg", b"")
        else:
            schema = writer.register_schema("foxglove.CompressedImage", "protobuf", b"")
        other = writer.register_channel("/imu", "json", writer.register_schema("Imu", "jsonschema", b"{}"))
        channel = writer.register_channel("/cam/compressed", "cdr" if ros2 else "protobuf", schema)
        for log_ns, data in images:
            writer.add_message(other, log_ns, b"{}", log_ns)
            message = data if ros2 else CompressedImage(data=data, format="jpeg").SerializeToString()
            writer.add_message(channel, log_ns, message, log_ns)
        writer.finish()
    return path


def log_drive(root: Path, policy: LogPolicy, results: list[Result], run_id: str = "0123456789ab") -> Path:
    with DriveLog(root, policy, NO_FLOOR) as log:
        log.start(RunInfo("b", "b", "", "e", ("front",), 2.5, True, run_id, START_NS, "car"))
        for one in results:
            log.push(one)
    return next(path for path in root.iterdir() if path.name.endswith(run_id[:8]))


def result(index: int, time_s: float, *, camera: str = "front", segment: int = 0, anomaly: bool = False) -> Result:
    image = np.full((48, 64, 3), index % 250, np.uint8)
    frame = Frame(image, index, START_NS + round(time_s * 1e9), camera, segment)
    state = "anomaly" if anomaly else "normal"
    return Result(frame, (1.0,), (1.0,), 1.0, 1.0, "detail", anomaly, state, None, 0.0, None)  # type: ignore[arg-type]


def test_a_drive_gives_back_what_was_logged(tmp_path: Path) -> None:
    folder = log_drive(tmp_path, LogPolicy(), [result(k, k / 10) for k in range(100)])
    with open_source(folder) as source:
        frames = list(source)
        assert source.kind == "drive"
        assert source.frame_count_hint == len(frames) == 20
    assert [frame.timestamp_ns for frame in frames] == [START_NS + k * 500_000_000 for k in range(20)]
    assert [frame.index for frame in frames] == list(range(20))
    assert {(frame.source_id, frame.segment) for frame in frames} == {("front", 0)}
    assert [level_of(frame) for frame in frames] == pytest.approx([5 * k for k in range(20)], abs=1)


def test_sparse_images_are_one_segment_and_gaps_between_frames_are_not(tmp_path: Path) -> None:
    # An image every 20 s, all of one stretch; then the camera was away for a minute.
    times = [k / 5 for k in range(500)] + [160 + k / 5 for k in range(200)]
    results = [result(k, time_s) for k, time_s in enumerate(times)]
    results += [result(k, 300 + k / 5, segment=1) for k in range(10)]
    folder = log_drive(tmp_path, LogPolicy(image_fps_hz=0.05, pre_roll_s=0), results)
    with open_source(folder) as source:
        segments = [(frame.segment, (frame.timestamp_ns - START_NS) // 10**9) for frame in source]
    assert segments == [(0, 0), (0, 20), (0, 40), (0, 60), (0, 80), (1, 160), (1, 180), (2, 300)]


@pytest.mark.parametrize("back_s", [3, 3600])
def test_a_clock_that_is_set_back_does_not_mingle_what_was_before_and_after(tmp_path: Path, back_s: int) -> None:
    cameras = ("front", "rear")
    results = [result(k, k / 10, camera=camera) for k in range(100) for camera in cameras]
    results += [result(k, k / 10 - back_s, camera=camera, segment=1) for k in range(100, 200) for camera in cameras]
    folder = log_drive(tmp_path, LogPolicy(pre_roll_s=0), results)
    assert len(list(folder.iterdir())) == 2
    for camera in cameras:
        with open_source(f"{folder}?camera={camera}") as source:
            frames = list(source)
        assert [frame.segment for frame in frames] == [0] * 20 + [1] * 20
        halves = [[frame.timestamp_ns for frame in frames if frame.segment == segment] for segment in (0, 1)]
        assert all(times == sorted(times) for times in halves)


def test_frames_from_before_an_event_come_in_their_place_across_legs(tmp_path: Path) -> None:
    policy = LogPolicy(image_fps_hz=1, pre_roll_s=2, post_roll_s=0, leg_bytes=100_000, flush_s=0)
    anomalies = [range(k, k + 3) for k in range(25, 2000, 40)]
    results = [result(k, k / 10, anomaly=any(k in one for one in anomalies)) for k in range(2000)]
    folder = log_drive(tmp_path, policy, results)
    assert len(list(folder.iterdir())) > 3
    with open_source(folder) as source:
        times = [frame.timestamp_ns for frame in source]
    assert times == sorted(set(times))
    logged = {(time_ns - START_NS) // 10**8 for time_ns in times}
    assert all(set(range(one.start - 20, one.stop)) <= logged for one in anomalies)


def test_cameras_come_one_after_the_other_or_one_alone(tmp_path: Path) -> None:
    results = [result(k, k / 10, camera=camera) for k in range(20) for camera in ("front", "/dev/video2")]
    folder = log_drive(tmp_path, LogPolicy(), results)
    with open_source(folder) as source:
        frames = list(source)
    assert [frame.source_id for frame in frames] == ["front"] * 4 + ["/dev/video2"] * 4
    assert [frame.segment for frame in frames] == [0] * 4 + [1] * 4
    for spec in (f"{folder}?camera=/dev/video2", f"{folder / '000001.mcap'}?camera=/dev/video2"):
        with open_source(spec) as source:
            assert {frame.source_id for frame in source} == {"/dev/video2"}
    with pytest.raises(SourceUnreadableError, match=r"no camera 'rear'; expected front or /dev/video2"):
        open_source(f"{folder}?camera=rear")


def test_a_folder_of_drives_and_a_list_of_them(tmp_path: Path) -> None:
    root = tmp_path / "drives"
    root.mkdir()
    folders = [
        log_drive(root, LogPolicy(), [result(k, k / 10) for k in range(10)], run) for run in ("aaaaaaaa", "bbbbbbbb")
    ]
    for spec in (root, folders, str(root / "*")):
        with open_source(spec) as source:  # type: ignore[arg-type]
            assert [frame.segment for frame in source] == [0, 0, 1, 1]
            assert source.reads(folders[0] / "000001.mcap")


def test_a_broken_leg_does_not_take_the_drive_with_it(tmp_path: Path) -> None:
    folder = log_drive(tmp_path, LogPolicy(), [result(k, k / 10) for k in range(10)])
    (folder / "000002.mcap").write_bytes((folder / "000001.mcap").read_bytes()[:3000])
    (folder / "000003.mcap.part").write_bytes(b"under way")
    with open_source(folder) as source:
        assert len(list(source)) == 2
        assert list(source.skip_reasons) == ["000002.mcap: the file was cut off, is damaged, or is no MCAP file"]


@pytest.mark.parametrize("compression", list(CompressionType))
def test_files_of_others_are_timed_by_their_log(tmp_path: Path, compression: CompressionType) -> None:
    times = [0, 100, 200, 300, 5000, 5100]
    images = [(START_NS + ms * 10**6, jpeg(ms // 100)) for ms in times]
    path = write_foreign(tmp_path / "x.mcap", images, compression=compression)
    with open_source(path) as source:
        frames = list(source)
    assert [frame.timestamp_ns for frame in frames] == [START_NS + ms * 10**6 for ms in times]
    assert [frame.segment for frame in frames] == [0, 0, 0, 0, 1, 1]
    assert {frame.source_id for frame in frames} == {"/cam/compressed"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("frame_id", [b"c\0", b"", b"front_left\0"])
def test_ros_2_images(tmp_path: Path, order: str, frame_id: bytes) -> None:
    images = [(START_NS, ros2_message(jpeg(70), order=order, frame_id=frame_id))]
    with open_source(write_foreign(tmp_path / "bag.mcap", images, ros2=True)) as source:
        assert [level_of(frame) for frame in source] == [70]


def test_images_that_cannot_be_decoded_are_skipped_and_counted(tmp_path: Path) -> None:
    images = [(1, jpeg(9)), (2, b"no image"), (3, jpeg(9)[:200]), (4, jpeg(9))]
    with open_source(write_foreign(tmp_path / "x.mcap", images)) as source:
        assert [frame.index for frame in source] == [0, 3]
        assert source.skip_reasons == {"image cannot be decoded": 1, "image cut off": 1}
    nonsense = write_foreign(tmp_path / "y.mcap", [(1, b"\0\1\0\0nothing")], ros2=True)
    with open_source(nonsense) as source, pytest.raises(SourceUnreadableError, match="message cannot be decoded"):
        list(source)


def test_a_file_without_images_says_what_it_lacks(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "x.mcap", [])
    with pytest.raises(
        SourceUnreadableError, match=r"it holds no images; expected a channel of foxglove\.CompressedImage"
    ):
        open_source(path)


@pytest.mark.parametrize("data", [b"", b"hi", b"\x89MCAP0\r\n", b"\x89MCAP0\r\n" + bytes(500)])
def test_what_is_no_mcap_file_is_one_clear_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.mcap").write_bytes(data)
    with pytest.raises(SourceUnreadableError, match="cut off, is damaged, or is no MCAP file"):
        open_source(tmp_path / "x.mcap")


def test_damage_in_the_middle_ends_the_pass_with_an_error(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "x.mcap", [(k, jpeg(9)) for k in range(5)], compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8") + 20] ^= 1
    path.write_bytes(bytes(data))
    with open_source(path) as source, pytest.raises(SourceUnreadableError, match="is damaged"):
        list(source)


@pytest.mark.parametrize(
    "details",
    [b"[1]", b'{"timestamp_ns": 1}', b'{"timestamp_ns": "x", "stretch": 0}', b'{"timestamp_ns": 1, "stretch": [1]}'],
)
def test_details_that_are_not_what_the_log_writes_are_one_clear_error(tmp_path: Path, details: bytes) -> None:
    path = tmp_path / "x.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        facts = writer.register_channel(
            "/c/frame", "json", writer.register_schema("edgevad.Frame", "jsonschema", b"{}")
        )
        schema = writer.register_schema("foxglove.CompressedImage", "protobuf", b"")
        images = writer.register_channel("/c/image", "protobuf", schema, {"source_id": "/c/frame"})
        for log_ns in (1, 2):
            writer.add_message(facts, log_ns, details, log_ns)
            image = CompressedImage(data=jpeg(9), format="jpeg").SerializeToString()
            writer.add_message(images, log_ns, image, log_ns)
        writer.finish()
    with open_source(path) as source, pytest.raises(SourceUnreadableError, match="is damaged"):
        list(source)


def test_mcap_files_and_videos_in_one_folder_are_a_mixture(tmp_path: Path) -> None:
    write_foreign(tmp_path / "x.mcap", [(1, jpeg(9))])
    (tmp_path / "y.mp4").write_bytes(b"")
    with pytest.raises(SourceUnreadableError, match=r"holds both videos \(y\.mp4, …\) and MCAP files \(x\.mcap, …\)"):
        open_source(tmp_path)


def test_a_missing_extra_is_named_with_its_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_foreign(tmp_path / "x.mcap", [(1, jpeg(9))])
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[drives\]'"):
        open_source(path)
