from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgevad.errors import OutputError
from edgevad.sources import open_source
from edgevad.synth import SynthConfig, render_drive, write_drive

CONFIG = SynthConfig(seconds=30, fps_hz=4, width_px=64, height_px=48, anomaly_share=0.1)


def test_a_written_drive_reads_back(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    written = write_drive(CONFIG, tmp_path / "new" / "folder", lambda done, total: calls.append((done, total)))
    assert sorted(p.name for p in written.video.parent.iterdir()) == ["drive.mp4", "labels.csv", "synth.json"]
    assert calls == [(k + 1, 120) for k in range(120)]
    with open_source(str(written.video)) as source:
        decoded = [frame.image for frame in source]
    rendered = list(render_drive(CONFIG))
    assert len(decoded) == len(rendered)
    errors = [float(np.abs(a.astype(int) - b.image).mean()) for a, b in zip(decoded, rendered, strict=True)]
    assert max(errors) < 8

    with written.labels.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(int(r["frame"]), int(r["level"]), r["event"]) for r in rows] == [
        (f.index, f.level, f.event) for f in rendered
    ]
    summary = json.loads(written.manifest.read_text())
    assert summary == written.summary
    assert SynthConfig(**summary["config"]) == CONFIG
    assert summary["anomalous_frames"] == sum(f.level == 2 for f in rendered)


def test_images_are_written_where_there_is_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoEncoder:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *_: object) -> None:
            pass

        def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
            return False

    monkeypatch.setattr(cv2, "VideoWriter", NoEncoder)
    config = SynthConfig(seconds=1, fps_hz=3, width_px=64, height_px=48, anomaly_share=0)
    written = write_drive(config, tmp_path)
    images = sorted(written.video.iterdir())
    assert [p.name for p in images] == ["000000.png", "000001.png", "000002.png"]
    first = cv2.imread(str(images[0]))
    assert first is not None
    assert np.array_equal(first, next(render_drive(config)).image)
    assert json.loads(written.manifest.read_text())["video"] == "drive"


def test_an_encoder_that_loses_frames_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cv2.VideoWriter

    class Full:
        fourcc = staticmethod(real.fourcc)

        def __init__(self, *arguments: object) -> None:
            self._real: Any = real(*arguments)
            self._count = 0

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def write(self, image: object) -> None:
            self._count += 1
            if self._count < 3:
                self._real.write(image)

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    with pytest.raises(OutputError, match="only 2 of 4 frames"):
        write_drive(SynthConfig(seconds=1, fps_hz=4, width_px=64, height_px=48, anomaly_share=0), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match="a file is in the way"):
        write_drive(CONFIG, tmp_path / "taken")
