"""Rows, clips and pictures of a run, and what the next run finds of one that was cut off."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import SECOND_NS, SMALL, START_NS, Scene, frames_of, result, run_info

from edgevad.errors import OptionError, OutputError, StoreError
from edgevad.events import Incident
from edgevad.events.fragments import boxes
from edgevad.events.recorder import Recorder, RecorderSpec
from edgevad.events.retention import MediaRetention
from edgevad.events.store import EventStore
from edgevad.events.stored import StoredEvent


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Recorder(tmp_path / "store", SMALL) as recorder:
        recorder.start(run_info())
        yield Scene(recorder)


def rows_of(scene: Scene) -> list[StoredEvent]:
    assert scene.recorder.shelf.store is not None
    return scene.recorder.shelf.store.events()


def clip_of(scene: Scene, row: StoredEvent) -> Path:
    assert row.clip is not None
    return scene.recorder.shelf.directory / row.clip


def test_an_event_has_a_row_from_its_beginning_and_a_clip_from_before_to_after_it(scene: Scene) -> None:
    scene.quiet(30)
    event = scene.begin()
    (row,) = rows_of(scene)
    assert (row.end_ns, row.start_ns, row.kind, row.camera, row.number) == (None, event.start_ns, "anomaly", "front", 1)
    assert row.clip_end_ns is None
    assert clip_of(scene, row).exists()
    scene.last(9)
    over = scene.end()
    scene.quiet(30)
    (row,) = rows_of(scene)
    assert (row.end_ns, row.frames, row.peak_score, row.peak_frame) == (over.end_ns, 10, 6.0, 30)
    assert row.clip_start_ns == event.start_ns - SECOND_NS
    assert row.clip_end_ns == over.end_ns + SECOND_NS
    found = frames_of(clip_of(scene, row))
    assert [at_s for at_s, _ in found] == pytest.approx([k / 10 for k in range(30)])
    expected = [10 * (index % 25) for index in range(20, 50)]
    assert [gray for _, gray in found] == pytest.approx(expected, abs=4)
    assert not scene.errors


def test_a_clip_is_h264_in_fragments_of_half_a_second_that_browsers_play(scene: Scene) -> None:
    import av

    scene.quiet(20)
    scene.begin()
    scene.last(40)
    scene.end()
    scene.quiet(20)
    path = clip_of(scene, rows_of(scene)[0])
    names = [name for name, _, _ in boxes(path)]
    assert names[:2] == ["ftyp", "moov"]
    assert names[2:-1] == ["moof", "mdat"] * ((len(names) - 3) // 2)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == 61  # 1 s, the event's 41 frames, 1 s
    assert len(packets) / names.count("moof") <= 5
    assert sum(packet.is_keyframe for packet in packets) >= 4  # one every two seconds, and where the picture changes


def test_frames_lie_at_their_own_times_however_they_came(scene: Scene) -> None:
    times_s = [0.0, 0.1, 0.2, 0.7, 0.8, 1.5]
    for index, at_s in enumerate(times_s):
        scene.push(result(index, at_s=at_s))
    scene.recorder.event_began(replace(scene.begin(), id=9, start_ns=START_NS + SECOND_NS))
    path = clip_of(scene, rows_of(scene)[-1])
    scene.recorder.finish(None)  # type: ignore[arg-type]
    assert [at_s for at_s, _ in frames_of(path)][:6] == pytest.approx(times_s)


def test_frames_beyond_the_clips_rate_are_left_out(tmp_path: Path) -> None:
    with Recorder(tmp_path, replace(SMALL, clip_fps_hz=5.0)) as recorder:
        recorder.start(run_info())
        scene = Scene(recorder, fps_hz=30.0)
        scene.quiet(60)
        scene.begin()
        scene.last(59)
        scene.end()
        scene.quiet(60)
        found = frames_of(clip_of(scene, rows_of(scene)[0]))
    assert len(found) == pytest.approx(20, abs=2)  # 4 s
    assert np.diff([at_s for at_s, _ in found]).min() > 0.1


def test_the_thumbnail_is_the_peak_with_its_heat_and_the_heatmap_can_be_read_back(scene: Scene) -> None:
    scene.quiet(10)
    scene.begin(score=6.0)
    scene.last(2, score=8.0)
    scene.end()
    (row,) = rows_of(scene)
    folder = scene.recorder.shelf.directory
    picture = cv2.imread(str(folder / str(row.thumbnail)))
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert np.ptp(picture.reshape(-1, 3).mean(axis=0)) > 30  # the frames are gray, the heat is not
    heat = cv2.imread(str(folder / str(row.heatmap)), cv2.IMREAD_UNCHANGED)
    assert heat is not None
    assert heat.shape == (4, 6)
    assert (heat == 200).all()  # 8 / 4 of what alone would raise an alarm


def test_large_and_odd_frames_are_filmed_small_and_even(scene: Scene) -> None:
    for index in range(5):
        scene.push(result(index, size=(1921, 1081)))
    scene.recorder.event_began(replace(scene.begin(), id=7))
    path = clip_of(scene, rows_of(scene)[0])
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (64, 48)
    capture.release()
    for index in range(100, 105):
        scene.push(result(index, size=(1921, 1081)))
    big = replace(scene.begin(), id=8)
    scene.push(result(200, size=(1921, 1081), inside=True, score=9.0))
    scene.recorder.event_began(replace(big, start_ns=START_NS + 20 * SECOND_NS))
    path = clip_of(scene, rows_of(scene)[-1])
    scene.recorder.finish(None)  # type: ignore[arg-type]
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (960, 540)
    capture.release()


def test_an_event_in_the_post_roll_of_another_shares_its_clip(scene: Scene) -> None:
    scene.quiet(20)
    scene.begin()
    scene.last(5)
    scene.end()
    scene.quiet(5)
    scene.begin()
    scene.last(5)
    last = scene.end()
    scene.quiet(30)
    first, second = rows_of(scene)
    assert first.clip == second.clip
    assert first.clip_end_ns == second.clip_end_ns == last.end_ns + SECOND_NS


def test_the_clip_of_an_endless_event_ends_and_its_row_goes_on(tmp_path: Path) -> None:
    with Recorder(tmp_path, replace(SMALL, max_clip_s=3.0)) as recorder:
        recorder.start(run_info())
        scene = Scene(recorder)
        scene.quiet(20)
        scene.begin()
        scene.last(60)
        (row,) = rows_of(scene)
        assert row.end_ns is None
        assert row.clip_start_ns is not None
        assert row.clip_end_ns == row.clip_start_ns + 3 * SECOND_NS
        scene.end()
        assert len(rows_of(scene)) == 1
        assert not recorder._rows


def test_a_clip_never_reaches_over_a_gap(scene: Scene) -> None:
    scene.quiet(20)
    scene.begin()
    scene.last(3)
    scene.push(result(99, segment=1))
    (row,) = rows_of(scene)
    assert row.clip_end_ns == START_NS + round(2.3 * SECOND_NS)
    over = scene.end()
    scene.push(result(100, segment=1))
    scene.recorder.event_began(replace(over, id=2, start_ns=START_NS + 10 * SECOND_NS))
    assert rows_of(scene)[-1].clip_start_ns == START_NS + round(9.9 * SECOND_NS)  # no pre-roll from before the gap


def test_incidents_are_rows_told_twice(scene: Scene) -> None:
    lost = Incident("camera_lost", "stale", "no frame for 2 s", "front", START_NS)
    scene.recorder.incident(lost)
    assert [(row.kind, row.cause, row.end_ns, row.peak_score) for row in rows_of(scene)] == [
        ("camera_lost", "stale", None, None)
    ]
    scene.recorder.incident(lost.ended("back", end_ns=START_NS + 5))
    assert [(row.id, row.end_ns, row.detail) for row in rows_of(scene)] == [(lost.id, START_NS + 5, "back")]


def test_what_lasts_when_the_run_ends_is_marked_as_interrupted(scene: Scene) -> None:
    scene.quiet(5)
    scene.begin()
    scene.last(2)
    scene.recorder.incident(Incident("sink", "unreachable", "no broker", "", START_NS))
    scene.recorder.finish(None)  # type: ignore[arg-type]
    event, incident = rows_of(scene)
    assert (event.interrupted, event.end_ns) == (True, START_NS + round(0.7 * SECOND_NS))
    assert incident.interrupted
    assert event.clip_end_ns == event.end_ns


def test_the_next_run_closes_what_was_cut_off_keeps_clips_that_can_be_read_and_sweeps_the_rest(
    scene: Scene, tmp_path: Path
) -> None:
    store = tmp_path / "cut-off"
    scene.quiet(20)
    scene.begin()
    scene.last(10)
    Scene(scene.recorder, camera="rear", events=1).begin()
    readable, unreadable = (str(row.clip) for row in rows_of(scene))
    shutil.copytree(scene.recorder.shelf.directory, store)  # what a power cut would leave
    with (store / readable).open("ab") as stream:
        stream.write(b"\x00\x00\x10\x00moof" + bytes(100))  # half a fragment
    (store / unreadable).write_bytes(b"")
    orphan = store / f"{readable[: readable.rindex('-')]}-99.jpg"
    orphan.write_bytes(b"x")
    somebodys = [
        store / "media" / "wedding.mp4",
        store / "media" / "2026" / "thesis.pdf",
        orphan.with_name("IMG-1.jpg"),
    ]
    for path in somebodys:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")

    with Recorder(store, SMALL) as again:
        assert again.shelf.recovered is not None
        assert again.shelf.recovered.interrupted == (1, 2)
        assert (again.shelf.recovered.clips, again.shelf.recovered.unreadable) == (1, 1)
        assert again.shelf.recovered.orphans == 1
        assert not orphan.exists()
        assert all(path.exists() for path in somebodys)
        first, second = again.shelf.store.events()  # type: ignore[union-attr]
    assert first.interrupted
    assert first.clip is not None
    assert first.end_ns == first.clip_end_ns
    assert first.clip_start_ns is not None
    length_s = ((first.clip_end_ns or 0) - first.clip_start_ns) / 1e9
    assert length_s >= 2.0 - 0.5
    assert frames_of(store / first.clip)[-1][0] == pytest.approx(length_s)
    assert (second.interrupted, second.clip, second.end_ns) == (True, None, second.start_ns)
    assert second.thumbnail is not None


def test_an_event_that_outlasts_its_recorder_is_finished_by_the_next_one(tmp_path: Path) -> None:
    with Recorder(tmp_path, SMALL) as recorder:
        recorder.start(run_info())
        scene = Scene(recorder)
        scene.quiet(20)
        scene.begin()
        scene.last(5)
    with Recorder(tmp_path, SMALL) as scene.recorder:
        scene.recorder.start(run_info())
        (before,) = rows_of(scene)
        assert before.interrupted
        scene.last(5)
        over = scene.end()
        (after,) = rows_of(scene)
        assert (after.interrupted, after.end_ns, after.clip) == (False, over.end_ns, before.clip)
        assert after.clip is not None
        assert not scene.recorder._rows


def test_two_recorders_do_not_share_a_store_and_a_reader_needs_no_lock(scene: Scene) -> None:
    directory = scene.recorder.shelf.directory
    with pytest.raises(StoreError, match="another edgevad records"):
        Recorder(directory, SMALL)
    scene.begin()
    with EventStore.open(directory) as reader:
        assert [row.number for row in reader.events()] == [1]


def test_a_store_that_cannot_be_used_is_set_aside_with_its_media_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "old.mp4").write_bytes(b"old")
    (tmp_path / "events.db").write_bytes(b"not a database, but longer than a header of one " * 40)
    told: list[Incident] = []
    with Recorder(tmp_path, SMALL) as recorder:
        recorder.on_incident = told.append
        recorder.start(run_info())
        (row,) = rows_of(Scene(recorder))
        assert (row.kind, row.cause) == ("storage", "set aside")
        assert [(one.id, one.detail) for one in told] == [(row.id, row.detail)]
        aside = next(tmp_path.glob("set-aside-*"))
        assert str(aside) in row.detail
        assert (aside / "media" / "old.mp4").read_bytes() == b"old"
        assert (aside / "events.db").exists()


@pytest.mark.parametrize("how", ["empty", "gone"])
def test_clips_of_a_database_that_is_lost_are_set_aside_and_never_swept(scene: Scene, tmp_path: Path, how: str) -> None:
    scene.quiet(20)
    scene.begin()
    scene.last(5)
    scene.end()
    scene.quiet(20)
    scene.recorder.close()
    directory = scene.recorder.shelf.directory
    with EventStore.open(directory) as store:
        clip = str(store.events()[0].clip)
    if how == "empty":
        (directory / "events.db").write_bytes(b"")
    else:
        (directory / "events.db").unlink()
    with Recorder(directory, SMALL) as recorder:
        recorder.start(run_info())
        (row,) = rows_of(Scene(recorder))
    assert (row.kind, row.cause) == ("storage", "set aside")
    (aside,) = directory.glob("set-aside-*")
    assert (aside / clip).exists()


def test_quotas_delete_the_oldest_and_kept_ones_alone_may_fill_them(tmp_path: Path) -> None:
    def record(spec: RecorderSpec, run_id: str) -> Scene:
        with Recorder(tmp_path, spec) as recorder:
            recorder.start(run_info(run_id))
            scene = Scene(recorder)
            scene.quiet(20)
            scene.begin()
            scene.last(5)
            scene.end()
            scene.quiet(20)
        return scene

    record(SMALL, "a" * 12)
    record(SMALL, "b" * 12)
    with EventStore.open(tmp_path) as store:
        store.keep([1])
    tight = replace(SMALL, retention=MediaRetention(max_bytes=1000))
    scene = record(tight, "c" * 12)
    assert any("fill the whole quota" in str(error) for error in scene.errors)
    with EventStore.open(tmp_path) as store:
        first, second, third = store.events()
    assert first.clip is not None
    assert (tmp_path / first.clip).exists()
    assert (second.clip, second.thumbnail) == (None, None)
    assert (third.clip, third.peak_score) == (None, 6.0)


def test_without_pyav_clips_are_webm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgevad.events.clip.encoder", lambda: None)
    with Recorder(tmp_path, SMALL) as recorder:
        recorder.start(run_info())
        scene = Scene(recorder)
        scene.quiet(20)
        scene.begin()
        scene.last(9)
        scene.end()
        scene.quiet(20)
        (row,) = rows_of(scene)
    assert row.clip is not None
    assert row.clip.endswith(".webm")
    found = frames_of(tmp_path / row.clip)
    assert [at_s for at_s, _ in found] == pytest.approx([k / 5 for k in range(len(found))], abs=0.002)
    assert len(found) == pytest.approx(15, abs=1)  # three seconds, five a second
    expected = [10 * (index % 25) for index in range(10, 42, 2)][: len(found)]
    assert [gray for _, gray in found] == pytest.approx(expected, abs=6)


def test_of_cameras_its_thread_is_nice_to_the_scorer_and_of_recordings_it_is_the_scorers(tmp_path: Path) -> None:
    def niceness_of(is_live: bool) -> int:
        def work() -> None:
            with Recorder(tmp_path, SMALL) as recorder:
                recorder.start(run_info(is_live=is_live))
                found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

        found: list[int] = []
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found[0]

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness_of(is_live=False) == ours
    assert niceness_of(is_live=True) == max(ours, 10)


def test_a_chain_of_many_recordings_leaves_no_pre_rolls_behind(scene: Scene) -> None:
    for number in range(40):
        scene.push(result(number, camera=f"clip {number}"))
    assert len(scene.recorder._cameras) <= 17


def test_memory_of_the_pre_roll_is_bounded_in_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    with Recorder(tmp_path, replace(SMALL, pre_roll_s=60.0, ring_bytes=1_000_000)) as recorder:
        recorder.start(run_info())
        for index in range(40):
            one = result(index)
            recorder.push(replace(one, frame=replace(one.frame, image=noise)))
        footage = recorder._cameras["front"]
        assert 500_000 < sum(len(jpeg) for _, jpeg in footage._ring) <= 1_000_000


@pytest.mark.parametrize("wrong", [{"pre_roll_s": -1.0}, {"clip_fps_hz": float("nan")}, {"max_width_px": 2}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        RecorderSpec(**wrong)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="a file is in the way"):
        Recorder(tmp_path / "file", SMALL)
