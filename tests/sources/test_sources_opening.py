from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from recordings import gray_image, levels, make_images, make_tub_v2, make_video, noise_image, read_all

import edgevad.sources
from edgevad.errors import OptionError, SourceError, SourceNotFoundError, SourceUnreadableError
from edgevad.sources import open_source

needs_an_ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


def test_importing_the_package_does_not_import_opencv() -> None:
    check = "import sys, edgevad.sources; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_public_names_exist() -> None:
    assert all(hasattr(edgevad.sources, name) for name in edgevad.sources.__all__)


def test_folders_of_images_are_segments_in_natural_order(tmp_path: Path) -> None:
    for name in ("clip_10", "clip_2"):
        make_images(tmp_path / name, ["1.png", "2.png"])
    make_images(tmp_path / ".trash", ["1.png"])
    (tmp_path / "clip_1").mkdir()  # nothing in it
    (tmp_path / "labels.csv").write_text("frame,anomaly\n")
    source = open_source(tmp_path)
    assert (source.kind, source.name, source.frame_count_hint, source.fps_hint_hz) == ("folder", str(tmp_path), 4, 10)
    frames = read_all(source)
    assert [(Path(f.source_id).name, f.index, f.segment, f.timestamp_ns // 10**6) for f in frames] == [
        ("clip_2", 0, 0, 0),
        ("clip_2", 1, 0, 100),
        ("clip_10", 2, 1, 0),
        ("clip_10", 3, 1, 100),
    ]


def test_a_folder_of_videos_and_one_of_tubs(tmp_path: Path) -> None:
    make_video(tmp_path / "drives" / "a.mp4", frames=3)
    make_video(tmp_path / "drives" / "b.mp4", frames=2)
    assert [(f.index, f.segment) for f in read_all(open_source(tmp_path / "drives"))] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (3, 1),
        (4, 1),
    ]
    make_tub_v2(tmp_path / "data" / "tub_1", deleted=[9])
    make_tub_v2(tmp_path / "data" / "tub_2")
    source = open_source(tmp_path / "data")
    frames = read_all(source)
    assert [frame.index for frame in frames] == [*range(9), *range(10, 20)]
    assert [frame.segment for frame in frames] == [0] * 9 + [1] * 10
    assert source.deleted == 1


def test_a_folder_with_images_does_not_look_into_its_folders(tmp_path: Path) -> None:
    make_images(tmp_path, ["1.png"])
    make_images(tmp_path / "masks", ["1.png"])
    assert len(read_all(open_source(tmp_path))) == 1


def test_a_glob_of_images_is_one_sequence_and_one_for_each_folder(tmp_path: Path) -> None:
    make_images(tmp_path / "a", ["1.png", "2.png", "10.png"])
    make_images(tmp_path / "b", ["1.png"])
    assert levels(read_all(open_source(f"{tmp_path}/a/*.png"))) == [0, 1, 2]
    frames = read_all(open_source(f"{tmp_path}/*/*.png"))
    assert [frame.segment for frame in frames] == [0, 0, 0, 1]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]


def test_a_glob_of_videos_is_one_source_each(tmp_path: Path) -> None:
    for name in ("10", "9", "deep/11"):
        make_video(tmp_path / f"{name}.mp4", frames=2)
    (tmp_path / "9.csv").write_text("a,b\n")
    source = open_source(f"{tmp_path}/*")
    assert source.kind == "glob"
    assert [Path(frame.source_id).name for frame in read_all(source)[::2]] == ["9.mp4", "10.mp4", "11.mp4"]
    assert len(read_all(open_source(f"{tmp_path}/**/*.mp4"))) == 6


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    make_images(tmp_path, ["frame[1].png", "frame1.png"])
    assert levels(read_all(open_source(str(tmp_path / "frame[1].png")))) == [0]


def test_a_list_counts_on_skipped_frames_included(tmp_path: Path) -> None:
    make_images(tmp_path / "frames", ["0.png", "1.png", "2.png", "3.png"])
    for name in ("0", "3"):
        (tmp_path / "frames" / f"{name}.png").write_bytes(b"")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_bytes(b"")
    video = make_video(tmp_path / "drive.mp4", frames=3)
    source = open_source([tmp_path / "frames", str(tmp_path / "bad"), video, str(make_tub_v2(tmp_path / "tub"))])
    assert (source.kind, source.frame_count_hint, source.fps_hint_hz) == ("list", 4 + 1 + 3 + 10, None)
    frames = read_all(source)
    assert [(frame.index, frame.segment) for frame in frames[:6]] == [(1, 0), (2, 0), (5, 1), (6, 1), (7, 1), (8, 2)]
    assert source.positions == 18
    assert dict(source.skip_reasons) == {"image empty (0 bytes)": 3}


def test_a_list_without_one_readable_frame_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"")
    with pytest.raises(SourceUnreadableError, match="not one frame can be read"):
        read_all(open_source([tmp_path / "a", tmp_path / "b"]))


def test_a_list_can_be_left_early_and_read_again(tmp_path: Path) -> None:
    videos = [make_video(tmp_path / f"{name}.mp4", frames=3) for name in "ab"]
    with open_source(videos) as source:
        for frame in source:
            if frame.index == 4:
                break
        assert [frame.index for frame in source] == list(range(6))
    with pytest.raises(SourceError, match="closed"):
        iter(source)


def test_images_listed_one_by_one_are_a_sequence(tmp_path: Path) -> None:
    files = make_images(tmp_path, [f"{k}.png" for k in range(12)])
    in_shell_order = sorted(str(file) for file in files)
    source = open_source(in_shell_order)
    assert source.kind == "images"
    frames = read_all(source)
    assert levels(frames) == list(range(12))
    assert {frame.segment for frame in frames} == {0}


@pytest.mark.parametrize("live", ["0", "rtsp://camera/1", "/dev/video0", "a ! b"])
def test_a_live_source_cannot_be_one_of_several(tmp_path: Path, live: str) -> None:
    with pytest.raises(SourceError, match="cannot be one of several"):
        open_source([str(make_video(tmp_path / "a.mp4")), live])


def test_a_path_object_is_never_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "0", ["1.png"])
    assert open_source(Path("0")).kind == "images"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("missing.mp4", SourceNotFoundError, "missing.mp4: no such file or folder"),
        ("missing/*.mp4", SourceNotFoundError, "nothing matches"),
        ("text.txt/below.mp4", SourceNotFoundError, "no such file or folder"),
        ("x" * 5000, SourceNotFoundError, "no such file or folder"),
        ("a\0b", SourceNotFoundError, "no such file or folder"),
        ("", OptionError, "the source is empty"),
        ([], OptionError, "no source is named"),
        ("empty", SourceUnreadableError, "the folder is empty; expected images"),
        ("texts", SourceUnreadableError, "the folder holds nothing to read; expected images"),
        ("text*", SourceUnreadableError, "nothing it matches can be read"),
        ("mixed", SourceUnreadableError, r"holds both images \(1.png, …\) and videos \(1.mp4, …\)"),
        ("text.txt", SourceUnreadableError, "cannot decode a single frame"),
        ("pipe", SourceUnreadableError, "neither a file, a folder nor a camera"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str | list[str], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "texts", "mixed"):
        Path(folder).mkdir()
    Path("text.txt").write_text("hello")
    Path("texts/a.txt").write_text("hello")
    Path("mixed/1.png").touch()
    Path("mixed/1.mp4").touch()
    os.mkfifo("pipe")
    with pytest.raises(error, match=message) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"fps_hz": 0}, {"gap_s": -1}, {"timeout_s": float("nan")}])
def test_bad_options_are_one_clear_error(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} is .* expected a number above 0"):
        open_source(tmp_path, **options)  # type: ignore[arg-type]


@needs_an_ordinary_user
@pytest.mark.parametrize("name", ["closed", "closed/1.png", "1.png", "drive.mp4", "tub"])
def test_what_may_not_be_read_is_one_clear_error(tmp_path: Path, name: str) -> None:
    make_images(tmp_path / "closed", ["1.png"])
    make_images(tmp_path, ["1.png"])
    make_video(tmp_path / "drive.mp4")
    make_tub_v2(tmp_path / "tub")
    (tmp_path / "tub" / "catalog_1.catalog").chmod(0)
    if name in ("closed/1.png", "closed"):
        (tmp_path / "closed").chmod(0)
    elif name != "tub":
        (tmp_path / name).chmod(0)
    try:
        with pytest.raises(SourceUnreadableError, match="permission denied"):
            open_source(tmp_path / name)
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SourceUnreadableError, match=r"the folder cannot be read \(permission denied\)"):
        open_source(tmp_path)


def test_opencv_and_ffmpeg_say_nothing_of_their_own(tmp_path: Path) -> None:
    """Everything broken at once, in a fresh process: its stderr stays empty."""
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    for suffix in (".mp4", ".avi"):
        whole = make_video(tmp_path / f"whole{suffix}", images=[noise_image()] * 30)
        (tmp_path / f"cut{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    images = tmp_path / "images"
    make_images(images, ["0.png"])
    for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp"):
        data = cv2.imencode(suffix, noise_image())[1].tobytes()
        (images / f"cut{suffix}").write_bytes(data[: len(data) // 2])
        (images / f"text{suffix}").write_text("hello")
    damaged = bytearray(cv2.imencode(".png", gray_image(7))[1].tobytes())
    damaged[-20] ^= 0xFF
    (images / "damaged.png").write_bytes(damaged)
    names = ("text.mp4", "empty.mp4", "cut.mp4", "cut.avi", "images")
    specs = [*(str(tmp_path / name) for name in names), "63", "/dev/video63", "/dev/null", "rtsp://127.0.0.1:1/x"]
    program = (
        "import sys\n"
        "from edgevad.errors import SourceError\n"
        "from edgevad.sources import open_source\n"
        "for spec in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_source(spec, timeout_s=1) as source:\n"
        "            print(len(list(source)))\n"
        "    except SourceError as error:\n"
        "        print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *specs], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    unreadable, missing = "SourceUnreadableError", "SourceNotFoundError"
    cut_avi = done.stdout.split()[3]
    assert int(cut_avi) > 5
    assert done.stdout.split() == [*[unreadable] * 3, cut_avi, "1", missing, missing, unreadable, missing]


def test_a_broken_member_of_a_folder_or_glob_is_skipped_and_counted(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "drives" / "2.mp4", frames=3)
    cut = tmp_path / "drives" / "1.mp4"
    cut.write_bytes(whole.read_bytes().partition(b"moov")[0][:-4])
    (tmp_path / "drives" / "3.mp4").touch()
    (make_tub_v2(tmp_path / "tub_1") / "catalog_0.catalog").unlink()
    make_tub_v2(tmp_path / "tub_2")
    videos = {
        "1.mp4: the recording was cut off: its index (moov), written last, is missing": 1,
        "3.mp4: the file is empty (0 bytes)": 1,
    }
    tub = {"tub_1: the tub's catalog is missing": 1}
    for spec, indexes, reasons in [
        (tmp_path / "drives", [0, 1, 2], videos),
        (f"{tmp_path}/drives/*.mp4", [0, 1, 2], videos),
        (tmp_path, list(range(13)), videos | tub),
        (f"{tmp_path}/*", list(range(13)), videos | tub),
    ]:
        with open_source(spec) as source:
            for _ in range(2):
                assert [frame.index for frame in source] == indexes
                assert dict(source.skip_reasons) == reasons
                assert (source.skipped, source.positions) == (len(reasons), len(indexes))
    with pytest.raises(SourceUnreadableError, match="cut off"):
        open_source([cut, whole])  # named one by one
    whole.unlink()
    with pytest.raises(SourceUnreadableError, match=r"drives: none of its 2 members can be read \(1\.mp4: .* cut off"):
        open_source(tmp_path / "drives")
    (tmp_path / "drives" / "3.mp4").unlink()
    with pytest.raises(SourceUnreadableError, match=r"1\.mp4: the recording was cut off"):
        open_source(f"{tmp_path}/drives/*")


def test_a_folder_in_a_folder_that_cannot_be_listed_is_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = make_images(tmp_path / "clip", ["1.png", "2.png"])
    (tmp_path / "lost+found").mkdir()
    list_it = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return list_it(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    for spec in (tmp_path, f"{tmp_path}/*"):
        source = open_source(spec)
        assert len(read_all(source)) == 2
        assert dict(source.skip_reasons) == {"lost+found: the folder cannot be read (permission denied)": 1}
    for frame in frames:
        frame.unlink()
    with pytest.raises(SourceUnreadableError, match=r"lost\+found: the folder cannot be read \(permission denied\)"):
        open_source(tmp_path)


def test_a_date_is_a_folder_before_it_is_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "20240512", ["1.png"])
    make_images(tmp_path / "63", ["1.png"])
    assert open_source("20240512").kind == "images"
    assert len(read_all(open_source(["20240512", "./63"]))) == 2
    with pytest.raises(SourceNotFoundError, match=r"no such camera.*For the file or folder of that name write \./63"):
        open_source("63")
    with pytest.raises(SourceError, match=r"one of several.*write \./63"):
        open_source(["20240512", "63"])
    with pytest.raises(SourceNotFoundError, match="no such camera") as error:
        open_source("64")
    assert "write ./" not in str(error.value)
    with pytest.raises(SourceNotFoundError, match="no such file or folder"):
        open_source("9" * 5000)


def test_a_source_knows_the_files_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_images(tmp_path / "frames", ["1.png", "2.png"])[1]
    video = make_video(tmp_path / "drive.mp4", frames=2)
    tub = make_tub_v2(tmp_path / "tub")
    (tmp_path / "link.mp4").symlink_to(video)
    os.link(image, tmp_path / "hard.png")
    other = make_video(tmp_path / "other.mp4", frames=2)
    monkeypatch.chdir(tmp_path)
    in_tub = (tub / "manifest.json", tub / "catalog_1.catalog", tub / "images" / "3_cam_image_array_.jpg")
    for spec, read in [
        (video, (video, Path("drive.mp4"), Path("link.mp4"))),
        (Path("link.mp4"), (video,)),
        (tmp_path / "frames", (image, Path("hard.png"))),
        (tub, in_tub),
        ([video, tmp_path / "frames", tub], (video, image, *in_tub)),
    ]:
        with open_source(spec) as source:
            assert [path for path in read if not source.reads(path)] == []
            assert not any(source.reads(path) for path in (other, tmp_path, Path("new.mp4"), Path("a\0b")))


@pytest.mark.data
def test_the_real_recordings(data_dir: Path) -> None:
    frames = read_all(open_source(data_dir / "ucsd_ped2" / "test"))
    assert (len(frames), frames[-1].index, frames[-1].segment) == (2010, 2009, 11)
    with open_source(data_dir / "donkey_track_1124") as source:
        assert (source.kind, source.frame_count_hint, source.fps_hint_hz) == ("video", 6782, 10.0)
        for frame in source:
            assert frame.image.shape == (224, 224, 3)
            assert frame.timestamp_ns == frame.index * 100_000_000
            if frame.index == 20:
                break


def test_a_stream_among_several_sources_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="never ends") as refused:
        open_source(["rtsp://bob:secret@127.0.0.1:1/a", str(tmp_path)])
    assert "secret" not in str(refused.value)


def test_a_home_of_nobody_is_no_source() -> None:
    with pytest.raises(SourceNotFoundError, match="there is no user of that name"):
        open_source("~nosuchuser/drive.mp4")
