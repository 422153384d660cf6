from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevad.refit.ranking import auroc, resampled, weighted_auroc


@settings(deadline=None)  # its first call imports scikit-learn
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
)
def test_auroc_is_scikit_learns(positive: list[int], negative: list[int]) -> None:
    from sklearn.metrics import roc_auc_score

    truth = [1] * len(positive) + [0] * len(negative)
    expected = roc_auc_score(truth, positive + negative)
    assert auroc(np.array(positive, float), np.array(negative, float)) == pytest.approx(expected)


def test_weights_count_as_copies() -> None:
    positive, negative = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    found = weighted_auroc(positive, negative, np.array([[2.0, 1.0]]), np.array([[1.0, 3.0]]))
    copies = auroc(np.array([1.0, 1.0, 3.0]), np.array([0.0, 2.0, 2.0, 2.0]))
    assert found[0] == pytest.approx(copies)


def test_what_is_no_number_ranks_last() -> None:
    assert auroc(np.array([np.nan, np.nan]), np.array([0.0, 1.0])) == 0.0


def test_clusters_are_drawn_whole() -> None:
    weights = resampled(np.array([0, 0, 1, 1, 1, 2]), 200, np.random.default_rng(0))
    assert weights.shape == (200, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all()
