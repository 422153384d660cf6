"""A rendered drive on disk: the video, its labels and how it was made."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edgevad._files import atomic_directory, atomic_file, output_errors, writable_directory, write_json
from edgevad.errors import OutputError
from edgevad.synth.config import SynthConfig
from edgevad.synth.drive import Drive, SynthFrame

__all__ = ["WrittenDrive", "write_drive"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class WrittenDrive:
    """Where a drive was written.

    Attributes:
        video: drive.mp4, or the folder `drive` of PNG images where OpenCV cannot encode MPEG-4.
        labels: labels.csv with the header frame,level,event, one row a frame.
        manifest: synth.json.
        summary: what synth.json holds.
    """

    video: Path
    labels: Path
    manifest: Path
    summary: dict[str, Any]


def write_drive(config: SynthConfig, out_dir: str | Path, progress: Progress | None = None) -> WrittenDrive:
    """Render a drive into `out_dir`, which is created if needed; each file appears whole or not at all.

    `progress` is called with (frames done, frames in all).

    Raises:
        OutputError: the folder or a file in it cannot be written.
    """
    folder = writable_directory(out_dir)
    drive = Drive(config)
    rows: list[tuple[int, int, str]] = []

    def frames() -> Iterable[SynthFrame]:
        for frame in drive.frames():
            rows.append((frame.index, frame.level, frame.event))
            yield frame
            if progress is not None:
                progress(frame.index + 1, config.frame_count)

    video = _write_video(folder, config, frames) or _write_images(folder, frames)
    labels, manifest = folder / "labels.csv", folder / "synth.json"
    with atomic_file(labels, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("frame", "level", "event"))
        writer.writerows(rows)
    summary = {**drive.summary(), "video": video.name, "labels": labels.name}
    write_json(manifest, summary)
    return WrittenDrive(video, labels, manifest, summary)


def _write_video(folder: Path, config: SynthConfig, frames: Callable[[], Iterable[SynthFrame]]) -> Path | None:
    """Encode to drive.mp4, or None where OpenCV has no encoder for it."""
    target = folder / "drive.mp4"
    with output_errors(target):
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".drive.", suffix=".part.mp4", delete=False) as file:
            part = Path(file.name)
        try:
            size = config.width_px, config.height_px
            encoder = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), config.fps_hz, size)
            if not encoder.isOpened():
                return None
            try:
                for frame in frames():
                    encoder.write(frame.image)
            finally:
                encoder.release()
            _check_whole(part, target, config.frame_count)
            part.chmod(0o644)
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return target


def _check_whole(part: Path, target: Path, frame_count: int) -> None:
    # OpenCV's encoder does not report a failed write, so ask the file itself.
    capture = cv2.VideoCapture(str(part))
    try:
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
    if found != frame_count:
        raise OutputError(
            f"only {found} of {frame_count} frames were written",
            where=target,
            fix="Is the disk full? Free some space or choose another output folder",
        )


def _write_images(folder: Path, frames: Callable[[], Iterable[SynthFrame]]) -> Path:
    target = folder / "drive"
    with atomic_directory(target) as part:
        for frame in frames():
            ok, encoded = cv2.imencode(".png", frame.image)
            if not ok:
                raise OutputError("OpenCV cannot encode PNG images", where=target)
            (part / f"{frame.index:06d}.png").write_bytes(encoded.tobytes())
    return target
