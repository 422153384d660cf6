"""What a live source does when its camera fails, with cameras that fail on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import pytest
from simulated import FaultyCamera, SimulatedCamera, number_of

from edgevad.errors import CameraLostError, SourceNotFoundError
from edgevad.events import Incident
from edgevad.sources import Frame
from edgevad.sources.backoff import Backoff
from edgevad.sources.capture import Capture
from edgevad.sources.keeper import MOST_HUNG
from edgevad.sources.live import LiveSource

QUICK = Backoff(0.005, 0.02)


class Told:
    """Incidents as they are told."""

    def __init__(self) -> None:
        self.incidents: list[Incident] = []
        self._news = threading.Condition()

    def __call__(self, incident: Incident) -> None:
        with self._news:
            self.incidents.append(incident)
            self._news.notify_all()

    def wait_for(self, count: int) -> list[Incident]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.incidents) >= count, 5), self.incidents
            return list(self.incidents)


@pytest.fixture
def camera() -> Iterator[SimulatedCamera]:
    camera = SimulatedCamera(rate_hz=200)
    yield camera
    camera.go_on()


@pytest.fixture
def told() -> Told:
    return Told()


def keep(
    camera: Callable[[], Capture], told: Told | None = None, *, wait: bool = False, stale_s: float = 0.3
) -> LiveSource:
    source = LiveSource(
        camera, name="front", kind="camera", stale_s=stale_s, timeout_s=1, reconnect=True, wait=wait, backoff=QUICK
    )
    source.on_incident = told
    return source


def wait_until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def check_counts(source: LiveSource) -> None:
    counts = source.counts()
    assert counts.captured == counts.taken + counts.dropped + counts.waiting
    assert counts.waiting in (0, 1)


def test_a_camera_that_was_unplugged_goes_on_in_a_new_segment_and_is_one_incident(
    camera: SimulatedCamera, told: Told
) -> None:
    with keep(camera, told) as source:
        frames = iter(source)
        before = list(islice(frames, 3))
        camera.unplug()
        (began,) = told.wait_for(1)
        assert source.is_lost
        camera.plug_in()
        # What had left the driver before the outage may still wait to be taken.
        after = [next(frames) for _ in range(4)][1:]
        assert not source.is_lost
        check_counts(source)
    began, ended = told.wait_for(2)
    assert (began.kind, began.cause, began.source_id, began.lasts) == ("camera_lost", "ended", "front", True)
    assert (ended.id, ended.lasts, ended.start_ns) == (began.id, False, began.start_ns)
    assert ended.end_ns is not None
    assert before[-1].timestamp_ns <= began.start_ns < ended.end_ns <= after[0].timestamp_ns
    assert [frame.segment for frame in before + after] == [0, 0, 0, 1, 1, 1]
    numbers = [number_of(frame.image) for frame in before + after]
    assert numbers == sorted(set(numbers))
    assert [frame.index for frame in after] == sorted({frame.index for frame in after})
    assert len(told.incidents) == 2


def test_a_driver_that_hangs_is_left_behind_and_its_late_frame_is_none(camera: SimulatedCamera, told: Told) -> None:
    with keep(camera, told) as source:
        frames = iter(source)
        next(frames)
        camera.hang()
        (began,) = told.wait_for(1)
        assert (began.cause, began.detail) == ("stale", "camera lost: no frame for 0.3 s")
        time.sleep(0.2)  # opening hangs, too
        late = camera.produced  # the number of the frame that the hanging read will give
        camera.go_on()
        told.wait_for(2)
        numbers = [number_of(frame.image) for frame in islice(frames, 5)]
        assert numbers == sorted(set(numbers))
        assert late not in numbers[1:]
        wait_until(lambda: camera.releases == camera.openings - 1)
        check_counts(source)
        assert source.captured < camera.produced


def test_an_opening_that_never_returns_is_not_tried_without_end() -> None:
    stuck, going = [], threading.Event()

    def opener() -> Capture:
        stuck.append(threading.current_thread())
        going.wait()
        raise SourceNotFoundError("gone")

    source = LiveSource(
        opener, name="stuck", kind="camera", stale_s=0.02, timeout_s=0.001, reconnect=True, wait=True, backoff=QUICK
    )
    with source, pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgevad.sources.keeper._OPENING_GRACE_S", 0.01)
        wait_until(lambda: len(stuck) == MOST_HUNG)
        time.sleep(0.3)
        assert len(stuck) == MOST_HUNG
        going.set()  # and when the driver lets go of one, it is tried again
        wait_until(lambda: len(stuck) > MOST_HUNG)


def test_what_a_driver_throws_is_an_outage_like_others(camera: SimulatedCamera, told: Told) -> None:
    with keep(camera, told) as source:
        frames = iter(source)
        next(frames)
        camera.error = RuntimeError("the driver\nfell over")
        began, ended = told.wait_for(2)
        assert (began.cause, began.detail) == ("driver", "camera lost: the driver fell over")
        assert "the driver fell over" in ended.detail
        assert [frame.segment for frame in islice(frames, 3)][-1] == 1
    assert camera.openings == camera.releases == 2


def test_another_size_is_told_once_and_starts_a_segment(camera: SimulatedCamera, told: Told) -> None:
    with keep(camera, told) as source:
        frames = iter(source)
        assert next(frames).segment == 0
        camera.size_px = (40, 30)
        (incident,) = told.wait_for(1)
        seen = list(islice(frames, 10))
        assert seen[-1].image.shape == (30, 40, 3)
        for frame in seen:
            assert frame.segment == int(frame.image.shape == (30, 40, 3))
    assert (incident.kind, incident.lasts, incident.source_id) == ("frame_size", False, "front")
    assert incident.detail == "frames are 40x30 px now, 64x48 before"
    assert told.incidents == [incident]


def test_neither_threads_nor_captures_pile_up_over_many_outages(camera: SimulatedCamera, told: Told) -> None:
    with keep(camera, told) as source:
        frames = iter(source)
        next(frames)
        threads = threading.active_count()
        for outage in range(1, 21):
            if outage % 2:
                camera.unplug()
            else:
                camera.error = RuntimeError("broken")
            told.wait_for(2 * outage - 1)
            camera.plug_in()
            told.wait_for(2 * outage)
        wait_until(lambda: threading.active_count() == threads)
        assert camera.openings == 21
        last = list(islice(frames, 3))[-1]
        # Nobody asked for frames meanwhile: what was not seen has no segments.
        assert last.segment in (1, 2)
    assert camera.releases == 21
    assert len({incident.id for incident in told.incidents}) == 20


@pytest.mark.parametrize("where", ["reading", "opening"])
def test_closing_does_not_wait_for_a_driver_that_hangs(camera: SimulatedCamera, told: Told, where: str) -> None:
    source = keep(camera, told)
    frames = iter(source)
    next(frames)
    camera.hang()
    if where == "opening":
        camera.error = RuntimeError("broken")
    ended = threading.Event()
    consumer = threading.Thread(target=lambda: (list(frames), ended.set()))
    consumer.start()
    told.wait_for(1)
    before_s = time.monotonic()
    source.close()
    assert time.monotonic() - before_s < 0.5
    assert ended.wait(0.5)
    consumer.join()


def test_a_camera_that_is_not_there_yet_is_waited_for(camera: SimulatedCamera, told: Told) -> None:
    camera.unplug()
    before_ns = time.time_ns()
    with keep(camera, told, wait=True) as source:
        (began,) = told.wait_for(1)
        assert (began.kind, began.cause, began.lasts) == ("camera_lost", "absent", True)
        assert "no such camera" in began.detail
        assert before_ns <= began.start_ns
        assert source.is_lost
        camera.plug_in()
        assert next(iter(source)).segment == 0
        _, ended = told.wait_for(2)
        assert (ended.id, ended.lasts) == (began.id, False)


def test_a_camera_that_hangs_from_the_start_is_told_after_the_stale_time(camera: SimulatedCamera, told: Told) -> None:
    camera.hang()
    with keep(camera, told, wait=True) as source:
        (began,) = told.wait_for(1)
        assert (began.cause, began.detail) == ("absent", "camera lost: it has given no frame yet")
        camera.go_on()
        next(iter(source))
        told.wait_for(2)


def test_a_camera_that_never_answered_is_an_error_where_it_is_not_waited_for(camera: SimulatedCamera) -> None:
    camera.unplug()
    with pytest.raises(SourceNotFoundError, match="no such camera"):
        keep(camera)


def test_without_reconnect_a_lost_camera_ends_the_pass(camera: SimulatedCamera) -> None:
    seen: list[Frame] = []
    with LiveSource(camera, name="front", kind="camera", stale_s=0.3) as source:
        threading.Timer(0.1, camera.unplug).start()
        with pytest.raises(CameraLostError, match="front: camera lost: the stream ended"):
            seen.extend(source)
        assert source.is_lost
        assert camera.openings == 1
        check_counts(source)
        assert source.counts().taken == len(seen) > 0


def test_counters_are_exact_however_slow_the_consumer_is(camera: SimulatedCamera) -> None:
    with keep(camera) as source:
        for taken, frame in enumerate(islice(source, 20), start=1):
            check_counts(source)
            counts = source.counts()
            assert counts.taken == taken
            assert frame.index < counts.captured
            time.sleep(0.02)
        assert source.dropped > 20
        assert source.captured <= camera.produced


def test_what_happened_before_anybody_listened_is_told_then(camera: SimulatedCamera, told: Told) -> None:
    with keep(camera) as source:
        camera.error = RuntimeError("broken")
        wait_until(lambda: camera.openings == 2 and not source.is_lost)
        source.on_incident = told
        began, ended = told.wait_for(2)
        assert began.id == ended.id


def test_what_the_listener_raises_reaches_whoever_iterates(camera: SimulatedCamera) -> None:
    def refuse(_: Incident) -> None:
        raise ValueError("not now")

    with keep(camera) as source:
        source.on_incident = refuse
        camera.error = RuntimeError("broken")
        with pytest.raises(ValueError, match="not now"):
            for _ in source:
                pass


def test_a_camera_that_stays_away_is_asked_for_at_a_measured_pace(told: Told) -> None:
    backoff = Backoff(0.2, 1.0)
    assert [backoff.delay_s(failures) for failures in (1, 2, 3, 4, 5, 1000)] == [0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    attempts_s: list[float] = []

    def opener() -> Capture:
        attempts_s.append(time.monotonic())
        raise SourceNotFoundError("gone")

    source = LiveSource(
        opener, name="gone", kind="camera", reconnect=True, wait=True, backoff=Backoff(0.05, 0.1), stale_s=0.5
    )
    with source:
        wait_until(lambda: len(attempts_s) == 5)
    steps_s = [later - earlier for earlier, later in pairwise(attempts_s)]
    assert all(step_s >= pace_s for step_s, pace_s in zip(steps_s, (0.05, 0.1, 0.1, 0.1), strict=True))


def test_one_bad_stamp_spoils_no_good_ones() -> None:
    """A driver slower than its own frames: after one stamp from nowhere, the others are believed again."""
    bad = iter([False] * 3 + [True] + [False] * 100)
    camera = SimulatedCamera()
    with LiveSource(
        lambda: StampedCapture(camera, lambda now_s: 0.0 if next(bad) else now_s - 0.05), name="c", kind="camera"
    ) as source:
        ages_s = [time.perf_counter() - (frame.captured_s or 0.0) for frame in islice(source, 20)]
    # For five frames the last one that had no stamp is the newest; then they have passed it.
    assert min(ages_s[-8:]) > 0.04


def test_a_camera_that_cannot_make_up_its_mind_is_told_now_and_then(camera: SimulatedCamera, told: Told) -> None:
    with keep(camera, told) as source:
        for frame in islice(source, 40):
            camera.size_px = (64, 48) if frame.index % 2 else (96, 54)
    sizes = [incident for incident in told.incidents if incident.kind == "frame_size"]
    assert len(sizes) == 1


class StampedCapture(Capture):
    """100 frames a second, with the driver's stamps as `stamp_s` has them from the time of arrival."""

    def __init__(self, camera: SimulatedCamera, stamp_s: Callable[[float], float]) -> None:
        self._camera = camera
        self._stamp_s = stamp_s

    def read(self) -> tuple[bool, object]:
        time.sleep(0.01)
        return self._camera.next_pixels()

    def taken_s(self) -> float:
        return self._stamp_s(time.perf_counter())


@pytest.mark.parametrize(
    ("stamp_s", "age_s"),
    [
        (lambda now_s: now_s - 0.03, 0.03),
        (lambda now_s: now_s + 0.03, 0.0),
        (lambda _: 0.0, 0.0),
        (lambda _: time.time(), 0.0),
        (lambda now_s: now_s - 0.9 * (now_s % 1), 0.0),
    ],
    ids=["sound", "ahead", "none", "of the day", "jittering"],
)
def test_a_drivers_time_is_believed_where_it_can_be_one(stamp_s: Callable[[float], float], age_s: float) -> None:
    camera = SimulatedCamera()
    with LiveSource(lambda: StampedCapture(camera, stamp_s), name="c", kind="camera") as source:
        frames, ages_s, walls_s = [], [], []
        for frame in islice(source, 10):
            assert frame.captured_s is not None
            frames.append(frame)
            ages_s.append(time.perf_counter() - frame.captured_s)
            walls_s.append(time.time() - frame.timestamp_ns / 1e9)
    assert min(ages_s) >= age_s - 0.001
    assert min(walls_s) >= age_s - 0.002
    if age_s:
        assert min(ages_s) < age_s + 0.1
    times_ns = [frame.timestamp_ns for frame in frames]
    assert times_ns == sorted(times_ns)
    assert {frame.segment for frame in frames} == {0}


@pytest.mark.parametrize("seed", [1, 2])
def test_random_faults_leave_no_invariant_broken(seed: int, told: Told) -> None:
    camera = FaultyCamera(seed, mean_frames=100, hang_s=0.15)
    numbers, segment, taken_ns, frames = -1, 0, 0, 0
    with keep(camera, told, wait=True, stale_s=0.1) as source:
        for frame in source:
            number = number_of(frame.image)
            assert number > numbers
            assert frame.segment in (segment, segment + 1)
            assert frame.segment > segment or frame.timestamp_ns >= taken_ns
            numbers, segment, taken_ns = number, frame.segment, frame.timestamp_ns
            frames += 1
            if frame.index >= 3000 and not source.is_lost:
                break
        check_counts(source)
        assert source.counts().taken == frames
        assert source.captured <= camera.produced
        assert source.skip_reasons.get("frame damaged", 0) == camera.faults["damaged"]
        outages = sum(camera.faults[kind] for kind in ("gone", "hang", "hang opening", "raise"))
        assert outages > 5

        # More than these where the machine is so busy that a tenth of a second passes without a frame.
        wait_until(lambda: len(outages_in(told)) >= 2 * outages and not outages_in(told)[-1].lasts)
        lost = outages_in(told)
    for began, ended in zip(lost[::2], lost[1::2], strict=True):
        assert began.id == ended.id
        assert (began.lasts, ended.lasts) == (True, False)


def outages_in(told: Told) -> list[Incident]:
    return [incident for incident in told.incidents if incident.kind == "camera_lost"]
