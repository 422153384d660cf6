from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevad.errors import OptionError, OutputError
from edgevad.report.annotated_video import VideoSink, WindowSink, writable_rate_hz
from edgevad.report.overlay import STRIP_PX, Annotator, runs_of
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame


def result(
    index: int, score: float, *, size: tuple[int, int] = (400, 300), is_anomaly: bool = False, heat: float = 0.3
) -> Result:
    image = np.full((size[1], size[0], 3), 100, np.uint8)
    heatmap = np.full((8, 8), 0.03, np.float32)
    heatmap[2, 5] = heat
    state = "anomaly" if is_anomaly else "normal"
    frame = Frame(image, index, index * 10**8, "a")
    row = (score,)
    return Result(frame, row, row, score, score, "patch", is_anomaly, state, heatmap, 0.001, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "canvas"), [((400, 300), (400, 300)), ((401, 301), (402, 302)), ((64, 48), (320, 240))]
)
def test_pictures_are_wide_enough_and_even(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    picture = Annotator(4.0)(result(0, 0.0, size=size))
    assert picture.shape == (canvas[1] + STRIP_PX, canvas[0], 3)


def test_all_pictures_of_a_run_have_one_size() -> None:
    annotate = Annotator(4.0)
    first = annotate(result(0, 0.0))
    assert annotate(result(1, 0.0, size=(64, 64))).shape == first.shape


def test_normal_errors_leave_the_frame_as_it_is() -> None:
    picture = Annotator(4.0)(result(0, 0.0, heat=0.49))
    assert (picture[:300] == 100).all()


def test_heat_is_drawn_where_the_error_is_and_only_there() -> None:
    picture = Annotator(4.0)(result(0, 0.0, heat=2.0))[:300]
    changed = (picture != 100).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.mean() == pytest.approx(2.5 / 8 * 300, abs=5)
    assert columns.mean() == pytest.approx(5.5 / 8 * 400, abs=5)
    assert changed.mean() < 0.1


def test_an_event_is_red_and_nothing_else_is() -> None:
    annotate = Annotator(4.0)

    def red(picture: np.ndarray) -> float:
        return float(((picture[:22, :, 2] > 200) & (picture[:22, :, 0] < 80)).mean())

    assert red(annotate(result(0, 0.0))) == 0
    assert red(annotate(result(1, 8.0, is_anomaly=True))) > 0.7


def test_the_strip_shows_scores_against_the_threshold() -> None:
    annotate = Annotator(4.0)
    for k in range(300):
        picture = annotate(result(k, 8.0 if 100 <= k < 200 else 0.0, is_anomaly=100 <= k < 200))
    strip = picture[300 + 14 :].astype(int)
    red = (strip[..., 2] > 180) & (strip[..., 0] < 90) & (strip[..., 1] < 90)
    columns = np.nonzero(red.any(axis=0))[0]
    # 300 scores end at the right edge of 400 columns.
    assert (columns.min(), columns.max()) == (pytest.approx(200, abs=3), pytest.approx(299, abs=3))
    rows = np.nonzero(red[:, 220:280].any(axis=1))[0]
    amber = np.nonzero((abs(strip[:, :90] - (60, 170, 245)).sum(axis=2) < 30).any(axis=1))[0]
    assert rows.max() < amber.min()


def test_the_video_holds_every_frame_and_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out" / "run.mp4"
    with VideoSink(path, Annotator(4.0), fps_hz=10.0) as sink:
        for k in range(12):
            sink.push(result(k, 0.0))
        assert not path.exists()
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (12, 10)
    capture.release()
    assert [file.name for file in path.parent.iterdir()] == ["run.mp4"]


def test_a_video_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    annotate = Annotator(4.0)
    with pytest.raises(OptionError, match=r"cannot write a \.gif video"):
        VideoSink(tmp_path / "run.gif", annotate, fps_hz=10.0)
    (tmp_path / "run.mp4").mkdir()
    with pytest.raises(OutputError, match="a folder is in the way"):
        VideoSink(tmp_path / "run.mp4", annotate, fps_hz=10.0)


def test_a_full_disk_ends_the_video_with_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    sink = VideoSink(tmp_path / "run.mp4", Annotator(4.0), fps_hz=10.0)
    with pytest.raises(OutputError, match=r"run\.mp4: the disk is full"), sink:
        sink.push(result(0, 0.0))
    assert not (tmp_path / "run.mp4").exists()


def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(OptionError, match="--show cannot open a window: there is no display"):
        WindowSink(Annotator(4.0), lambda: None)


def test_runs_are_half_open() -> None:
    flags = np.array([True, False, True, True, False, True])
    assert runs_of(flags) == [(0, 1), (2, 4), (5, 6)]
    assert runs_of(~flags) == [(1, 2), (4, 5)]
    assert runs_of(np.zeros(0, np.bool_)) == []


@pytest.mark.parametrize(
    ("fps_hz", "written_hz"),
    [
        (66.6667, 66.67),
        (239.714, 239.71),
        (59.94, 59.94),
        (119.88, 119.88),
        (29.97003, 29.97),
        (1e-4, 0.01),
        (5e3, 1e3),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_any_frame_rate_can_be_written(tmp_path: Path, fps_hz: float, written_hz: float, suffix: str) -> None:
    assert writable_rate_hz(fps_hz) == written_hz
    path = tmp_path / f"run{suffix}"
    with VideoSink(path, Annotator(4.0), fps_hz=fps_hz) as sink:
        for k in range(4):
            sink.push(result(k, 0.0, size=(64, 48)))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(written_hz, rel=1e-3)
    capture.release()


def test_the_longest_name_is_written_and_a_longer_one_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.mp4"
    with VideoSink(path, Annotator(4.0), fps_hz=10.0) as sink:
        sink.push(result(0, 0.0))
    assert path.stat().st_size > 0
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match="cannot be written"):
        VideoSink(tmp_path / f"{'x' * 252}.mp4", Annotator(4.0), fps_hz=10.0)
