"""A lens that shows nothing is told from a scene, after its time, once, and until it shows something again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevad.errors import OptionError
from edgevad.events.incident import Incident
from edgevad.runtime.lens import LensMonitor, LensSpec, LensVerdict
from edgevad.runtime.shrinking import shrink
from edgevad.sources.frame import Frame, Image
from edgevad.synth import SynthConfig, render_drive

FPS_HZ = 10
SIZE_PX = 64
Change = Callable[[Image, int], Image]


@pytest.fixture(scope="module")
def scenes() -> list[Image]:
    """Twelve seconds of the procedural drive, without anomalies."""
    return [frame.image for frame in render_drive(SynthConfig(seconds=12.0, fps_hz=FPS_HZ, anomaly_share=0.0, seed=3))]


class Camera:
    """Feeds a monitor, ten frames a second, and keeps what it said."""

    def __init__(self, monitor: LensMonitor, scenes: list[Image]) -> None:
        self.monitor, self.scenes = monitor, scenes
        self.index = 0
        self.segment = 0
        self.source_id = "front"
        self.told: list[Incident] = []

    def push(self, image: Image) -> LensVerdict:
        frame = Frame(image, self.index, self.index * 1_000_000_000 // FPS_HZ, self.source_id, self.segment)
        self.index += 1
        verdict = self.monitor.push(frame, shrink(image, (SIZE_PX, SIZE_PX)))
        if verdict.incident is not None:
            self.told.append(verdict.incident)
        return verdict

    def film(self, seconds: float, change: Change | None = None) -> list[LensVerdict]:
        return [self.push(image) for image in self._images(seconds, change)]

    def _images(self, seconds: float, change: Change | None) -> Iterator[Image]:
        for _ in range(round(seconds * FPS_HZ)):
            scene = self.scenes[self.index % len(self.scenes)]
            yield scene if change is None else change(scene, self.index)


@pytest.fixture
def camera(scenes: list[Image]) -> Camera:
    return Camera(LensMonitor(), scenes)


def noisy(values: object, number: int) -> Image:
    noise = np.random.default_rng(number).normal(0.5, 1.0, (120, 160, 3))
    return np.clip(values + noise, 0, 255).astype(np.uint8)


def black(_: Image, number: int) -> Image:
    return noisy(2.0, number)


def covered(_: Image, number: int) -> Image:
    return noisy(np.linspace(25.0, 60.0, 160)[None, :, None], number)


def blurred(scene: Image, number: int) -> Image:
    return noisy(cv2.GaussianBlur(scene, (0, 0), 5.0), number)


def test_a_drive_shows_no_fault(camera: Camera) -> None:
    verdicts = camera.film(30.0)
    assert camera.told == []
    assert {verdict.fault for verdict in verdicts} == {None}
    assert not any(verdict.repeats for verdict in verdicts)


@pytest.mark.parametrize(
    ("change", "cause", "hold_s", "at_once"),
    [(black, "black", 1.0, True), (covered, "covered", 2.0, True), (blurred, "blurred", 3.0, False)],
)
def test_a_fault_is_one_incident_with_its_time(
    camera: Camera, change: Change, cause: str, hold_s: float, at_once: bool
) -> None:
    camera.film(15.0)
    began_ns = camera.index * 1_000_000_000 // FPS_HZ
    during = camera.film(6.0, change)
    told_after = next(k for k, verdict in enumerate(during) if verdict.incident is not None)
    assert told_after == pytest.approx(hold_s * FPS_HZ, abs=1)
    assert (during[0].fault == cause) is at_once
    assert {verdict.fault for verdict in during[told_after:]} == {cause}
    after = camera.film(5.0)

    begun, over = camera.told
    assert (begun.kind, begun.cause, begun.source_id) == ("camera_fault", cause, "front")
    assert begun.lasts
    assert begun.start_ns == began_ns
    assert over.id == begun.id
    assert over.end_ns == began_ns + 5_900_000_000, "the last frame that showed it"
    assert after[-1].fault is None
    recovered_after = next(k for k, verdict in enumerate(after) if verdict.incident is not None)
    assert recovered_after == pytest.approx(1.0 * FPS_HZ, abs=1)


def test_identical_frames_are_judged_no_more_after_two_seconds_and_told_after_five(camera: Camera) -> None:
    camera.film(12.0)
    still = camera.scenes[0]
    during = [camera.push(still.copy()) for _ in range(70)]
    assert [verdict.repeats for verdict in during[:3]] == [False, True, True]
    assert next(k for k, verdict in enumerate(during) if verdict.fault) == 20
    assert {verdict.fault for verdict in during[20:]} == {"frozen"}
    assert next(k for k, verdict in enumerate(during) if verdict.incident) == 50
    (begun,) = camera.told
    assert begun.cause == "frozen"
    assert begun.start_ns == 12_000_000_000
    assert [verdict.fault for verdict in camera.film(2.0)][-1] is None
    assert camera.told[-1].end_ns == 18_900_000_000


def test_a_world_that_stands_still_between_key_frames_is_no_incident(camera: Camera) -> None:
    camera.film(12.0)
    for k in range(200):
        camera.push(noisy(camera.scenes[0], k // 40))
    assert camera.told == []


def test_a_recording_encoded_to_a_higher_rate_is_not_frozen(scenes: list[Image]) -> None:
    monitor = LensMonitor()
    for k in range(600):
        frame = Frame(scenes[k // 6 % len(scenes)], k, k * 1_000_000_000 // 60, "drive.mp4")
        assert monitor.push(frame, shrink(frame.image, (SIZE_PX, SIZE_PX))).fault is None
    assert monitor.evidence["frozen"] < 0.1


def test_a_change_in_a_band_is_a_new_frame(camera: Camera) -> None:
    """A clock that is burned in below keeps its frames from being the same."""
    camera.film(12.0)
    for k in range(40):
        image = camera.scenes[0].copy()
        image[56:64] = k
        assert camera.push(image).fault is None


def test_a_moment_is_no_incident(camera: Camera) -> None:
    camera.film(15.0)
    assert {verdict.fault for verdict in camera.film(0.5, black)} == {"black"}
    assert {verdict.fault for verdict in camera.film(2.0)} == {None}
    assert {verdict.fault for verdict in camera.film(1.0, blurred)} == {None}
    camera.film(2.0)
    assert {verdict.fault for verdict in camera.film(1.0, covered)} == {"covered"}
    camera.film(2.0)
    assert camera.told == []


def test_a_flickering_fault_is_one_incident(camera: Camera) -> None:
    camera.film(15.0)
    camera.film(8.0, lambda scene, k: scene if k % 5 == 0 else black(scene, k))
    assert [incident.cause for incident in camera.told] == ["black"]


@pytest.mark.parametrize("change", [black, covered])
def test_a_camera_that_never_showed_anything_is_a_fault(camera: Camera, change: Change) -> None:
    camera.film(4.0, change)
    assert [incident.cause for incident in camera.told] == [change.__name__]


def test_dark_is_not_black_and_fog_not_a_cover(camera: Camera) -> None:
    camera.film(15.0)
    camera.film(10.0, lambda scene, k: noisy(scene * 0.15, k))
    camera.film(10.0, lambda scene, k: noisy(scene * 0.5 + 90.0, k))
    assert camera.told == []


def test_a_new_segment_ends_what_was_under_way_but_keeps_the_level(camera: Camera) -> None:
    camera.film(15.0)
    camera.film(4.0, covered)
    camera.segment += 1
    camera.film(1.5, covered)
    begun, over = camera.told
    assert (over.id, over.end_ns) == (begun.id, 18_900_000_000)
    camera.film(4.0, blurred)
    assert camera.told[-1].cause == "blurred", "its own level is still known"


def test_another_source_is_learned_afresh(camera: Camera) -> None:
    camera.film(15.0)
    camera.source_id = "rear"
    camera.film(5.0, lambda scene, k: noisy(cv2.GaussianBlur(scene, (0, 0), 2.5), k))
    assert camera.told == [], "as soft as that may be how this camera sees"


def test_finish_ends_the_fault_under_way_once(camera: Camera) -> None:
    camera.film(4.0, black)
    over = camera.monitor.finish()
    assert over is not None
    assert over.id == camera.told[0].id
    assert over.end_ns == 3_900_000_000
    assert camera.monitor.finish() is None


@pytest.mark.parametrize("size_px", [16, 32, 128, 224])
def test_other_model_sizes(scenes: list[Image], size_px: int) -> None:
    monitor = LensMonitor()
    causes = []
    for k in range(250):
        scene = scenes[k % len(scenes)]
        image = covered(scene, k) if k >= 200 else scene
        verdict = monitor.push(Frame(image, k, k * 100_000_000, "front"), shrink(image, (size_px, size_px)))
        causes += [] if verdict.incident is None else [verdict.incident.cause]
    assert causes == ["covered"]


BRIGHT = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
DARK = BRIGHT // 64


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["good", "black", "still", "gap", "back"]), st.integers(1, 12)), max_size=20))
def test_incidents_begin_and_end_in_turn(steps: list[tuple[str, int]]) -> None:
    """Whatever comes: one at a time, each ends once, with its own id, not before it began."""
    monitor = LensMonitor()
    told: list[Incident] = []
    k = segment = now_ns = 0
    for kind, count in steps:
        segment += kind == "gap"
        for _ in range(count):
            now_ns += 0 if kind == "back" else 250_000_000
            image = {"black": DARK[k % 4], "still": BRIGHT[0]}.get(kind, BRIGHT[k % 4])
            verdict = monitor.push(Frame(image, k, now_ns, "front", segment), image)
            told += [] if verdict.incident is None else [verdict.incident]
            k += 1
    told += [over] if (over := monitor.finish()) is not None else []
    assert [incident.lasts for incident in told] == [True, False] * (len(told) // 2)
    for begun, over in zip(told[::2], told[1::2], strict=True):
        assert begun.id == over.id
        assert over.end_ns is not None
        assert over.end_ns > begun.start_ns


@pytest.mark.parametrize(
    "change", [{"black_s": -1.0}, {"covered_share": 2.0}, {"black_level": 300.0}, {"memory_s": float("nan")}]
)
def test_a_value_out_of_range_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(change)).removesuffix("_s").replace("_", " ")):
        LensSpec(**change)
