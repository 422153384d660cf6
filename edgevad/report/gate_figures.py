"""The gate's figures as SVG and its pictures as PNG, both in the page itself: a device has no Matplotlib."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["bars_svg", "picture_html", "scores_svg"]

# Okabe and Ito's palette, as report/plots.py.
_BLUE, _VERMILION, _GRAY, _DARK = "#0072b2", "#d55e00", "#8c8c8c", "#333333"
_WIDTH, _HEIGHT = 900, 220
_LEFT, _BOTTOM, _TOP = 46, 24, 12
_MOST_POINTS = 900
_PICTURE_PX = 128

Floats = npt.NDArray[np.float64]


def scores_svg(
    champion: Floats, challenger: Floats, thresholds: tuple[float, float], shaded: npt.NDArray[np.bool_] | None
) -> str:
    """Anomaly scores (N,) of both over frames, each in units of its own threshold, on an axis that is bent above 1.

    `shaded` (N,) marks frames that stood out from their drive.
    """
    count = len(champion)
    lines = []
    if shaded is not None:
        edges = np.flatnonzero(np.diff(np.r_[False, shaded, False]))
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            x = _x(float(first), count)
            width = max(_x(float(last), count) - x, 1.0)
            lines.append(
                f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{_plot_height()}" '
                'fill="#e69f00" opacity=".3"/>'
            )
    lines.append(_rule(_y(1.0), "threshold"))
    lines.append(_rule(_y(0.0), "0"))
    for values, threshold, color in ((champion, thresholds[0], _GRAY), (challenger, thresholds[1], _BLUE)):
        lines.append(_polyline(np.nan_to_num(values / max(threshold, 1e-9), nan=0.0, posinf=1e6, neginf=-1e6), color))
    legend = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}" fill="{_GRAY}">champion</text>'
        f'<text x="{_LEFT + 80}" y="{_HEIGHT - 4}" fill="{_BLUE}">challenger</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 4}" text-anchor="end" fill="{_DARK}">{count} frames</text>'
    )
    return _svg("".join(lines) + legend)


def bars_svg(values: Mapping[str, tuple[float | None, float | None]]) -> str:
    """AUROC by kind of probe, champion's over challenger's."""
    rows, height = [], 14 + 34 * len(values)
    for number, (kind, (before, now)) in enumerate(values.items()):
        y = 10 + 34 * number
        rows.append(f'<text x="96" y="{y + 16}" text-anchor="end" fill="{_DARK}">{escape(kind)}</text>')
        for value, color, offset in ((before, _GRAY, 0), (now, _BLUE, 13)):
            share = 0.0 if value is None or not np.isfinite(value) else value
            rows.append(f'<rect x="104" y="{y + offset}" width="{700 * share:.1f}" height="11" fill="{color}"/>')
            rows.append(f'<text x="{110 + 700 * share:.1f}" y="{y + offset + 10}" fill="{_DARK}">{share:.3f}</text>')
    rows.append(f'<line x1="454" x2="454" y1="4" y2="{height - 4}" stroke="{_DARK}" stroke-dasharray="3 4"/>')
    return _svg("".join(rows), height)


def picture_html(images: Sequence[npt.NDArray[np.uint8]], caption: str) -> str:
    """Pictures (h, w, 3) uint8 BGR side by side, with a caption, as they are: enlarged without smoothing."""
    shown = []
    for image in images:
        scale = max(1, round(_PICTURE_PX / max(image.shape[:2])))
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        _, data = cv2.imencode(".png", large)
        code = base64.b64encode(data.tobytes()).decode("ascii")
        shown.append(f'<img alt="" src="data:image/png;base64,{code}">')
    return f"<figure>{''.join(shown)}<figcaption>{escape(caption)}</figcaption></figure>"


def _plot_height() -> int:
    return _HEIGHT - _BOTTOM - _TOP


def _x(frame: float, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - 6) * frame / max(count - 1, 1)


def _y(value: float) -> float:
    """Straight up to the threshold, then by the logarithm: how far beyond matters less and less. From -1 to 100."""
    bent = value if value <= 1 else 1 + float(np.log10(value))
    return _TOP + _plot_height() * (1 - (min(max(bent, -1.0), 3.0) + 1) / 4)


def _rule(y: float, text: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - 6}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_VERMILION}" stroke-dasharray="5 4"/>'
        f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end" fill="{_DARK}" font-size="9">{text}</text>'
    )


def _polyline(values: Floats, color: str) -> str:
    # Of several frames in one step of the axis the highest is what matters.
    steps = np.unique(np.linspace(0, len(values), min(_MOST_POINTS, len(values)), endpoint=False).astype(np.int64))
    highest = np.maximum.reduceat(values, steps) if len(values) else values
    points = " ".join(
        f"{_x(float(k), len(values)):.1f},{_y(float(v)):.1f}" for k, v in zip(steps, highest, strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.3"/>'


def _svg(content: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" font-family="system-ui, sans-serif" font-size="11" '
        f'xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )
