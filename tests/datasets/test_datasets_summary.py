from __future__ import annotations

from pathlib import Path

import pytest
from trees import MAKERS

from edgevad.datasets import open_dataset
from edgevad.datasets.summary import summarize


@pytest.mark.parametrize(
    ("layout", "train", "test", "anomalous", "masked"),
    [
        ("ucsd", 3, 12, 6, 1),
        ("clips", 8, 7, 3, 1),
        ("avenue", 4, 11, 3, 2),
        ("shanghaitech", 4, 10, 3, 2),
        ("corridor", 4, 12, 3, 0),
        ("ubnormal", 10, 6, 4, 1),
        ("street-scene", 3, 10, 3, 2),
        ("single", 8, 8, 2, 0),
    ],
)
def test_counts(layout: str, train: int, test: int, anomalous: int, masked: int, tmp_path: Path) -> None:
    dataset = open_dataset(MAKERS[layout](tmp_path))
    done: list[int] = []
    summary = summarize(dataset, on_clip=done.append)
    assert done == list(range(1, len(dataset.train) + len(dataset.test) + 1))
    assert sum(clip.frames or 0 for clip in summary.train) == train
    assert sum(clip.frames or 0 for clip in summary.test) == test
    assert sum(clip.anomalous or 0 for clip in summary.test) == anomalous
    assert sum(clip.pixel_labels for clip in summary.test) == masked
    value = summary.to_json()
    assert value["pixel_labels"] is (masked > 0)
    assert value["train"][0]["source"] == dataset.train[0].source
