"""The month on the road: what of it can be tested without living through it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "a-month-on-the-road"


@pytest.fixture
def month(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import month

    yield month
    for name in ("month", "picture"):
        sys.modules.pop(name, None)


def test_the_year_goes_from_summer_to_winter(month: Any) -> None:
    seasons = [month.season_of(day) for day in range(1, month.DAYS + 1)]
    assert seasons[0] == 0.0
    assert seasons[-1] == 1.0
    assert seasons == sorted(seasons)


def test_its_picture_shows_every_day(month: Any, tmp_path: Path) -> None:
    days = [month.Day(number, month.season_of(number), 1.0, 3.0, 5.0, 0.1, 1, 2, 1.5) for number in range(4, 31)]
    days[3].told = ["refit: activated. It holds.", "camera fault: covered"]
    days[5].median = float("nan")
    month.draw(days, tmp_path / "month.png")
    assert (tmp_path / "month.png").read_bytes().startswith(b"\x89PNG")


def test_tape_on_the_lens_leaves_as_many_frames(month: Any, tiny_video: Path, tmp_path: Path) -> None:
    import shutil

    import cv2

    video = tmp_path / "drive.mp4"
    shutil.copy(tiny_video, video)
    before = cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT)
    month._cover(video)
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == before
    assert capture.read()[1].std() < 12
