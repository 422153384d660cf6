"""Small recordings of every kind, made on the spot. Frame k is of brightness 10 * k, so a test can tell it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edgevad.sources import Frame, Image, Source

START_MS = 1_700_000_000_000


def gray_image(level: int, width_px: int = 32, height_px: int = 24) -> Image:
    return np.full((height_px, width_px, 3), level, np.uint8)


def noise_image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def levels(frames: Iterable[Frame]) -> list[int]:
    """Which frames these are: k for the frame of brightness 10 * k."""
    return [round(float(frame.image.mean()) / 10) for frame in frames]


def read_all(source: Source) -> list[Frame]:
    with source:
        return list(source)


def make_images(folder: Path, names: Sequence[str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in names]
    for k, file in enumerate(files):
        assert cv2.imwrite(str(file), gray_image(10 * k))
    return files


def make_video(path: Path, *, frames: int = 12, fps_hz: float = 20.0, images: Sequence[Image] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images or [gray_image(10 * k, 64, 48) for k in range(frames)]
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps_hz, (images[0].shape[1], images[0].shape[0]))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


def make_tub_v2(
    folder: Path, *, times_ms: Sequence[int] | None = None, deleted: Sequence[int] = (), per_catalog: int = 6
) -> Path:
    """Ten records at 20 Hz in two catalogs, unless told otherwise."""
    times_ms = times_ms or [START_MS + 50 * k for k in range(10)]
    (folder / "images").mkdir(parents=True)
    catalogs: list[str] = []
    for first in range(0, len(times_ms), per_catalog):
        lines = []
        for k in range(first, min(first + per_catalog, len(times_ms))):
            name = f"{k}_cam_image_array_.jpg"
            assert cv2.imwrite(str(folder / "images" / name), gray_image(10 * k))
            lines.append(json.dumps({"_index": k, "_timestamp_ms": times_ms[k], "cam/image_array": name}) + "\n")
        catalogs.append(f"catalog_{len(catalogs)}.catalog")
        (folder / catalogs[-1]).write_text("".join(lines))
    end = {"paths": catalogs, "current_index": len(times_ms), "max_len": per_catalog, "deleted_indexes": list(deleted)}
    manifest = [["cam/image_array", "user/angle"], ["image_array", "float"], {}, {"created_at": 1.0}, end]
    (folder / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in manifest))
    return folder


def make_tub_v1(folder: Path, records: Sequence[dict[str, object]], *, start_s: float | None = None) -> Path:
    """Record files are numbered from 1 and say what `records` says."""
    folder.mkdir(parents=True)
    if start_s is not None:
        (folder / "meta.json").write_text(json.dumps({"inputs": [], "types": [], "start": start_s}))
    for k, record in enumerate(records):
        name = f"{k + 1}_cam-image_array_.jpg"
        assert cv2.imwrite(str(folder / name), gray_image(10 * k))
        (folder / f"record_{k + 1}.json").write_text(json.dumps({"cam/image_array": name, **record}))
    return folder
