from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.bundle import Bundle
from edgevad.errors import BackendError, OptionError
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.spec import InputSpec, MotionSpec


def test_it_computes_the_graph_for_any_number_of_frames(tiny_bundle: Path) -> None:
    backend = OnnxRuntimeBackend(tiny_bundle / "model.onnx", InputSpec(32, 32))
    frames = np.full((3, 32, 32, 3), 102, np.uint8)  # the graph's normal gray level, 0.4
    frames[1, 8:16, 8:16] = 255

    scores = backend.score(frames, None)

    assert scores.score == pytest.approx([0.0, 0.36, 0.0], abs=1e-6)
    assert scores.heatmap.shape == (3, 7, 7)
    assert np.unravel_index(scores.heatmap[1].argmax(), (7, 7)) == (2, 2)
    assert scores.latent.shape == (3, 3)
    assert {a.dtype for a in (scores.score, scores.heatmap, scores.latent)} == {np.dtype(np.float32)}


def test_motion_is_asked_for_where_the_graph_needs_it(tiny_motion_bundle: Path) -> None:
    spec = Bundle.open(tiny_motion_bundle).manifest.input
    backend = OnnxRuntimeBackend(tiny_motion_bundle / "model.onnx", spec)
    frames = np.full((1, 32, 32, 3), 102, np.uint8)
    motion = np.full((1, 32, 32, 1), 51, np.float32)
    assert backend.score(frames, motion).score == pytest.approx([0.2], abs=1e-6)
    with pytest.raises(BackendError, match="needs motion"):
        backend.score(frames, None)


def test_a_file_that_is_no_graph_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(BackendError, match=r"model\.onnx: ONNX Runtime .* refuses the graph") as caught:
        OnnxRuntimeBackend(tmp_path / "model.onnx", InputSpec(32, 32))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spec", [InputSpec(32, 64), InputSpec(32, 32, MotionSpec("difference"))])
def test_a_graph_of_another_contract_is_refused(tiny_bundle: Path, spec: InputSpec) -> None:
    with pytest.raises(BackendError, match="the graph's inputs are"):
        OnnxRuntimeBackend(tiny_bundle / "model.onnx", spec)


def test_failures_while_scoring_are_ours(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backend = OnnxRuntimeBackend(tiny_bundle / "model.onnx", InputSpec(32, 32))
    with pytest.raises(BackendError, match="failed while scoring"):
        backend.score(np.zeros((1, 16, 16, 3), np.uint8), None)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.score(np.zeros((1, 32, 32, 3), np.uint8), None)
    assert capfd.readouterr() == ("", "")


def test_threads_below_one_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(OptionError, match="0 threads"):
        OnnxRuntimeBackend(tiny_bundle / "model.onnx", InputSpec(32, 32), threads=0)


def test_more_threads_than_a_machine_bears_are_refused_before_one_is_started(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a session was made")

    monkeypatch.setattr("onnxruntime.InferenceSession", never)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(OptionError, match="9 threads; expected 1 to 8 on this machine"):
        OnnxRuntimeBackend(tiny_bundle / "model.onnx", InputSpec(32, 32), threads=9)
