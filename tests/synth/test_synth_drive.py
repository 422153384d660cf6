from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from edgevad.synth import SynthConfig, SynthFrame, render_drive
from edgevad.synth.course import LAP_M
from edgevad.synth.drive import Drive

SMALL = SynthConfig(seconds=60, fps_hz=5, width_px=80, height_px=60, seed=4)


@pytest.fixture(scope="module")
def frames() -> list[SynthFrame]:
    return list(render_drive(SMALL))


def test_frames_have_the_shape_and_order_of_the_configuration(frames: list[SynthFrame]) -> None:
    assert len(frames) == SMALL.frame_count == 300
    assert [frame.index for frame in frames] == list(range(300))
    assert frames[7].timestamp_ns == 1_400_000_000
    for frame in frames:
        assert frame.image.shape == (60, 80, 3)
        assert frame.image.dtype == np.uint8


def test_the_same_configuration_gives_the_same_bytes(frames: list[SynthFrame]) -> None:
    for again, frame in zip(islice(render_drive(SMALL), 12), frames, strict=False):
        assert again.image.tobytes() == frame.image.tobytes()
    other = SynthConfig(seconds=60, fps_hz=5, width_px=80, height_px=60, seed=5)
    assert next(render_drive(other)).image.tobytes() != frames[0].image.tobytes()


def test_pictures_are_exposed_and_move(frames: list[SynthFrame]) -> None:
    normal = [frame.image for frame in frames if frame.level == 0]
    brightness = [float(image.mean()) for image in normal]
    assert 70 < np.mean(brightness) < 180
    assert np.std(brightness) > 1
    assert all(float(image.std()) > 20 for image in normal)
    steps = [float(np.abs(a.astype(int) - b).mean()) for a, b in pairwise(normal)]
    assert min(steps) > 1


def test_levels_and_events_agree(frames: list[SynthFrame]) -> None:
    assert {frame.level for frame in frames} == {0, 1, 2}
    for frame in frames:
        assert (frame.level == 0) == (frame.event == "")
        if frame.timestamp_ns < 10e9:
            assert frame.level == 0


def test_the_same_place_looks_alike_a_lap_later() -> None:
    drive = Drive(SynthConfig(seconds=70, fps_hz=5, width_px=80, height_px=60, anomaly_share=0))
    at = drive._ego.distance_m % LAP_M
    gray = np.stack([frame.image.mean(2)[8:52] for frame in drive.frames()])
    gray = gray / gray.mean((1, 2), keepdims=True)
    late = np.arange(250, 340)
    here = [int(np.argmin(np.abs(at[:150] - at[k]) + (np.abs(at[:150] - at[k]) > 2) * 1e3)) for k in late]
    met = [(k, j) for k, j in zip(late, here, strict=True) if abs(at[j] - at[k]) < 2]
    elsewhere = [(k, (j + 60) % 150) for k, j in met]
    assert len(met) > 30
    same = np.median([np.abs(gray[k] - gray[j]).mean() for k, j in met])
    different = np.median([np.abs(gray[k] - gray[j]).mean() for k, j in elsewhere])
    assert same < 0.6 * different


def test_each_kind_of_anomaly_changes_the_picture() -> None:
    # The same drive without anomalies is not the same traffic, so compare only what each kind must do to a frame.
    config = SynthConfig(seconds=150, fps_hz=2, width_px=80, height_px=60, anomaly_share=0.16)
    sharp: dict[str, list[float]] = {}
    dark: dict[str, list[float]] = {}
    for frame in render_drive(config):
        if frame.level != 1:
            gray = frame.image.astype(np.float32).mean(2)
            sharp.setdefault(frame.event, []).append(float(np.abs(np.diff(gray, axis=1)).mean()))
            dark.setdefault(frame.event, []).append(float((gray[5:50] < 50).mean()))
    assert len(sharp) == 8
    assert np.median(sharp["defocus"]) < 0.6 * np.median(sharp[""])
    assert np.median(dark["blocked lens"]) > np.median(dark[""]) + 0.03
    assert np.median(dark["smeared lens"]) > np.median(dark[""]) + 0.02


def test_one_frame_is_a_drive_too() -> None:
    (frame,) = render_drive(SynthConfig(seconds=1, fps_hz=1, width_px=32, height_px=32, anomaly_share=0))
    assert frame.image.shape == (32, 32, 3)
