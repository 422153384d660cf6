from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from logged import NO_FLOOR, START_NS, event, result, run_info, write_drive
from mcap.exceptions import EndOfFile
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader

from edgevad.drives.camera import CameraLog
from edgevad.drives.folder import open_drives, verify
from edgevad.drives.log import DriveLog
from edgevad.drives.messages import SCHEMAS
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.drives.reading import check_leg
from edgevad.errors import MissingExtraError, OptionError, OutputError, StoreError
from edgevad.events import Incident

EAGER = LogPolicy(flush_s=0, sync_s=60)


def messages(path: Path, *topics: str) -> list[tuple[Any, Any, Any]]:
    with path.open("rb") as stream:
        return list(make_reader(stream, validate_crcs=True).iter_messages(topics=topics or None))


def details(path: Path, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.data) for _, _, message in messages(path, topic)]


def leg(folder: Path, number: int = 1) -> Path:
    return folder / f"{number:06d}.mcap"


def test_scores_of_every_frame_and_images_now_and_then(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 100, cameras=("front", "rear"))
    for camera in ("front", "rear"):
        scores = details(leg(folder), f"/{camera}/score")
        assert [score["frame"] for score in scores] == list(range(100))
        # 10 Hz, and 2 images a second.
        assert [frame["frame"] for frame in details(leg(folder), f"/{camera}/frame")] == list(range(0, 100, 5))
    times = [message.log_time for _, _, message in messages(leg(folder), "/front/image")]
    assert times == [START_NS + k * 500_000_000 for k in range(20)]


def test_every_nth_frame(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 30, policy=LogPolicy(image_fps_hz=None, every_nth=7))
    assert [frame["frame"] for frame in details(leg(folder), "/front/frame")] == [0, 7, 14, 21, 28]


def test_around_an_event_every_frame_is_there_those_before_it_too(tmp_path: Path) -> None:
    policy = LogPolicy(image_fps_hz=0.5, pre_roll_s=1.0, post_roll_s=0.5)
    folder = write_drive(tmp_path, 100, policy=policy, anomalies=range(33, 36))
    found = details(leg(folder), "/front/frame")
    assert [frame["frame"] for frame in found] == [0, 20, *range(23, 41), 60, 80]
    assert [frame["frame"] for frame in found if frame["around_event"]] == [*range(23, 41)]
    assert [frame["state"] for frame in found if frame["frame"] in (32, 33, 36)] == ["normal", "anomaly", "normal"]
    assert [(e["is_over"], e["logged_start_ns"], e["logged_end_ns"]) for e in details(leg(folder), "/events")] == [
        (False, START_NS + 33 * 10**8, START_NS + 33 * 10**8),
        (True, START_NS + 33 * 10**8, START_NS + 35 * 10**8),
    ]


def test_an_event_without_end_is_logged_like_everything_else_after_a_while(tmp_path: Path) -> None:
    policy = LogPolicy(image_fps_hz=0.5, pre_roll_s=0.5, post_roll_s=0.5, event_s=1.0)
    folder = write_drive(tmp_path, 100, policy=policy, anomalies=range(30, 90))
    found = details(leg(folder), "/front/frame")
    assert [frame["frame"] for frame in found] == [0, 20, *range(25, 46), 60, 80]


def test_without_pre_roll_nothing_is_encoded_that_is_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *args: (encoded.append(1), encode(*args))[1])
    write_drive(tmp_path, 50, policy=LogPolicy(pre_roll_s=0))
    assert len(encoded) == 10


def test_images_decode_by_the_schema_that_lies_in_the_file(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 20)
    schema, channel, message = messages(leg(folder), "/front/image")[3]
    assert (schema.name, schema.encoding, channel.message_encoding) == (
        "foxglove.CompressedImage",
        "protobuf",
        "protobuf",
    )
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
        pool.Add(file)  # in an order in which each finds what it imports
    image = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name)).FromString(message.data)
    assert (image.format, image.frame_id) == ("jpeg", "front")
    assert image.timestamp.ToNanoseconds() == message.log_time == START_NS + 1_500_000_000
    pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (48, 64, 3)
    assert abs(int(pixels.mean()) - 15) <= 1


def test_every_message_is_what_its_schema_says(tmp_path: Path) -> None:
    types = {"integer": int, "number": (int, float), "string": str, "boolean": bool, "array": list, "null": type(None)}
    with DriveLog(tmp_path, EAGER, NO_FLOOR) as log:
        log.start(run_info())
        log.push(result(0, anomaly=True))
        log.event_began(event(0, 0))
        log.event(event(0, 0))
        log.incident(Incident("camera_lost", "stale", "no frame for 2 s", "front", START_NS))
    seen = set()
    for schema, channel, message in messages(leg(next(tmp_path.glob("2*")))):
        if schema.encoding == "jsonschema":
            rules = json.loads(schema.data)
            value = json.loads(message.data)
            assert set(value) == set(rules["required"]) == set(rules["properties"])
            for name, rule in rules["properties"].items():
                kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
                assert isinstance(value[name], tuple(types[kind] for kind in kinds)), (channel.topic, name)
            seen.add(channel.topic.rpartition("/")[2])
    assert seen == set(SCHEMAS)


def test_a_leg_says_where_it_comes_from(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 5)
    with leg(folder).open("rb") as stream:
        (record,) = make_reader(stream).iter_metadata()
    assert record.name == "edgevad"
    expected = {
        "bundle_name": "car",
        "bundle_digest": "d1ge57",
        "threshold": "2.5",
        "run_id": "0123456789ab",
        "leg": "1",
    }
    assert expected.items() <= record.metadata.items()


def test_legs_end_by_size_and_every_one_is_whole(tmp_path: Path) -> None:
    policy = LogPolicy(image_fps_hz=None, leg_bytes=100_000, flush_s=0)
    folder = write_drive(tmp_path, 300, policy=policy)
    legs = sorted(folder.iterdir())
    assert len(legs) > 2
    for path in legs:
        check_leg(path)
        assert path.stat().st_size < 150_000
        assert len(details(path, "/state")) == 1  # each tells the state it begins with
    assert [frame["frame"] for path in legs for frame in details(path, "/front/frame")] == list(range(300))


def test_legs_end_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DriveLog(tmp_path, LogPolicy(leg_s=10), NO_FLOOR) as log:
        log.start(run_info())
        now_s = time.monotonic()
        monkeypatch.setattr("time.monotonic", lambda: now_s)
        for index in range(100):
            log.push(result(index))
            now_s += 0.5
    assert len(list(tmp_path.glob("2*/*.mcap"))) == 5


def test_the_leg_under_way_can_be_read_up_to_its_last_flush(tmp_path: Path) -> None:
    log = DriveLog(tmp_path, EAGER, NO_FLOOR)
    log.start(run_info())
    for index in range(10):
        log.push(result(index))
    (part,) = tmp_path.glob("2*/*")
    assert part.name == "000001.mcap.part"
    found = []
    with part.open("rb") as stream, suppress(EndOfFile):
        for record in StreamReader(stream, validate_crcs=True).records:
            found += [record] if isinstance(record, Message) else []
    assert len(found) == 10 + 1 + 2 * 2  # scores, a state, two images with their details
    log.close()
    assert [path.name for path in part.parent.iterdir()] == ["000001.mcap"]


def test_flushing_waits_for_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DriveLog(tmp_path, LogPolicy(flush_s=0.5, sync_s=60), NO_FLOOR)
    log.start(run_info())
    now_s = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    sizes = []
    for index in range(15):
        log.push(result(index))
        now_s += 0.1
        sizes.append(next(tmp_path.glob("2*/*.part")).stat().st_size)
    log.abandon()
    assert len(set(sizes)) == 3


@pytest.mark.parametrize(("width", "logged"), [(1280, 640), (640, 640), (1000, 500), (1920, 640), (64, 64)])
def test_wide_images_are_shrunk_by_whole_numbers(tmp_path: Path, width: int, logged: int) -> None:
    with DriveLog(tmp_path, None, NO_FLOOR) as log:
        log.start(run_info())
        log.push(result(0, size=(width, 40)))
    (path,) = tmp_path.glob("2*/*.mcap")
    from edgevad.sources import open_source

    with open_source(path) as source:
        assert next(iter(source)).image.shape[1] == logged
    assert details(path, "/front/frame")[0]["width_px"] == width


def test_recordings_are_logged_one_after_the_other_from_the_runs_start(tmp_path: Path) -> None:
    with DriveLog(tmp_path, LogPolicy(image_fps_hz=None), NO_FLOOR) as log:
        log.start(run_info(is_live=False))
        for clip in ("a.mp4", "b.mp4"):
            for index in range(5):
                log.push(result(index, camera=clip, timestamp_ns=index * 10**8))
        log.event(event(0, 1, camera="b.mp4"))
    (path,) = tmp_path.glob("2*/*.mcap")
    first, second = ([m.log_time for _, _, m in messages(path, f"/{clip}/image")] for clip in ("a.mp4", "b.mp4"))
    assert first == [START_NS + k * 10**8 for k in range(5)]
    assert second[0] > first[-1]
    assert [frame["timestamp_ns"] for frame in details(path, "/b.mp4/frame")] == [k * 10**8 for k in range(5)]


def test_a_clock_that_leaps_back_leaves_nothing_waiting() -> None:
    camera = CameraLog("front", LogPolicy(image_fps_hz=0.001, pre_roll_s=1.0), iter(range(10**6)).__next__)
    for index in range(200):
        one = result(index, timestamp_ns=START_NS - index * 10**9)
        camera.images(one.frame, one.frame.timestamp_ns, state="normal", is_anomaly=False, encode=lambda image: b"")
    assert len(camera._waiting) <= 1


def test_after_a_reload_the_run_goes_on_in_the_same_drive(tmp_path: Path) -> None:
    first = DriveLog(tmp_path, None, NO_FLOOR)
    first.start(run_info())
    first.push(result(0))
    second = DriveLog(tmp_path, None, NO_FLOOR)  # made while the first one still holds the folder
    with pytest.raises(StoreError, match="another process logs"):
        second.start(run_info())
    first.close()
    second.start(run_info())
    second.push(result(1))
    second.close()
    assert sorted(path.name for path in tmp_path.glob("2*/*")) == ["000001.mcap", "000002.mcap"]
    (one,), (two,) = (details(path, "/front/frame") for path in sorted(tmp_path.glob("2*/*")))
    assert one["stretch"] != two["stretch"]


def test_another_process_is_refused_at_once(tmp_path: Path) -> None:
    code = f"""
import sys, time
from edgevad.drives.lock import FolderLock
from pathlib import Path
lock = FolderLock(Path({str(tmp_path)!r}))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid}.*Stop it, or name another folder"):
            DriveLog(tmp_path)
        holder.kill()
        holder.wait()
    DriveLog(tmp_path)  # nobody holds it any more


def test_a_missing_extra_is_said_on_construction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap", None)
    monkeypatch.delitem(sys.modules, "mcap.writer", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[drives\]'"):
        DriveLog(tmp_path / "drives")
    assert not (tmp_path / "drives").exists()


def test_limits_that_hold_no_drive_are_refused_before_anything_is_removed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="50 MB hold not even two legs of 64 MB"):
        DriveLog(tmp_path / "drives", None, LegRetention(max_bytes=50_000_000))
    assert not (tmp_path / "drives").exists()


def test_a_file_in_the_way_is_said_on_construction(tmp_path: Path) -> None:
    (tmp_path / "drives").write_text("")
    with pytest.raises(OutputError, match="a file is in the way"):
        DriveLog(tmp_path / "drives")


def test_a_run_without_frames_leaves_nothing_behind(tmp_path: Path) -> None:
    for run_id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        with DriveLog(tmp_path, None, NO_FLOOR) as log:
            log.start(run_info(run_id))
    assert not list(tmp_path.glob("2*"))


@pytest.mark.parametrize(
    "bad", [{"image_fps_hz": 0}, {"every_nth": 0}, {"jpeg_quality": 101}, {"pre_roll_s": -1}, {"leg_bytes": 10}]
)
def test_a_policy_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        LogPolicy(**bad)


def test_a_folder_that_is_taken_away_under_way_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgevad.drives.log.RETRY_S", 0.0)
    root = tmp_path / "drives"
    log = DriveLog(root, LogPolicy(image_fps_hz=None, leg_bytes=100_000, flush_s=0), NO_FLOOR)
    log.start(run_info())
    refused = []
    for index in range(300):
        try:
            log.push(result(index))
        except OutputError:
            refused.append(index)
        if index == 100:
            shutil.rmtree(root)
    with pytest.raises(StoreError, match="another process logs"):  # the lock is made anew, too
        DriveLog(root).start(run_info("fedcba987654"))
    log.close()
    assert len(refused) == 1  # the frame at which it was noticed, when the next leg was to be opened
    with open_drives(root) as catalogue:
        assert {one.verdict for one in verify(root, catalogue)} == {"whole"}
        assert sum(one.frames for one in catalogue.legs()) > 100
