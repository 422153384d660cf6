from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from test_bundle_bundle import rewrite

from edgevad.bundle import Bundle
from edgevad.bundle.tones import LOOKS, MOST_CONDITIONS, ToneCurves
from edgevad.errors import BundleError


def tones(count: int = 2, parts: int = 1) -> ToneCurves:
    curve = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return ToneCurves(
        np.repeat(curve[None], count, axis=0),
        np.arange((count + 1) * LOOKS, dtype=np.float32).reshape(count + 1, LOOKS),
        np.eye(LOOKS, dtype=np.float32),
        np.full((count, parts), 0.5, np.float32),
        np.full((count, parts), -0.25, np.float32),
    )


@pytest.mark.parametrize("count", [1, MOST_CONDITIONS])
def test_they_come_back_from_their_arrays(count: int) -> None:
    found = ToneCurves.from_arrays(tones(count, 3).arrays(), 3)
    assert len(found) == count
    for name, array in tones(count, 3).arrays().items():
        assert np.array_equal(getattr(found, name), array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curves": np.zeros((0, 256, 3), np.uint8)}, "0 conditions"),
        ({"curves": np.zeros((MOST_CONDITIONS + 1, 256, 3), np.uint8)}, "5 conditions"),
        ({"curves": np.zeros((), np.uint8)}, "0 conditions"),
        ({"curves": np.zeros((2, 256, 1), np.uint8)}, "curves is uint8"),
        ({"curves": np.zeros((2, 256, 3), np.int16)}, "curves is int16"),
        ({"centre": np.zeros((2, LOOKS), np.float32)}, "centre is float32"),
        ({"centre": np.full((3, LOOKS), np.nan, np.float32)}, "centre holds what is no number"),
        ({"precision": np.full((LOOKS, LOOKS), 1e30, np.float32)}, "precision holds what is no number, or too large"),
        ({"gain": np.zeros((2, 1), np.float32)}, "a gain is not above 0"),
        ({"gain": np.ones((2, 3), np.float32)}, "gain is float32"),
        ({"offset": np.full((2, 1), np.inf, np.float32)}, "offset holds what is no number"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ToneCurves.from_arrays({**tones().arrays(), **change}, 1)


def test_a_bundle_brings_them_and_looks_through_them(tiny_bundle: Path, tmp_path: Path) -> None:
    plain = Bundle.open(tiny_bundle)
    assert plain.tones() is None
    made = rewrite(plain, tmp_path / "toned", tones=tones())
    found = made.tones()
    assert found is not None
    assert np.array_equal(found.centre, tones().centre)
    buffer = io.BytesIO()
    np.savez(buffer, **{**tones().arrays(), "gain": np.zeros((2, 1), np.float32)})
    with pytest.raises(BundleError, match=r"tone curves cannot be used \(a gain is not above 0\)"):
        rewrite(plain, tmp_path / "broken", extra={"tones.npz": buffer.getvalue()})
    assert not (tmp_path / "broken").exists()
