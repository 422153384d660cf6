"""That benchmarks.method judges each protocol on the frames it says; its figures are not for a test."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import benchmarks.method as method
from benchmarks._recordings import LabelledCache
from benchmarks.method import WHOLE_LAST, as_markdown, losses_as_markdown, measure
from edgevad.evaluation.labels import ANOMALY, NORMAL
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.trainer import TrainConfig

FRAMES, CUT = 500, 300


def frame_number(fit: LabelledCache, test: LabelledCache) -> npt.NDArray[np.floating]:
    """Falls with time over the first 60 %, rises over the rest, when it is fitted on all of it; else all the same."""
    return np.abs(test.index - CUT).astype(np.float64) if len(fit) == FRAMES else np.ones(len(test))


@pytest.fixture
def recording() -> LabelledCache:
    """50 s at 10 Hz; the first and the last 5 s are anomalous."""
    images = np.random.default_rng(0).integers(0, 256, (FRAMES, 16, 16, 3), dtype=np.uint8)
    level = np.full(FRAMES, NORMAL, np.int8)
    level[:50] = level[-50:] = ANOMALY
    times = np.arange(FRAMES, dtype=np.int64) * 100_000_000
    motion = np.zeros((FRAMES, 16, 16, 1), np.float16)
    cache = FrameCache(images, motion, times, np.zeros(FRAMES, np.int32), 0)
    return LabelledCache("synthetic", cache, level, ("",) * FRAMES, np.arange(FRAMES))


def by_protocol(results: list[dict[str, Any]], row: str) -> dict[str, dict[str, Any]]:
    return {one["protocol"]: one for one in results if one["row"] == row}


def test_a_baseline_fitted_whole_is_also_judged_on_the_frames_of_the_stream(
    recording: LabelledCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "BASELINES", {"frame number": frame_number})
    found = by_protocol(list(measure(recording, ["baselines"], 1)), "frame number")
    assert list(found) == ["whole", WHOLE_LAST, "stream"]
    # Over all frames a normal one of 300 frames before the cut outranks the anomalies at the end.
    assert found["whole"]["frame"] < 0.95
    assert found[WHOLE_LAST]["frame"] == 1.0
    assert found["stream"]["frame"] == 0.5
    assert [one["events"] for one in found.values()] == [2, 1, 1]


def test_a_network_fitted_whole_is_also_judged_on_the_frames_of_the_stream(
    recording: LabelledCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ModelConfig(motion="none", size_px=16, width=2, depth=2, latent=4, cell_px=4)
    training = TrainConfig(batch_size=10, device="cpu", round_steps=3, max_rounds=5)
    monkeypatch.setattr(method, "_recipe", lambda *_: (tiny, training))
    results = list(measure(recording, ["ours"], 1))
    found = by_protocol(results, "ours")
    assert sorted(found) == ["runtime", "stream", "whole", WHOLE_LAST]
    assert {key: one["events"] for key, one in found.items()} == {"runtime": 2, "stream": 1, "whole": 2, WHOLE_LAST: 1}
    assert found["whole"]["auroc"] != found[WHOLE_LAST]["auroc"]
    assert set(by_protocol(results, "ours: view alone")) == set(found)
    assert f"| synthetic | {WHOLE_LAST} | ours |" in as_markdown(results)


def result(protocol: str, seed: int, auroc: float) -> dict[str, Any]:
    return {"set": "a set", "row": "ours", "protocol": protocol, "seed": seed, "auroc": auroc}


def test_losses_are_of_means_over_seeds_against_all_frames_and_against_the_same() -> None:
    results = [
        result(protocol, seed, auroc)
        for protocol, pair in {"whole": (0.95, 0.97), WHOLE_LAST: (0.90, 0.92), "stream": (0.88, 0.94)}.items()
        for seed, auroc in enumerate(pair)
    ]
    assert "| a set | ours | 0.960 | 0.910 | 0.910 | +5.0 | +0.0 |" in losses_as_markdown(results)
    assert losses_as_markdown(results[:4]) == ""
