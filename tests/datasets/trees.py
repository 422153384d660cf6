"""Tiny data sets in every layout. Frames are 32x32; a white square stands in the anomalous ones, and in their masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import scipy.io

from edgevad.datasets import Clip, Dataset
from edgevad.sources import Image

SIZE = 32
SQUARE = (slice(8, 16), slice(12, 24))


def image(anomalous: bool = False, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).integers(90, 115, (SIZE, SIZE, 3), dtype=np.uint8)
    if anomalous:
        noise[SQUARE] = 255
    return noise


def mask(anomalous: bool, value: int = 255) -> npt.NDArray[np.uint8]:
    drawn = np.zeros((SIZE, SIZE), np.uint8)
    if anomalous:
        drawn[SQUARE] = value
    return drawn


def write_frames(
    folder: Path, count: int, anomalies: Iterable[int] = (), *, name: str = "{:03d}.jpg", first: int = 1
) -> Path:
    """`count` images, the first called by number `first`; `anomalies` are indexes from 0."""
    folder.mkdir(parents=True, exist_ok=True)
    bad = set(anomalies)
    for k in range(count):
        assert cv2.imwrite(str(folder / name.format(first + k)), image(k in bad, k))
    return folder


def write_masks(
    folder: Path, count: int, anomalies: Iterable[int], *, name: str = "{:03d}.bmp", first: int = 1, value: int = 255
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    bad = set(anomalies)
    for k in range(count):
        assert cv2.imwrite(str(folder / name.format(first + k)), mask(k in bad, value))
    return folder


def write_video(path: Path, count: int, anomalies: Iterable[int] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 10.0, (SIZE, SIZE))
    assert writer.isOpened()
    bad = set(anomalies)
    for k in range(count):
        writer.write(image(k in bad, k))
    writer.release()
    return path


def write_volume(path: Path, count: int, anomalies: Iterable[int], variable: str = "volLabel") -> Path:
    """A .mat file with a 1 x N cell array of masks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bad = set(anomalies)
    cells = np.empty((1, count), object)
    for k in range(count):
        cells[0, k] = mask(k in bad, 1)
    scipy.io.savemat(path, {variable: cells})
    return path


def write_flags(path: Path, count: int, anomalies: Iterable[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = np.zeros(count, np.int8)
    flags[list(anomalies)] = 1
    np.save(path, flags)
    return path


def make_ucsd(root: Path) -> Path:
    """Ped2 with two test clips of 6 frames: anomalous in frames 2 to 4 (by both) and in 0, 1 and 5 (ranges only)."""
    write_frames(root / "Train" / "Train001", 3, name="{:03d}.tif")
    for clip, anomalies in (("Test001", (2, 3, 4)), ("Test002", (0, 1, 5))):
        write_frames(root / "Test" / clip, 6, anomalies, name="{:03d}.tif")
    write_masks(root / "Test" / "Test001_gt", 6, (2, 3, 4))
    (root / "Test" / "._Test001").write_bytes(b"a Mac was here")
    (root / "Test" / "UCSDped2.m").write_text(
        "TestVideoFile = {};\n% clip 1\nTestVideoFile{end+1}.gt_frame = [3:5];\n"
        "TestVideoFile{end+1}.gt_frame = [1:2, 6];\n"
    )
    return root


def make_clips(root: Path) -> Path:
    """Two test clips of 4 and 3 frames, masks for the first; two training clips of 5 and 3 frames in one file."""
    write_frames(root / "test" / "01", 4, (2, 3), first=0)
    write_frames(root / "test" / "02", 3, (0,), first=0)
    write_masks(root / "masks" / "01", 4, (2, 3), name="{:03d}.png", first=0)
    write_video(root / "train_all.mp4", 8)
    (root / "train_clips.csv").write_text("01,5\n02,3\n")
    rows = [("01", k, k >= 2) for k in range(4)] + [("02", k, k == 0) for k in range(3)]
    text = "".join(f"{clip},{k:03d}.jpg,{int(bad)}\n" for clip, k, bad in rows)
    (root / "labels.csv").write_text("clip,frame,anomaly\n" + text)
    return root


def make_avenue(root: Path) -> Path:
    """Two test videos of 6 and 5 frames, anomalous in frames 1 and 2, and 4."""
    write_video(root / "training_videos" / "01.avi", 4)
    for number, count, anomalies in ((1, 6, (1, 2)), (2, 5, (4,))):
        write_video(root / "testing_videos" / f"{number:02d}.avi", count, anomalies)
        write_volume(root / "ground_truth_demo" / "testing_label_mask" / f"{number}_label.mat", count, anomalies)
    return root


def make_shanghaitech(root: Path) -> Path:
    """Two test clips of 5 frames: the first with both kinds of labels, the second with pixels only."""
    write_video(root / "training" / "videos" / "01_001.avi", 4)
    testing = root / "testing"
    for clip, anomalies in (("01_0014", (1, 2)), ("02_0128", (4,))):
        write_frames(testing / "frames" / clip, 5, anomalies, first=0)
        (testing / "test_pixel_mask").mkdir(exist_ok=True)
        np.save(testing / "test_pixel_mask" / f"{clip}.npy", np.stack([mask(k in anomalies, 1) for k in range(5)]))
    write_flags(testing / "test_frame_mask" / "01_0014.npy", 5, (1, 2))
    return root


def make_corridor(root: Path) -> Path:
    """As published: one training video, two test videos of 6 frames, anomalous in frames 3 to 5, and never."""
    write_video(root / "Train_IITB-Corridor" / "Train" / "000001" / "000001.avi", 4)
    test = root / "Test_IITB-Corridor"
    for clip, anomalies in (("000209", (3, 4, 5)), ("000210", ())):
        write_video(test / "Test" / clip / f"{clip}.avi", 6, anomalies)
        write_flags(test / "Test_Annotation" / "Annotation" / clip / f"{clip}.npy", 6, anomalies)
    return root


def make_ubnormal(root: Path) -> Path:
    """One abnormal video of 6 frames, tracks in frames 1 to 3 and 3 to 4; two normal ones of 5 frames."""
    scene = root / "Scene1"
    write_video(scene / "normal_scene_1_scenario_1.mp4", 5)
    write_video(scene / "normal_scene_1_scenario_2.mp4", 5)
    name = "abnormal_scene_1_scenario_1"
    write_video(scene / f"{name}.mp4", 6, range(1, 5))
    annotations = scene / f"{name}_annotations"
    write_masks(annotations, 6, range(1, 5), name=name + "_{:04d}_gt.png", first=0, value=2)
    (annotations / f"{name}_tracks.txt").write_text("1,1,3\n2.0,3.0,4.0\n")
    return root


def make_street_scene(root: Path) -> Path:
    """Two test clips of 5 frames; the first has a box over the square in frames 2 and 3, the second in frame 0."""
    write_frames(root / "Train" / "Train001", 3, name="{:05d}.jpg")
    for clip, anomalies in (("Test001", (2, 3)), ("Test002", (0,))):
        write_frames(root / "Test" / clip, 5, anomalies, name="{:05d}.jpg")
        lines = [f"{clip}/{k + 1:05d}.jpg 0 18 12 12 8\n" for k in anomalies]
        (root / "Test" / clip / f"{clip}_gt.txt").write_text("".join(lines))
    return root


def make_single(root: Path) -> Path:
    """A Donkeycar set of 8 frames with a gap after frame 3."""
    write_video(root / "video.mp4", 8, (2, 5))
    rows = [f"{k},{int(k > 3)},{2 if k in (2, 5) else int(k == 6)},{'crash' if k == 2 else ''}\n" for k in range(8)]
    (root / "frames.csv").write_text("video_frame,segment,level,event\n" + "".join(rows))
    return root


MAKERS = {
    "ucsd": make_ucsd,
    "clips": make_clips,
    "avenue": make_avenue,
    "shanghaitech": make_shanghaitech,
    "corridor": make_corridor,
    "ubnormal": make_ubnormal,
    "street-scene": make_street_scene,
    "single": make_single,
}


def levels(clip: Clip) -> list[int]:
    labels = clip.labels
    assert labels is not None
    assert labels.level.dtype == np.int8
    assert len(labels.event) == len(labels)
    return [int(level) for level in labels.level]


def by_name(dataset: Dataset) -> dict[str, Clip]:
    return {clip.name: clip for clip in dataset.test}


def assert_square(drawn: npt.NDArray[np.bool_] | None) -> None:
    assert drawn is not None
    assert drawn.dtype == np.bool_
    np.testing.assert_array_equal(drawn, mask(True) > 0)


def assert_nothing(drawn: npt.NDArray[np.bool_] | None) -> None:
    assert drawn is not None
    assert drawn.shape == (SIZE, SIZE)
    assert not drawn.any()
