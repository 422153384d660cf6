from __future__ import annotations

import json
from pathlib import Path

import pytest
from recordings import START_MS, levels, make_tub_v1, make_tub_v2, read_all

from edgevad.errors import SourceUnreadableError
from edgevad.sources import open_source

MS = 1_000_000


def test_a_v2_tub_is_read_across_its_catalogs_with_its_own_clock(tmp_path: Path) -> None:
    source = open_source(str(make_tub_v2(tmp_path / "tub")))
    assert (source.kind, source.frame_count_hint, source.fps_hint_hz) == ("tub v2", 10, 20.0)
    frames = read_all(source)
    assert levels(frames) == list(range(10))
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.timestamp_ns for frame in frames] == [(START_MS + 50 * k) * MS for k in range(10)]


def test_the_manifest_stands_for_the_tub(tmp_path: Path) -> None:
    assert open_source(make_tub_v2(tmp_path / "tub") / "manifest.json").kind == "tub v2"


def test_deleted_records_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    tub = make_tub_v2(tmp_path / "tub", deleted=[0, 7])
    source = open_source(tub)
    assert source.frame_count_hint == 8
    frames = read_all(source)
    assert [frame.index for frame in frames] == levels(frames) == [1, 2, 3, 4, 5, 6, 8, 9]
    assert (source.deleted, source.skipped) == (2, 0)
    source = open_source(tub, include_deleted=True)
    assert levels(read_all(source)) == list(range(10))
    assert source.deleted == 0


def test_a_tub_with_every_record_deleted_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadableError, match="every frame is marked as deleted"):
        read_all(open_source(make_tub_v2(tmp_path / "tub", deleted=range(10))))


def test_gaps_and_leaps_back_in_time_start_segments(tmp_path: Path) -> None:
    times_ms = [START_MS + offset for offset in (0, 50, 1050, 2051, 2100, 500, 550)]
    frames = read_all(open_source(make_tub_v2(tmp_path / "tub", times_ms=times_ms)))
    assert [frame.segment for frame in frames] == [0, 0, 0, 1, 1, 2, 2]
    frames = read_all(open_source(tmp_path / "tub", gap_s=0.5))
    assert [frame.segment for frame in frames] == [0, 0, 1, 2, 2, 3, 3]


def test_a_slow_tub_is_one_segment_until_it_pauses(tmp_path: Path) -> None:
    times_ms = [START_MS + 2000 * k for k in (0, 1, 2, 3, 5, 6, 7, 8, 9, 13, 14)]
    source = open_source(make_tub_v2(tmp_path / "tub", times_ms=times_ms))
    assert source.fps_hint_hz == 0.5
    assert [frame.segment for frame in read_all(source)] == [0] * 9 + [1] * 2


def test_broken_records_are_skipped_and_counted(tmp_path: Path) -> None:
    tub = make_tub_v2(tmp_path / "tub")
    catalog = tub / "catalog_0.catalog"
    lines = catalog.read_text().splitlines()
    lines[1] = lines[1][:20]
    lines[2] = json.dumps({"_index": 2, "_timestamp_ms": START_MS + 100})
    lines[3] = json.dumps({"_index": 3, "_timestamp_ms": START_MS + 150, "cam/image_array": "../../secret.jpg"})
    catalog.write_text("\r\n".join(lines) + "\r\n")
    (tub / "images" / "4_cam_image_array_.jpg").unlink()
    (tub / "images" / "5_cam_image_array_.jpg").write_bytes(b"")
    source = open_source(tub)
    frames = read_all(source)
    assert [frame.index for frame in frames] == levels(frames) == [0, 6, 7, 8, 9]
    assert dict(source.skip_reasons) == {
        "record cannot be read": 1,
        "record without an image": 2,
        "image missing": 1,
        "image empty (0 bytes)": 1,
    }


def test_a_record_without_a_time_follows_the_one_before_it(tmp_path: Path) -> None:
    tub = make_tub_v2(tmp_path / "tub")
    catalog = tub / "catalog_0.catalog"
    lines = catalog.read_text().splitlines()
    lines[2] = json.dumps({"_index": 2, "cam/image_array": "2_cam_image_array_.jpg"})
    catalog.write_text("\n".join(lines))
    frames = read_all(open_source(tub, fps_hz=25))
    assert [frame.timestamp_ns // MS - START_MS for frame in frames[:4]] == [0, 50, 90, 150]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("catalog_1.catalog", None, "catalog_1.catalog: the tub's catalog is missing"),
        ("catalog_1.catalog", "rubbish\nmore rubbish\n", "none of its 2 lines is a record"),
        ("manifest.json", "rubbish\n", "manifest is broken: it names no catalog"),
        ("manifest.json", "", "manifest is broken: it names no catalog"),
        ("manifest.json", '{"paths": ["catalog_0.catalog"], "deleted_indexes": ["x"]}', "deleted_indexes is not"),
    ],
)
def test_a_tub_broken_as_a_whole_is_one_clear_error(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    tub = make_tub_v2(tmp_path / "tub")
    (tub / name).unlink()
    if content is not None:
        (tub / name).write_text(content)
    with pytest.raises(SourceUnreadableError, match=message):
        open_source(tub)


def test_a_tub_without_records_is_one_clear_error(tmp_path: Path) -> None:
    tub = make_tub_v2(tmp_path / "tub", per_catalog=10)
    (tub / "catalog_0.catalog").write_text("")
    with pytest.raises(SourceUnreadableError, match="holds no records"):
        open_source(tub)


def test_a_v1_tub_without_times_runs_at_20_hz_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    source = open_source(make_tub_v1(tmp_path / "tub", [{}] * 12))
    assert source.kind == "tub v1"
    frames = read_all(source)
    assert levels(frames) == list(range(12))
    assert [frame.timestamp_ns // MS for frame in frames] == [50 * k for k in range(12)]


@pytest.mark.parametrize(
    ("records", "start_s"),
    [
        ([{"milliseconds": 0}, {"milliseconds": 70}], START_MS / 1000),
        ([{"timestamp": START_MS}, {"timestamp": START_MS + 70}], None),
        ([{"timestamp": START_MS / 1000}, {"timestamp": START_MS / 1000 + 0.07}], None),
        ([{"timestamp": "2023-11-14 22:13:20.000"}, {"timestamp": "2023-11-14T22:13:20.070Z"}], None),
        ([{"timestamp": str(START_MS / 1000)}, {"timestamp": str(START_MS / 1000 + 0.07)}], None),
    ],
    ids=["milliseconds since the start", "milliseconds", "seconds", "dates", "text"],
)
def test_a_v1_tub_has_its_own_clock(tmp_path: Path, records: list[dict[str, object]], start_s: float | None) -> None:
    frames = read_all(open_source(make_tub_v1(tmp_path / "tub", records, start_s=start_s)))
    assert [round(frame.timestamp_ns / MS) for frame in frames] == [START_MS, START_MS + 70]


def test_a_v1_tub_leaves_out_excluded_and_broken_records(tmp_path: Path) -> None:
    tub = make_tub_v1(tmp_path / "tub", [{}] * 5)
    (tub / "exclude.json").write_text("[2]")
    (tub / "record_3.json").write_text("{")
    (tub / "4_cam-image_array_.jpg").unlink()
    source = open_source(tub)
    frames = read_all(source)
    assert [frame.index for frame in frames] == levels(frames) == [0, 4]
    assert dict(source.skip_reasons) == {"record cannot be read": 1, "image missing": 1}
    assert source.deleted == 1
    assert levels(read_all(open_source(tub, include_deleted=True))) == [0, 1, 4]


@pytest.mark.data
def test_the_official_tub(data_dir: Path) -> None:
    source = open_source(data_dir / "donkey_official_tub")
    frames = read_all(source)
    assert (len(frames), source.skipped, source.deleted) == (1000, 0, 0)
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert frames[0].timestamp_ns == 1_602_421_393_803 * MS
    assert {frame.segment for frame in frames} == {0}
