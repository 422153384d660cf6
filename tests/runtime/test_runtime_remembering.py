"""The small graph that tells what the bank keeps of a frame, and banks that change while an engine runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgevad.bundle import Bundle
from edgevad.errors import BackendError
from edgevad.export import bundle_for_target
from edgevad.export.options import ExportOptions
from edgevad.model.folder import ModelFolder
from edgevad.model.scorer import load_module, scorer_from_model
from edgevad.runtime.backends.opening import open_backend
from edgevad.runtime.remembering import Rememberer, bank_entries
from edgevad.spec import EXCLUDED
from edgevad.targets import load_target


@pytest.fixture(scope="module")
def bundle(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("remembering") / "bundle"
    return bundle_for_target(trained_model, load_target("cpu"), out, options=ExportOptions(precision="fp32"))


def test_coordinates_are_those_that_the_bank_was_made_of(bundle: Bundle, trained_model: Path) -> None:
    module = load_module(ModelFolder(trained_model))
    replay = bundle.replay()
    rememberer = Rememberer.of(bundle)
    assert replay is not None
    assert rememberer is not None
    assert module.memory is not None
    with torch.no_grad():
        x = module.representation(torch.from_numpy(replay.images), None)
        expected = module.memory.coordinates(x).numpy()
    assert np.abs(rememberer.coordinates(replay.images) - expected).max() < 1e-4 * np.abs(expected).max()
    assert rememberer.coordinates(replay.images[:0]).shape == (0, expected.shape[1])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_another_bank_counts_from_the_next_frame_on(bundle: Bundle, trained_model: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    engine = scorer_from_model(trained_model).backend if backend == "torch" else open_backend(bundle, backend)
    replay, bank = bundle.replay(), bundle.bank()
    assert replay is not None
    assert bank is not None
    frames = replay.images[:4]
    before = engine.score(frames, None).score
    nothing = bank_entries(bank[..., :-1], np.zeros(bank.shape[:2], np.bool_))
    engine.remember(nothing)
    nothing[:] = 0.0  # it was copied
    without = engine.score(frames, None).score
    assert (without[:, 2] > 0.9 * EXCLUDED**0.5).all()  # view: nothing is near
    assert without[:, 0] == pytest.approx(before[:, 0], rel=1e-4)  # residual does not look at the bank
    engine.remember(bank)
    assert engine.score(frames, None).score == pytest.approx(before, rel=1e-4)
    with pytest.raises(BackendError, match="bank"):
        engine.remember(bank[:, :1])
    engine.close()


def test_a_bundle_without_memory_has_nothing_to_remember_with(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert Rememberer.of(bundle) is None
    assert bundle.replay() is None
    engine = open_backend(bundle)
    with pytest.raises(BackendError, match="remembers nothing"):
        engine.remember(np.zeros((5, 1, 4), np.float32))
    engine.close()


def test_entries_carry_their_norm_and_padding_is_never_near() -> None:
    coordinates = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    entries = bank_entries(coordinates, np.array([True, False]))
    assert entries.tolist() == [[3.0, 4.0, 25.0], [0.0, 0.0, EXCLUDED]]
