from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import gray_image, levels, make_images, noise_image, read_all

from edgevad.errors import SourceUnreadableError
from edgevad.sources import open_source


def test_a_folder_is_read_in_natural_order_at_ten_hertz(tmp_path: Path) -> None:
    make_images(tmp_path / "frames", ["f_1.png", "f_2.png", "f_10.png"])
    make_images(tmp_path / "frames", [".hidden.png"])
    (tmp_path / "frames" / "notes.txt").write_text("not an image")
    source = open_source(tmp_path / "frames")
    assert (source.kind, source.frame_count_hint, source.fps_hint_hz, source.is_live) == ("images", 3, 10.0, False)
    frames = read_all(source)
    assert levels(frames) == [0, 1, 2]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.timestamp_ns for frame in frames] == [0, 100_000_000, 200_000_000]
    assert {(frame.source_id, frame.segment) for frame in frames} == {(str(tmp_path / "frames"), 0)}


def test_the_frame_rate_can_be_told(tmp_path: Path) -> None:
    make_images(tmp_path / "frames", ["1.png", "2.png"])
    assert [frame.timestamp_ns for frame in read_all(open_source(tmp_path / "frames", fps_hz=25))] == [0, 40_000_000]


def test_a_slow_rate_is_not_a_gap(tmp_path: Path) -> None:
    make_images(tmp_path / "frames", [f"{k}.png" for k in range(4)])
    assert {frame.segment for frame in read_all(open_source(tmp_path / "frames", fps_hz=0.2))} == {0}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((4, 6), 77, np.uint8), 77),
        (np.dstack([np.full((4, 6, 3), 77, np.uint8), np.zeros((4, 6), np.uint8)]), 77),
        (np.full((4, 6), 40_000, np.uint16), 156),
        (np.full((4, 6, 3), 40_000, np.uint16), 156),
        (np.full((1, 1, 3), 5, np.uint8), 5),
    ],
    ids=["gray", "transparent", "16 bit gray", "16 bit", "one pixel"],
)
def test_every_image_becomes_bgr_of_8_bits(tmp_path: Path, image: np.ndarray, expected: int) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), image)
    (frame,) = read_all(open_source(tmp_path / "image.png"))
    assert frame.image.shape == (*image.shape[:2], 3)
    assert frame.image.dtype == np.uint8
    assert np.all(frame.image == expected)


def test_channels_are_blue_green_red(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((4, 4, 3), (255, 0, 0), np.uint8))
    (frame,) = read_all(open_source(tmp_path / "blue.png"))
    assert frame.image[0, 0].tolist() == [255, 0, 0]


def test_the_exif_orientation_is_ignored(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", gray_image(50, 32, 24))[1].tobytes()
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"  # orientation 6: turn by 90 degrees
    exif = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    opencv_s = cv2.imread(str(tmp_path / "turned.jpg"))
    assert opencv_s is not None
    assert opencv_s.shape == (32, 24, 3)  # it turns the image
    (frame,) = read_all(open_source(tmp_path / "turned.jpg"))
    assert frame.image.shape == (24, 32, 3)


def test_frames_may_change_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), gray_image(0, 32, 24))
    cv2.imwrite(str(tmp_path / "2.png"), gray_image(0, 16, 12))
    assert [frame.image.shape for frame in read_all(open_source(tmp_path))] == [(24, 32, 3), (12, 16, 3)]


def test_corrupt_images_are_skipped_and_counted_and_keep_their_index(tmp_path: Path) -> None:
    jpeg, png = (cv2.imencode(suffix, noise_image())[1].tobytes() for suffix in (".jpg", ".png"))
    damaged = bytearray(png)
    damaged[len(damaged) // 2] ^= 0xFF
    make_images(tmp_path, ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png"])
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_text("hello")
    (tmp_path / "3.png").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "4.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "5.png").write_bytes(damaged)
    (tmp_path / "6.png").unlink()
    (tmp_path / "6.png").symlink_to(tmp_path / "gone.png")
    source = open_source(tmp_path)
    frames = read_all(source)
    assert [(frame.index, frame.timestamp_ns, frame.segment) for frame in frames] == [(0, 0, 0), (7, 700_000_000, 0)]
    assert source.skipped == 6
    assert dict(source.skip_reasons) == {
        "image empty (0 bytes)": 1,
        "image cannot be decoded": 1,
        "image cut off": 2,
        "image damaged (checksum)": 1,
        "image missing": 1,
    }


def test_a_cut_off_jpeg_is_told_by_its_own_end_not_by_that_of_its_thumbnail(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", noise_image())[1].tobytes()
    thumbnail = b"Exif\0\0" + cv2.imencode(".jpg", gray_image(50))[1].tobytes()
    whole = jpeg[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + jpeg[2:]
    header = whole.rfind(b"\xff\xda")
    for name, data in {
        "0 whole": whole,
        "1 cut in its scan": whole[:-100],
        "2 cut in its header": whole[: header - 10],
        "3 with something behind it": whole + b"film \xff\xda film",
        "4 padded": whole[:2] + b"\xff\xff" + whole[2:],
    }.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    source = open_source(tmp_path)
    assert [frame.index for frame in read_all(source)] == [0, 3, 4]
    assert dict(source.skip_reasons) == {"image cut off": 2}


def test_a_long_run_of_corrupt_images_is_a_gap(tmp_path: Path) -> None:
    files = make_images(tmp_path, [f"{k}.png" for k in range(14)])
    for file in files[1:12]:
        file.write_bytes(b"")
    assert [(frame.index, frame.segment) for frame in read_all(open_source(tmp_path))] == [(0, 0), (12, 1), (13, 1)]


def test_nothing_but_corrupt_images_is_one_error(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceUnreadableError, match=r"not one frame can be read \(2 image empty"):
        read_all(open_source(tmp_path))


def test_a_second_pass_counts_from_zero(tmp_path: Path) -> None:
    make_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "3.png").write_bytes(b"")
    with open_source(tmp_path) as source:
        first = iter(source)
        next(first)
        assert levels(source) == [0, 1]
        assert (source.skipped, source.positions) == (1, 3)
        assert list(first) == []  # the second pass ended it
        assert levels(source) == [0, 1]
        assert source.skipped == 1
