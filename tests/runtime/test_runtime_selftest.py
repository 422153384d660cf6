from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import edit_manifest, put_file

from edgevad.bundle import Bundle
from edgevad.errors import BundleError, OptionError
from edgevad.runtime.backends import Backend, Scores
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.selftest import QUICK_FRAMES, prove, self_test


class Engine:
    """Gives the scores it is told to, and remembers how many frames it was asked for at a time."""

    def __init__(self, score: np.ndarray, batch: int | None = None) -> None:
        self.batch = batch
        self.asked: list[int] = []
        self._score = score.astype(np.float32)

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        start = sum(self.asked)
        self.asked.append(len(frames))
        rows = np.minimum(np.arange(start, start + len(frames)), len(self._score) - 1)
        return Scores(
            self._score[rows], np.ones((len(frames), 1, 2, 2), np.float32), np.ones((len(frames), 3), np.float32)
        )

    def close(self) -> None:
        pass


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture
def wrong(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose self-test expects 1 % more of its third frame than the graph gives."""
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "wrong"))
    arrays = Bundle.open(copy).selftest()
    arrays["score"][2] *= np.float32(1.01)
    np.savez(tmp_path / "selftest.npz", **arrays)
    put_file(copy, "selftest.npz", (tmp_path / "selftest.npz").read_bytes())
    return copy


@pytest.mark.parametrize("fixture", ["tiny_bundle", "tiny_motion_bundle"])
def test_it_passes_where_the_bundle_was_made(fixture: str, request: pytest.FixtureRequest) -> None:
    assert self_test(Bundle.open(request.getfixturevalue(fixture))) < 1e-5


def test_a_score_that_deviates_is_one_clear_error(wrong: Path) -> None:
    message = r"selftest\.npz: self-test frame 2 scores [\d.e-]+ \(patch\) on this machine; expected .* within 0\.001"
    for use in (lambda: self_test(Bundle.open(wrong)), lambda: Scorer.from_bundle(wrong)):
        with pytest.raises(BundleError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_the_manifest_says_how_far_it_may_deviate(wrong: Path) -> None:
    edit_manifest(wrong, selftest_rtol=0.02)
    assert self_test(Bundle.open(wrong)) == pytest.approx(0.0099, abs=2e-4)
    Scorer.from_bundle(wrong).close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_an_engine_that_gives_no_number_or_nothing_fails(bundle: Bundle, value: float) -> None:
    with pytest.raises(BundleError, match="on this machine"):
        prove(bundle, Engine(np.full((4, 1), value)))


def test_scores_of_another_shape_fail(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"scores of shape \(4, 2\); expected \(4, 1\)"):
        prove(bundle, Engine(np.ones((4, 2))))


def test_it_asks_as_the_engine_wants_to_be_asked(bundle: Bundle) -> None:
    expected = bundle.selftest()["score"]
    for batch, frames, asked in ((None, None, [1] * 4), (1, 2, [1, 1]), (3, None, [3, 3]), (8, None, [8])):
        engine: Backend = Engine(expected, batch)
        assert prove(bundle, engine, frames=frames) == 0.0
        assert engine.asked == asked  # type: ignore[attr-defined]


def test_what_is_nothing_everywhere_may_be_rounded(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {**bundle.selftest(), "score": np.zeros((4, 1), np.float32)}
    monkeypatch.setattr(Bundle, "selftest", lambda _: arrays)
    assert prove(bundle, Engine(np.full((4, 1), 2e-7))) < 1e-3
    with pytest.raises(BundleError, match="on this machine"):
        prove(bundle, Engine(np.full((4, 1), 2e-6)))


def test_a_bundle_proves_itself_whenever_it_is_opened_and_once_while_it_is(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    score = OnnxRuntimeBackend.score
    monkeypatch.setattr(OnnxRuntimeBackend, "score", lambda *a: asked.append(len(a[1])) or score(*a))  # type: ignore[func-returns-value]

    def frames(path: Path | Bundle) -> int:
        asked.clear()
        Scorer.from_bundle(path).close()
        return sum(asked)

    assert frames(tiny_bundle) == frames(tiny_bundle) == QUICK_FRAMES
    opened = Bundle.open(tiny_bundle)
    assert frames(opened) == QUICK_FRAMES
    assert frames(opened) == 0
    tested = Bundle.open(tiny_bundle)
    self_test(tested)
    assert frames(tested) == 0
    # Another object knows nothing of it, equal as it may be: it may have been read at another time.
    assert frames(Bundle.open(tiny_bundle)) == QUICK_FRAMES


def test_a_failed_proof_is_not_taken_for_one(wrong: Path) -> None:
    opened = Bundle.open(wrong)
    for _ in range(2):
        with pytest.raises(BundleError, match="self-test frame 2"):
            Scorer.from_bundle(opened)
        with pytest.raises(BundleError, match="self-test frame 2"):
            self_test(opened)
    assert opened.proved == set()


def test_the_engine_of_a_failed_proof_is_closed(wrong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    monkeypatch.setattr(OnnxRuntimeBackend, "close", lambda engine: closed.append(engine))
    with pytest.raises(BundleError, match="self-test"):
        Scorer.from_bundle(wrong)
    with pytest.raises(BundleError, match="self-test"):
        self_test(Bundle.open(wrong))
    assert len(closed) == 2


def test_no_such_backend(bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="unknown backend 'abacus'"):
        self_test(bundle, backend="abacus")
