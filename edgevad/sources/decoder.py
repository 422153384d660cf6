"""Decoding video files: by PyAV where it can leave a picture as it was decoded, by OpenCV everywhere else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from edgevad.errors import SourceUnreadableError
from edgevad.sources.frame import Image
from edgevad.sources.opencv import bgr_from, cv2, decoding_threads
from edgevad.sources.planes import MATRICES, Planes, bgr_of, is_planar

if TYPE_CHECKING:
    import av

__all__ = ["Decoded", "FirstPicture", "open_capture", "opencv_pictures", "planar_pictures", "planes_promised"]

_I420 = float(int.from_bytes(b"I420", "little"))
# FFmpeg's own limit for threads that it chooses itself, and OpenCV's.
_MOST_THREADS = 16
# Gray levels between what two versions of FFmpeg make of the same picture; another matrix makes more.
_ALIKE = 3
# Whoever sets this for OpenCV's FFmpeg wants a demuxer or decoder of his own choice.
_OPENCV_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class Decoded(NamedTuple):
    """A picture, (H, W, 3) uint8 BGR or as it was decoded, and where in the file it is (NaN where that is not said)."""

    picture: Image | Planes
    position_ms: float


def open_capture(path: Path, *, alone: bool) -> cv2.VideoCapture:
    """OpenCV's reader of that file, opened or not; `alone` decodes in one thread."""
    known = cv2.videoio_registry.getBackends()
    if cv2.CAP_FFMPEG in known:
        return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, decoding_threads(1) if alone else [])
    return cv2.VideoCapture(str(path), cv2.CAP_ANY)


def opencv_pictures(path: Path, capture: cv2.VideoCapture) -> Generator[Decoded, None, None]:
    """Every picture of `capture`, an open file, which is released in the end.

    Raises:
        SourceUnreadableError: OpenCV gives up.
    """
    count = 0
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                return
            yield Decoded(bgr_from(image), capture.get(cv2.CAP_PROP_POS_MSEC))
            count += 1
    except cv2.error as error:
        raise SourceUnreadableError(f"OpenCV gave up at frame {count} ({error})", where=path) from error
    finally:
        capture.release()


class FirstPicture(NamedTuple):
    """What OpenCV read first, so that another reader can be held against it.

    Attributes:
        position_ms: where in the file it is.
        samples: (8, 8, 3) uint8 BGR or less, from all over it.
    """

    position_ms: float
    samples: Image


def planes_promised(capture: cv2.VideoCapture, image: Image) -> FirstPicture | None:
    """The first picture of an open file if `planar_pictures` may read it: upright 4:2:0 of even size, from FFmpeg.

    None without PyAV, too, and before its version 17: it cannot be told then how many threads to decode in.
    """
    format_property = getattr(cv2, "CAP_PROP_CODEC_PIXEL_FORMAT", None)
    if format_property is None or _OPENCV_OPTIONS in os.environ or capture.get(format_property) != _I420:
        return None
    if capture.get(cv2.CAP_PROP_ORIENTATION_META) not in (0.0, -1.0) or image.shape[0] % 2 or image.shape[1] % 2:
        return None
    try:
        import av.filter  # now, and not when the first picture is waited for
    except ImportError:
        return None
    if not hasattr(av.filter.Graph, "threads"):
        return None
    return FirstPicture(capture.get(cv2.CAP_PROP_POS_MSEC), _samples(image))


def planar_pictures(path: Path, first: FirstPicture, *, alone: bool) -> Generator[Decoded, None, None]:
    """The pictures that OpenCV reads of a file whose `first` one promises planes, at the same positions, by PyAV.

    What cannot be decoded is left out. Pictures that change size keep their own, which OpenCV brings to that of the
    first. Nothing where PyAV sees another first picture than OpenCV did, or where that is too gray to tell by which of
    the `MATRICES` it was made.
    """
    import av

    threads = 1 if alone else min(_cores(), _MOST_THREADS)
    count, start_ms, matrix = 0, math.nan, None
    for pictures in (_pulled, _unpacked):
        try:
            for place_ms, picture in islice(pictures(path, threads), count, None):
                if not count:
                    matrices = _matrices_like(first.samples, picture)
                    if len(matrices) != 1:
                        return
                    matrix, start_ms = matrices[0], place_ms - first.position_ms
                count += 1
                yield Decoded(
                    Planes(picture, matrix) if is_planar(picture) else bgr_of(picture, matrix), place_ms - start_ms
                )
            return
        except av.FFmpegError:
            # Something in there is damaged: once more, and packet by packet from here on.
            continue


def _samples(image: Image) -> Image:
    height, width = image.shape[:2]
    return image[height // 16 :: max(height // 8, 1), width // 16 :: max(width // 8, 1)].copy()


def _matrices_like(samples: Image, picture: av.VideoFrame) -> list[int | None]:
    """Those by which `samples` of `picture` may have been made; one alone where they come to the same."""
    levels = {one: _difference(samples, bgr_of(picture, one)) for one in MATRICES}
    alike = [one for one in MATRICES if levels[one] <= _ALIKE]
    alike = [one for one in alike if levels[one] == 0] or alike
    if len(alike) > 1 and is_planar(picture):
        some, *others = (Planes(picture, one).colours() for one in alike)
        if all(np.allclose(some, other) for other in others):
            return alike[:1]
    return alike


def _difference(samples: Image, image: Image) -> int:
    """Gray levels between `samples` and those of `image`, at most; 256 where they are others altogether."""
    mine = _samples(image)
    return int(cv2.absdiff(mine, samples).max()) if mine.shape == samples.shape else 256


def _pulled(path: Path, threads: int) -> Generator[tuple[float, av.VideoFrame], None, None]:
    """Pictures with the file's own times, in ms (NaN where it states none), until something cannot be decoded.

    FFmpeg's filter `movie` reads and decodes in one call, and Python's lock is given back once a picture. Reading a
    packet and decoding it by themselves give it back six times, and whoever waits for it each time was a twentieth of
    the time that a small picture takes.
    """
    import av.filter

    graph = av.filter.Graph()
    graph.threads = threads
    movie, sink = graph.add("movie", filename=str(path)), graph.add("buffersink")
    movie.link_to(sink)
    graph.configure()
    pull = cast("Callable[[], av.VideoFrame]", sink.pull)
    with suppress(av.EOFError):
        picture = pull()
        unit_ms = _milliseconds(picture.time_base)
        while True:
            yield math.nan if picture.pts is None else picture.pts * unit_ms, picture
            picture = pull()


def _unpacked(path: Path, threads: int) -> Generator[tuple[float, av.VideoFrame], None, None]:
    """The same packet by packet, leaving out those that cannot be decoded."""
    import av

    with suppress(av.FFmpegError), av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        unit_ms = _milliseconds(stream.time_base)
        # An error of the container ends the recording, as an error of the disk would.
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            for picture in decoded:
                if isinstance(picture, av.VideoFrame):
                    yield math.nan if picture.pts is None else picture.pts * unit_ms, picture


def _milliseconds(unit: Fraction | None) -> float:
    """Of a file's unit of time, in seconds; NaN where it has none."""
    return math.nan if unit is None else 1000.0 * float(unit)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
