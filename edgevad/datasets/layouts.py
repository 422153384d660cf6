"""All known layouts: what they are called, how they are told apart, who reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgevad.datasets import avenue, clips, corridor, shanghaitech, single, street_scene, ubnormal, ucsd
from edgevad.datasets.dataset import Dataset

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True)
class Layout:
    """One way to lay out a data set on disk.

    Attributes:
        name: for --layout.
        title: the data set, for people.
        outline: what it looks like, in one line.
        recognises: whether a folder looks like it.
        load: the clips in a folder that does; raises DatasetError where they are missing.
    """

    name: str
    title: str
    outline: str
    recognises: Callable[[Path], bool]
    load: Callable[[Path], Dataset]


_ALL = (
    Layout("ucsd", "UCSD Ped1, Ped2", "Test/Test001/*.tif, Test/UCSDped2.m", ucsd.recognises, ucsd.load),
    Layout("clips", "clips with one label file", "test/01/*.jpg, labels.csv", clips.recognises, clips.load),
    Layout("avenue", "CUHK Avenue", "testing_videos/*.avi, ground_truth_demo/", avenue.recognises, avenue.load),
    Layout(
        "shanghaitech",
        "ShanghaiTech Campus",
        "testing/frames/01_0014/, testing/test_frame_mask/",
        shanghaitech.recognises,
        shanghaitech.load,
    ),
    Layout("corridor", "IITB-Corridor", "Test/000209/, Test_Annotation/", corridor.recognises, corridor.load),
    Layout("ubnormal", "UBnormal", "Scene1/abnormal_scene_1_scenario_1.mp4", ubnormal.recognises, ubnormal.load),
    Layout(
        "street-scene", "Street Scene", "Test/Test001/*.jpg, Test001_gt.txt", street_scene.recognises, street_scene.load
    ),
    Layout(
        "single",
        "one labelled recording (Donkeycar sets, edgevad synth)",
        "one video, frames.csv or labels.csv",
        single.recognises,
        single.load,
    ),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}
