"""What months on the road do to a picture: gamma and colour drift, a camera that tilts, haze on the lens.

    python -m benchmarks.degrade RECORDING OUT.mp4 [--kind all] [--strength 1] [--from 0.33] [--to 1]

writes RECORDING, or the stretch of it between two shares of its frames, as it would look; the frames stay as many.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "degraded"]

Image = npt.NDArray[np.uint8]


def gamma_and_colour(image: Image, strength: float) -> Image:
    """An ageing sensor and another white balance: gamma 1.5, less blue, more red."""
    levels = np.arange(256) / 255.0
    gains = 1.0 + strength * np.array([-0.12, 0.0, 0.1])  # blue, green, red
    table = np.clip(255.0 * levels[:, None] ** (1.0 + 0.5 * strength) * gains, 0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(image, np.ascontiguousarray(table[:, None, :])), dtype=np.uint8)


def tilt(image: Image, strength: float) -> Image:
    """A mount that gave way: the picture turned by 3 degrees, its corners filled from the inside."""
    height, width = image.shape[:2]
    angle = 3.0 * strength
    # Enlarged until no corner shows what was never seen.
    turned = np.deg2rad(abs(angle))
    scale = np.cos(turned) + np.sin(turned) * max(width / height, height / width)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, float(scale))
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def haze(image: Image, strength: float) -> Image:
    """A film on the lens: contrast lost to a veil, and details to a blur. A little: more of it hides alarms."""
    sigma_px = max(0.6 * strength * image.shape[1] / 224.0, 1e-3)
    soft = cv2.GaussianBlur(image, (0, 0), sigma_px).astype(np.float32)
    veil = 0.06 * strength
    return np.asarray(np.clip((1.0 - veil) * soft + veil * 190.0, 0, 255).round(), dtype=np.uint8)


def all_of_it(image: Image, strength: float) -> Image:
    """The camera tilts, the lens hazes, the sensor drifts."""
    return gamma_and_colour(haze(tilt(image, strength), strength), strength)


KINDS: dict[str, Callable[[Image, float], Image]] = {
    "gamma": gamma_and_colour,
    "tilt": tilt,
    "haze": haze,
    "all": all_of_it,
}


def degraded(image: Image, kind: str = "all", strength: float = 1.0) -> Image:
    """An image (H, W, 3) uint8 BGR as it would look; `strength` 0 leaves it as it is, 1 is what the bars speak of."""
    return image if strength == 0 else KINDS[kind](image, strength)


def main() -> None:
    """Write a degraded recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recording")
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=sorted(KINDS), default="all")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--from", dest="start", type=float, default=0.0)
    parser.add_argument("--to", dest="end", type=float, default=1.0)
    options = parser.parse_args()
    written = write_degraded(options.recording, options.out, options.kind, options.strength, options.start, options.end)
    print(f"{options.out}: {written} frames")


def write_degraded(recording: str, out: Path, kind: str, strength: float, start: float = 0.0, end: float = 1.0) -> int:
    """The frames of the video `recording` from `start` to `end` (shares of all), as a video; returns how many."""
    import av

    capture = cv2.VideoCapture(recording)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    first, last = round(start * count), round(end * count)
    with av.open(str(out), "w") as container:
        # Fine enough that what the encoder takes away is far below what was done to the picture.
        rate_hz = Fraction(capture.get(cv2.CAP_PROP_FPS)).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate_hz, options={"crf": "14", "preset": "veryfast"})
        stream.width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        stream.height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        stream.pix_fmt = "yuv420p"
        written = 0
        for number in range(last):
            ok, image = capture.read()
            if not ok:
                break
            if number >= first:
                picture = av.VideoFrame.from_ndarray(degraded(np.asarray(image, np.uint8), kind, strength), "bgr24")
                container.mux(stream.encode(picture))
                written += 1
        container.mux(stream.encode())
    capture.release()
    return written


if __name__ == "__main__":
    main()
