"""Heatmaps against pixel masks: where they are laid, how well they rank pixels, where they point."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

__all__ = ["Pointing", "dilated", "laid_over", "pixel_auroc", "pointing"]

Heat = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pointing:
    """
    Attributes:
        inside: the hottest pixel is inside the mask, grown by half a cell.
        chance: share of the frame that the grown mask covers, what a random pixel would reach.
    """

    inside: bool
    chance: float


def laid_over(heat: Heat, size: tuple[int, int]) -> Heat:
    """Cells (h, w), half a cell apart, over an image of (height, width) px: bilinear, float32.

    The centre of cell k of n lies at (k + 1) / (n + 1) of the image; beyond the outermost ones their values go on.
    """
    rows, columns = (_weights(n, px) for n, px in zip(heat.shape, size, strict=True))
    return np.asarray(rows @ heat @ columns.T, np.float32)


def _weights(cells: int, pixels: int) -> npt.NDArray[np.float64]:
    """How much of each cell is in each pixel along one side: (pixels, cells), rows sum to 1."""
    at = np.clip((np.arange(pixels) + 0.5) / pixels * (cells + 1) - 1, 0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(cells)))


def dilated(mask: Mask, rows: int, columns: int) -> Mask:
    """The mask (H, W), grown by so many pixels up and down, left and right."""
    kernel = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)).astype(np.bool_)


def pointing(heat: Heat, mask: Mask, half_cell: tuple[int, int]) -> Pointing:
    """Heat and mask of one anomalous frame, both (H, W); half a cell is (rows, columns) in pixels."""
    grown = dilated(mask, *half_cell)
    return Pointing(bool(grown.flat[int(np.argmax(heat))]), float(grown.mean()))


def pixel_auroc(heat: npt.NDArray[np.floating], anomalous: Mask) -> float | None:
    """Over any pixels (K,): the chance that an anomalous one is hotter than another; None where one kind is missing."""
    return float(roc_auc_score(anomalous, heat)) if anomalous.any() and not anomalous.all() else None
