from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.errors import LabelError
from edgevad.evaluation.labels import Labels, read_labels


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_rows_may_come_in_any_order(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path, "frame,level,event\n2,2,person\n0,0,\n3,1,shade\n1,2,\n"))
    assert labels.level.tolist() == [0, 2, 2, 1]
    assert labels.level.dtype == np.int8
    assert labels.event == ("", "", "person", "shade")
    assert labels.segment is None
    assert len(labels) == 4


def test_segments_and_other_columns(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path, "Frame, Segment ,note,level\n1,7,x,2\n0,3,y,0\n"))
    assert labels.segment is not None
    assert labels.segment.tolist() == [3, 7]
    assert labels.event == ("", "")


def test_anomaly_stands_in_for_level(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path, "frame,anomaly\n0,1\n1,0\n")).level.tolist() == [2, 0]


def test_a_spreadsheet_s_byte_order_mark_and_quotes_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes('\ufeffframe,level,event\r\n0,2,"off track: stored, then carried"\r\n1,0,\r\n\r\n'.encode())
    assert read_labels(path).event[0] == "off track: stored, then carried"


def test_donkey_rows(tmp_path: Path) -> None:
    header = "video_frame,tub_index,timestamp_ms,segment,user_angle,user_throttle,level,event\n"
    labels = read_labels(write(tmp_path, header + "0,4005,1637717113688,0,0.1,0.4,0,\n1,4007,9,1,0.1,0.4,2,car\n"))
    assert labels.level.tolist() == [0, 2]
    assert labels.segment is not None
    assert labels.segment.tolist() == [0, 1]


def test_clips_are_segments_and_name_their_events(tmp_path: Path) -> None:
    labels = read_labels(
        write(tmp_path, "clip,frame,anomaly\n01,000.jpg,0\n01,001.jpg,1\n02,000.jpg,1\n02,001.jpg,0\n10,9.jpg,0\n")
    )
    assert labels.level.tolist() == [0, 2, 2, 0, 0]
    assert labels.event == ("", "clip 01", "clip 02", "", "")
    assert labels.segment is not None
    assert labels.segment.tolist() == [0, 0, 1, 1, 2]


def test_ranges_include_both_ends_and_go_on_normally(tmp_path: Path) -> None:
    path = write(tmp_path, "first,last,level,event\n4,5,1,far\n1,2,2,near\n")
    labels = read_labels(path, expected_frames=8)
    assert labels.level.tolist() == [0, 2, 2, 0, 1, 1, 0, 0]
    assert labels.event == ("", "near", "near", "", "far", "far", "", "")
    assert not labels.open_ended
    assert read_labels(path).fitted(6).level.tolist() == [0, 2, 2, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ("frame,level\n", "not one row"),
        ("frame,event\n0,x\n", "the header is 'frame,event'; expected the columns frame,level or"),
        ("time,level\n0,1\n", "the header is 'time,level'"),
        ("tub_first,tub_last,level,event\n1,2,2,x\n", "Use the recording's frames.csv"),
        ("frame,level\n0,0\nx,2\n", "line 3: frame is 'x'; expected a whole number from 0"),
        ("frame,level\n0,0\n1.5,2\n", "line 3: frame is '1.5'"),
        ("frame,level\n0,0\n-1,2\n", "line 3: frame is -1; expected a whole number from 0"),
        ("frame,level\n0,0\n99999999999999999999,2\n", "line 3: frame is '99999999999999999999'"),
        ("frame,level\n0,0\n1,3\n", "line 3: level is '3'; expected 0 (normal), 1 (ambiguous) or 2 (anomaly)"),
        ("frame,level\n0,0\n1,\n", "line 3: level is ''"),
        ("frame,anomaly\n0,0\n1,2\n", "line 3: anomaly is '2'; expected 0 (normal) or 1 (anomaly)"),
        ("frame,level,segment\n0,0,0\n1,2,a\n", "line 3: segment is 'a'; expected a whole number"),
        ("frame,level\n0,0\n1,2\n1,2\n", "frame 1 is labelled twice (lines 3 and 4)"),
        ("frame,level\n0,0\n2,2\n5,0\n", "frame 1 has no row (3 missing in all); expected one row for each frame"),
        ("frame,level\n1,0\n2,2\n", "frame 0 has no row (1 missing in all)"),
        ("frame,level\n0,0\n1000000000000,2\n", "frame 1 has no row (999999999999 missing in all)"),
        ("frame,level\n0,0\n1,2,extra\n", "line 3: 3 cells; expected 2, as in the header"),
        ("frame,level\n0,0\n1,1\n", "not one frame is labelled as anomaly (level 2), so no metric is defined"),
        ("frame,level\n0,2\n1,1\n", "not one frame is labelled as normal (level 0), so no metric is defined"),
        ("clip,frame,anomaly\n1,000.jpg,1\n1,000.jpg,0\n", "line 3: clip 1 frame 000.jpg is labelled twice"),
        ("clip,frame,anomaly\n2,0.jpg,1\n1,0.jpg,0\n", "line 3: clip 1 frame 0.jpg is out of order"),
        ("first,last,level\n5,4,2\n", "line 2: the range from 5 to 4 ends before it starts"),
        ("first,last,level\n7,9,2\n5,7,1\n", "line 2: frame 7 is in the range of line 3 as well"),
        ("first,last,level\n5,999999999,2\n", "line 2: last is 999999999; expected the index of a frame"),
        ("first,last,level\n5,6,1\n", "not one frame is labelled as anomaly"),
        ('frame,level\n0,"0\n', "cannot be read as CSV"),
    ],
)
def test_every_mistake_is_one_clear_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LabelError) as error:
        read_labels(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert "\n" not in message


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file"):
        read_labels(tmp_path / "missing.csv")
    with pytest.raises(LabelError, match="this is a folder"):
        read_labels(tmp_path)
    (tmp_path / "video.mp4").write_bytes(bytes(range(256)))
    with pytest.raises(LabelError, match="cannot be read as CSV"):
        read_labels(tmp_path / "video.mp4")


def test_another_length_names_both(tmp_path: Path) -> None:
    path = write(tmp_path, "frame,level\n0,0\n1,2\n")
    for count in (1, 3):
        with pytest.raises(LabelError, match=f"labels for 2 frames, but drive.mp4 has {count} frames"):
            read_labels(path).fitted(count, "drive.mp4")
    with pytest.raises(LabelError, match="labels for 2 frames, but the recording has 3 frames"):
        read_labels(path, expected_frames=3)


def test_ranges_beyond_the_end_or_over_everything(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path, "first,last,level\n0,4,2\n"))
    with pytest.raises(LabelError, match="the ranges reach frame 4, but the recording has 4 frames"):
        labels.fitted(4)
    with pytest.raises(LabelError, match="not one frame is labelled as normal"):
        labels.fitted(5)
    assert labels.fitted(6).level.tolist() == [2, 2, 2, 2, 2, 0]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "frames", "anomalous", "ambiguous", "segments"),
    [
        ("donkey_track_1124/frames.csv", 6782, 618, 1091, 6),
        ("donkey_usi_mit/frames.csv", 11564, None, None, None),
        ("ucsd_ped2/labels.csv", 2010, 1648, 0, 12),
    ],
)
def test_real_label_files(
    data_dir: Path, name: str, frames: int, anomalous: int | None, ambiguous: int | None, segments: int | None
) -> None:
    labels = read_labels(data_dir / name, expected_frames=frames)
    assert isinstance(labels, Labels)
    assert len(labels) == len(labels.event) == frames
    assert labels.segment is not None
    counted = (int((labels.level == 2).sum()), int((labels.level == 1).sum()), len(np.unique(labels.segment)))
    for found, expected in zip(counted, (anomalous, ambiguous, segments), strict=True):
        assert expected is None or found == expected


@pytest.mark.data
def test_real_events_in_tub_indexes_are_refused(data_dir: Path) -> None:
    with pytest.raises(LabelError, match="tub indexes"):
        read_labels(data_dir / "donkey_track_1124" / "events.csv")
