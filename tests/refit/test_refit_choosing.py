"""What is chosen to learn from: events, faults, marks, density, budget, blocks that are held out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from logged import FPS_HZ, NO_FLOOR, START_NS, event, result, run_info

from edgevad.bundle.replay import Replay
from edgevad.drives.folder import mark, open_drives
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LogPolicy
from edgevad.errors import EdgevadError, OptionError, RefitError
from edgevad.events.store import EventStore
from edgevad.events.stored import StoredEvent
from edgevad.refit.choosing import select
from edgevad.refit.gathering import gather, never_train_in
from edgevad.refit.pieces import thinned
from edgevad.runtime.pipeline import Result
from edgevad.runtime.remembering import Rememberer
from edgevad.runtime.shrinking import shrink
from edgevad.sources import Frame
from edgevad.spec import InputSpec, MotionSpec

SPEC = InputSpec(16, 16)
IN_TWO_LEGS = LogPolicy(leg_bytes=100_000, flush_s=0)
# Encodes only what it logs.
SPARSE = LogPolicy(pre_roll_s=0)


@lru_cache
def place(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.integers(0, 180, (6, 513, 3)).astype(np.uint8), (4104, 48))
    return coarse + random.integers(0, 70, (48, 4104, 3)).astype(np.uint8)


def looking(
    index: int, *, camera: str = "front", anomaly: bool = False, fault: str | None = None, seed: int = 0
) -> Result:
    """A frame with structure: what it shows moves on with time, and `seed` is the place."""
    start = 2 * index % 4000
    plain = result(index, camera=camera, anomaly=anomaly)
    frame = Frame(np.ascontiguousarray(place(seed)[:, start : start + 64]), index, plain.frame.timestamp_ns, camera)
    if fault is not None:
        return Result(frame, (), (), None, None, None, False, "fault", None, 0.001, None, fault=fault)
    score = 3.0 if anomaly else 0.5
    state = "anomaly" if anomaly else "normal"
    return Result(frame, (1.0,), (score,), score, score, "detail", anomaly, state, None, 0.001, None)  # type: ignore[arg-type]


def log_drive(
    root: Path,
    seconds: int,
    *,
    anomaly_s: tuple[int, int] | None = None,
    fault_s: tuple[int, int] | None = None,
    run_id: str = "0123456789ab",
    policy: LogPolicy | None = None,
    cameras: tuple[str, ...] = ("front",),
    seed: int = 0,
) -> Path:
    """A drive with an event of the first camera, and a fault of its lens."""
    first, last = (-1, -2) if anomaly_s is None else (anomaly_s[0] * FPS_HZ, anomaly_s[1] * FPS_HZ - 1)
    faults = range(0) if fault_s is None else range(fault_s[0] * FPS_HZ, fault_s[1] * FPS_HZ)
    with DriveLog(root, policy, NO_FLOOR) as log:
        log.start(run_info(run_id))
        for index in range(seconds * FPS_HZ):
            for camera in cameras:
                mine = camera == cameras[0]
                fault = "covered" if mine and index in faults else None
                log.push(looking(index, camera=camera, anomaly=mine and first <= index <= last, fault=fault, seed=seed))
            if index == first:
                log.event_began(event(index, index, camera=cameras[0]))
            if index == last + 1:
                log.event(event(first, last, camera=cameras[0]))
    return next(path for path in root.iterdir() if path.name.endswith(run_id[:8]))


def seconds_of(selection: object) -> np.ndarray:
    return (selection.cache.timestamp_ns - START_NS) / 1e9  # type: ignore[attr-defined]


def test_every_image_has_what_was_logged_of_it(tmp_path: Path) -> None:
    log_drive(tmp_path, 40, anomaly_s=(20, 23), fault_s=(30, 33), cameras=("front", "rear"), policy=IN_TWO_LEGS)
    found = gather([tmp_path])
    assert [(one.camera, len(one.legs) > 1) for one in found.footage] == [("front", True), ("rear", True)]
    index = found.footage[0].index
    time_s = (index.time_ns - START_NS) / 1e9
    assert np.array_equal(index.fault, (time_s >= 30) & (time_s < 33))
    assert np.array_equal(index.event == 3, (time_s >= 20) & (time_s <= 22.9))
    assert np.array_equal(np.isnan(index.anomaly), index.fault)
    assert np.array_equal(index.anomaly == 3.0, (time_s >= 20) & (time_s <= 22.9))
    near = index.event == 2
    assert np.array_equal(
        near, ((time_s >= 18) & (time_s < 20)) | ((time_s > 22.9) & (time_s <= 24.9)) | ((time_s >= 28) & (time_s < 35))
    )
    assert not found.footage[1].index.event.any()
    frames = list(found.footage[0].frames(np.array([3, 4, 50])))
    assert [row for row, _ in frames] == [3, 4, 50]
    assert [frame.timestamp_ns for _, frame in frames] == index.timestamp_ns[[3, 4, 50]].tolist()


def test_around_events_frames_are_no_closer_than_elsewhere(tmp_path: Path) -> None:
    log_drive(tmp_path, 40, anomaly_s=(20, 23), fault_s=(30, 33))
    index = gather([tmp_path]).footage[0].index
    rows = thinned(index)
    steps_s = np.diff(index.timestamp_ns[rows]) / 1e9
    assert len(index) > 110
    assert len(rows) == 74  # of 40 s less 3, two a second
    assert not index.fault[rows].any()
    assert sorted(set(steps_s.round(1).tolist())) == [0.5, 3.5]


def test_events_weigh_less_and_what_people_said_counts(tmp_path: Path) -> None:
    root, store = tmp_path / "drives", tmp_path / "events"
    log_drive(root, 60, anomaly_s=(20, 25))
    plain = select([root], SPEC, tmp_path / "a")
    time_s = seconds_of(plain)
    inside = (time_s >= 20) & (time_s < 25)
    near = (time_s >= 18) & (time_s < 27)
    assert np.array_equal(plain.in_event, inside)
    assert set(plain.weight[near].tolist()) == {0.25}
    assert set(plain.weight[~near].tolist()) == {1.0}
    for said, weight, still in (("confirmed", 0.0, True), ("dismissed", 1.0, False)):
        with EventStore.open(store, create=True) as opened:
            stored = StoredEvent.of_event(run_info(), event(200, 249), START_NS, lasts=False)
            opened.write([stored])
            opened.mark([1], said)  # type: ignore[arg-type]
        marked = select([root], SPEC, tmp_path / said, events=store)
        time_s = seconds_of(marked)
        inside = (time_s >= 20) & (time_s < 25)
        assert set(marked.weight[inside].tolist()) == {weight}
        assert marked.in_event[inside].all() == still
        assert marked.held_out[inside].all() == (said == "confirmed")
        assert not (marked.learnable & marked.in_event).any()


def test_nothing_is_learned_of_what_is_marked_never_train(tmp_path: Path) -> None:
    private = log_drive(tmp_path, 30, run_id="aaaaaaaabbbb")
    log_drive(tmp_path, 30, run_id="bbbbbbbbcccc", seed=1)
    with open_drives(tmp_path) as catalogue:
        mark(tmp_path, catalogue, private.name, never_train=True)
    selection = select([tmp_path], SPEC, tmp_path / "work")
    assert [drive.name[-8:] for drive in selection.drives] == ["bbbbbbbb"]
    assert f"{private.name}: 1 leg marked never train." in selection.notes
    assert never_train_in([str(tmp_path)]) == [private.name]
    assert never_train_in([str(private / "000001.mcap"), str(tmp_path / "none")]) == [f"{private.name}/000001"]
    with pytest.raises(RefitError, match=r"nothing is left to learn from.*marked never train"):
        select([private], SPEC, tmp_path / "work")


def test_blocks_are_held_out_whole_and_what_is_learned_keeps_away(tmp_path: Path) -> None:
    log_drive(tmp_path, 300, cameras=("front", "rear"), policy=SPARSE)
    selection = select([tmp_path], SPEC, tmp_path / "work", budget_frames=10_000)
    time_s, held = seconds_of(selection), selection.held_out
    assert 0.1 < held.mean() < 0.3
    for segment in np.unique(selection.cache.segment):
        assert len(set(held[selection.cache.segment == segment].tolist())) == 1
    apart = np.abs(time_s[held][:, None] - time_s[~held][None]).min()
    assert apart > 2.0


def test_the_budget_holds_and_the_choice_is_the_same_again(tmp_path: Path) -> None:
    for k in range(3):
        log_drive(tmp_path, 120, run_id=f"{k:08x}aaaa", seed=7, policy=SPARSE)
    selection = select([tmp_path], SPEC, tmp_path / "work", budget_frames=300)
    assert 200 < len(selection.cache) <= 300
    again = select([tmp_path], SPEC, tmp_path / "again", budget_frames=300)
    assert np.array_equal(selection.cache.images, again.cache.images)


class Remembers:
    """What `select` asks of a bundle: replay frames of one place."""

    def __init__(self, images: np.ndarray) -> None:
        count = len(images)
        segment = (np.arange(count) // 10).astype(np.int32)
        times = np.arange(count, dtype=np.int64) * 10**8
        self._replay = Replay(images, None, times, segment, np.zeros(count, np.float32))

    def replay(self) -> Replay:
        return self._replay

    def remember_graph(self) -> None:
        return None


class Coordinates:
    @staticmethod
    def coordinates(frames: np.ndarray) -> np.ndarray:
        return frames.reshape(len(frames), -1)[:, ::16].astype(np.float32)


def test_what_the_bundle_knows_is_not_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rememberer, "of", lambda bundle: Coordinates)
    names = [log_drive(tmp_path, 200, run_id=f"{seed:08x}aaaa", seed=seed, policy=SPARSE).name for seed in (7, 8)]
    learned = []
    for seed in (7, 8):
        images = np.stack([shrink(looking(k, seed=seed).frame.image, (16, 16)) for k in range(0, 2000, 5)])
        bundle: Any = Remembers(images)
        selection = select([tmp_path], SPEC, tmp_path / "work", bundle=bundle, budget_frames=300)
        novelty = {drive.name: drive.novelty for drive in selection.drives}
        known, new = names if seed == 7 else reversed(names)
        assert not novelty[known] > novelty[new] / 2  # or nothing of it was taken
        assert any("times as far from what is known as usual" in drive.reason for drive in selection.drives)
        learned.append([int((selection.drive == k)[selection.learnable].sum()) for k in range(2)])
    assert learned[0][1] > learned[1][1]
    assert learned[0][0] < learned[1][0]


def test_drives_are_told_by_their_legs(tmp_path: Path) -> None:
    folder = log_drive(tmp_path, 40, policy=IN_TWO_LEGS)
    with open_drives(tmp_path) as catalogue:
        sums = {f"{leg.number:06d}.mcap": leg.sha256 for leg in catalogue.legs()}
    (drive,) = select([f"{folder}?camera=front"], SPEC, tmp_path / "work").drives
    assert dict(drive.legs) == sums
    assert (drive.name, drive.cameras, drive.start_ns) == (folder.name, ("front",), START_NS)
    (tmp_path / "catalogue.sqlite").unlink()
    (drive,) = select([folder], SPEC, tmp_path / "work").drives
    assert dict(drive.legs) == sums


def test_a_recording_is_a_drive_without_notes(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(60):
        image = looking(index).frame.image
        cv2.imwrite(str(folder / f"{index:03d}.png"), image if index < 50 else image // 20)
    selection = select([folder], SPEC, tmp_path / "work")
    assert 40 < len(selection) <= 50
    assert selection.blind_share == pytest.approx(1 / 6)
    assert np.isnan(selection.anomaly).all()
    assert selection.drives[0].cameras == (str(folder),)


def test_motion_is_against_the_true_past(tmp_path: Path) -> None:
    folder = log_drive(tmp_path, 60, policy=LogPolicy(image_fps_hz=None))
    spec = InputSpec(16, 16, MotionSpec("difference", (200,)))
    selection = select([folder], spec, tmp_path / "work", budget_frames=200)
    assert selection.cache.motion is not None
    # The picture moves on by the same in every frame: a past of another place would differ more than all others.
    means = selection.cache.motion.astype(np.float32).mean(axis=(1, 2, 3))
    assert means.min() > 5
    assert means.max() < 2.5 * np.median(means)


def test_pictures_are_blurred_before_anything_sees_them(tmp_path: Path) -> None:
    log_drive(tmp_path, 30)
    sizes = set()

    def blur(image: np.ndarray) -> np.ndarray:
        sizes.add(image.shape)
        return cv2.blur(image, (1, 48))

    selection = select([tmp_path], SPEC, tmp_path / "work", blur=blur)
    assert sizes == {(48, 64, 3)}
    assert np.diff(selection.cache.images.astype(int), axis=1)[:, 4:-4].std() < 8
    with pytest.raises(RefitError, match="the blur gives"):
        select([tmp_path], SPEC, tmp_path / "work", blur=lambda image: image[:8])
    with pytest.raises(RefitError, match=r"the blur fails \(ValueError: no\)"):
        select([tmp_path], SPEC, tmp_path / "work", blur=_fail)


def _fail(image: np.ndarray) -> np.ndarray:
    raise ValueError("no")


def test_broken_and_older_legs_are_left_out_and_said(tmp_path: Path) -> None:
    folder = log_drive(tmp_path, 40, policy=IN_TWO_LEGS)
    legs = sorted(folder.glob("*.mcap"))
    legs[0].write_bytes(legs[0].read_bytes()[:5000])
    (folder / "000009.mcap.part").write_bytes(b"half")
    found = gather([folder])
    assert f"{folder.name}: 1 leg broken." in found.notes
    assert f"{folder.name}: 1 leg not closed yet." in found.notes
    assert len(found.footage[0].legs) == len(legs) - 1
    assert gather([folder], since_ns=START_NS + 10**15).footage == []


@pytest.mark.parametrize(
    ("drives", "error", "message"),
    [
        ([], OptionError, "no drives are named"),
        (["nowhere"], EdgevadError, "no such file or folder"),
        (["rtsp://car/front"], OptionError, "never ends"),
    ],
)
def test_what_is_no_drive_is_refused(tmp_path: Path, drives: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        select(drives, SPEC, tmp_path / "work")


@pytest.mark.parametrize(
    "way", ["{drive}/000001.mcap", "{drive}/*.mcap", "{root}/*", "{drive}/000001.mcap?camera=front"]
)
def test_whatever_way_leads_to_a_leg_its_marks_and_events_count(tmp_path: Path, way: str) -> None:
    drive = log_drive(tmp_path / "drives", 20, anomaly_s=(2, 4), policy=SPARSE)
    name = way.format(drive=drive, root=tmp_path / "drives")
    chosen = select([name], SPEC, tmp_path / "work")
    assert chosen.in_event.any()
    assert [one.name for one in chosen.drives] == [drive.name]
    with open_drives(tmp_path / "drives") as catalogue:
        mark(tmp_path / "drives", catalogue, drive.name, never_train=True)
    assert never_train_in([name])
    with pytest.raises(RefitError, match="marked never train"):
        select([name], SPEC, tmp_path / "work")


def test_a_drive_that_is_named_twice_is_taken_once(tmp_path: Path) -> None:
    drive = log_drive(tmp_path / "drives", 20, policy=SPARSE)
    (tmp_path / "link").symlink_to(tmp_path / "drives")
    once = select([drive], SPEC, tmp_path / "once")
    names = [tmp_path / "drives", drive, tmp_path / "link", f"{drive}?camera=front", drive / "000001.mcap"]
    assert len(select(names, SPEC, tmp_path / "twice")) == len(once)


def test_a_leg_that_breaks_off_in_the_middle_is_left_out_as_a_whole(tmp_path: Path) -> None:
    drive = log_drive(tmp_path, 40, policy=IN_TWO_LEGS)
    before = len(gather([drive]).footage[0].index)
    data = bytearray((drive / "000002.mcap").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (drive / "000002.mcap").write_bytes(bytes(data))
    found = gather([drive])
    assert found.notes == [f"{drive.name}: 1 leg broken."]
    assert 0 < len(found.footage[0].index) < before
    assert "000002.mcap" not in [leg.path.name for leg in found.footage[0].legs]
    assert len(select([drive], SPEC, tmp_path / "work"))


def test_of_many_short_clips_some_are_held_out(tmp_path: Path) -> None:
    for clip in range(10):
        (tmp_path / "clips" / f"{clip}").mkdir(parents=True)
        for index in range(30):
            start = 2 * index
            image = np.ascontiguousarray(place(clip)[:, start : start + 64])
            cv2.imwrite(str(tmp_path / "clips" / f"{clip}" / f"{index:03d}.jpg"), image)
    chosen = select([tmp_path / "clips"], SPEC, tmp_path / "work")
    assert 0 < chosen.held_out.sum() < len(chosen) / 2
    assert chosen.cache.timestamp_ns.max() < 3 * 10**9  # its own times stay
