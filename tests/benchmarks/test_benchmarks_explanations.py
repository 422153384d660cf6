"""The pure functions behind benchmarks.explanations; its figures are not for a test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks._heat_truth import dilated, laid_over, pixel_auroc, pointing
from benchmarks.explanations import Place, as_table, measure
from edgevad.datasets.clip import Clip
from edgevad.datasets.truth import Mask, Truth
from edgevad.evaluation.labels import Labels


def test_a_cell_lies_where_its_pixels_were() -> None:
    # Cells of 8 px, 4 apart, on 64 px: cell 3 is about pixels 12 to 19, centred at 16 of 64, so at 60 of 240.
    heat = np.zeros((15, 15), np.float32)
    heat[3, 7] = 2.0
    over = laid_over(heat, (240, 360))
    assert over.shape == (240, 360)
    rows, columns = np.nonzero(over > 1.7)
    assert rows.mean() + 0.5 == pytest.approx(60)
    assert columns.mean() + 0.5 == pytest.approx(180)


def test_a_map_of_one_value_stays_one_to_the_edge() -> None:
    assert np.allclose(laid_over(np.full((5, 7), 3.0, np.float32), (33, 41)), 3.0)


def test_a_mask_grows_by_pixels_on_every_side() -> None:
    mask = np.zeros((9, 11), np.bool_)
    mask[4, 5] = True
    grown = dilated(mask, 1, 2)
    assert grown.sum() == 3 * 5
    assert grown[3:6, 3:8].all()


def test_pointing_at_and_beside_a_mask() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[2:4, 2:4] = True
    heat = np.zeros((10, 10), np.float32)
    heat[4, 4] = 1.0
    assert pointing(heat, mask, (1, 1)).inside
    assert not pointing(heat, mask, (0, 0)).inside
    assert pointing(heat, mask, (1, 1)).chance == pytest.approx(0.16)


def test_pixels_of_one_kind_have_no_auroc() -> None:
    heat = np.array([0.1, 0.9, 0.5])
    assert pixel_auroc(heat, np.array([False, True, False])) == 1.0
    assert pixel_auroc(heat, np.array([False, False, False])) is None


@dataclass
class Masks(Truth):
    masks: list[Mask]
    has_pixels: bool = True

    def labels(self) -> Labels:
        raise NotImplementedError

    def mask(self, index: int) -> Mask | None:
        return self.masks[index]


def test_figures_of_a_map_that_is_right_and_of_one_that_is_wrong() -> None:
    right = np.zeros((4, 5, 5), np.float32)
    masks = []
    for k in range(4):
        mask = np.zeros((24, 24), np.bool_)
        if k:
            mask[4 * k : 4 * k + 4, 4:8] = True
            right[k, k, 0] = 1.0  # centred at 4 (k + 1) of 24
        masks.append(mask)
    clip = Clip("01", "nowhere", truth=Masks(masks))
    places = [Place(k, clip, k) for k in range(4)]
    good, bad = measure({"combined": right, "wrong": right[:, ::-1, ::-1]}, places, seed=0, pixels=24 * 24)
    assert (good["frames"], good["anomalous_frames"], good["pixels"]) == (4, 3, 4 * 24 * 24)
    assert good["pixel_auroc"] > 0.9 > bad["pixel_auroc"]
    assert good["pointing"] == 1.0
    assert bad["pointing"] == 0.0
    assert good["within_frames"] > bad["within_frames"]
    assert "| wrong | **" in as_table([good, bad])
