from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu.bundles import BANK, static_graph
from fake_gpu.tensorrt import make

from edgevad.errors import BackendError, EngineError
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.runtime.backends.tensorrt import TensorRtBackend
from edgevad.runtime.engines.options import EngineOptions
from edgevad.runtime.engines.tensorrt_api import TensorRtApi
from edgevad.spec import InputSpec, MotionSpec

WHERE = Path("engines/key")
PLAIN = InputSpec(32, 32)
FULL = InputSpec(32, 32, MotionSpec("difference", (100, 200)), BANK)
MEMORY = np.linspace(0, 1, 40, dtype=np.float32).reshape(BANK)


def engine_for(spec: InputSpec, *, batch: int = 1, version: str = "10.3.0") -> bytes:
    return TensorRtApi(make(version)).build(static_graph(spec, batch=batch), EngineOptions())[0]


def opened(spec: InputSpec = FULL, *, batch: int = 1, version: str = "10.3.0", **more: Any) -> TensorRtBackend:
    bank = MEMORY if spec.bank is not None else None
    return TensorRtBackend(engine_for(spec, batch=batch, version=version), spec, where=WHERE, bank=bank, **more)


def inputs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return frames, rng.random((count, 32, 32, 2), dtype=np.float32) * 50


def assert_same(backend: TensorRtBackend, spec: InputSpec, batch: int) -> None:
    reference = OnnxRuntimeBackend(
        static_graph(spec, batch=batch), spec, where=WHERE, bank=MEMORY if spec.bank else None
    )
    for seed in range(4):
        frames, motion = inputs(batch, seed)
        given = motion if spec.motion is not None else None
        found, wanted = backend.score(frames, given), reference.score(frames, given)
        for one, other in ((found.score, wanted.score), (found.heatmap, wanted.heatmap), (found.latent, wanted.latent)):
            assert one.dtype == np.float32
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("version", ["8.6.0", "10.3.0", "10.13.3.9", "11.4.0.106"])
@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_scores_are_those_of_onnx_runtime(
    fake_gpu: Any, monkeypatch: pytest.MonkeyPatch, version: str, integrated: bool, graph: bool
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", version)
    fake_gpu.reset(integrated=integrated)
    fake_gpu.can_capture = graph
    backend = opened(FULL, batch=2, version=version)
    assert backend.uses_cuda_graph is graph
    assert backend.batch == 2
    assert_same(backend, FULL, 2)
    backend.close()
    assert fake_gpu.graphs == 0


def test_every_cuda_call_is_made_in_one_thread(fake_gpu: Any) -> None:
    backend = opened()
    callers = [threading.Thread(target=backend.score, args=inputs(1, k)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    backend.close()
    assert len(fake_gpu.threads) == 1
    assert threading.get_ident() not in fake_gpu.threads
    assert not any(fake_gpu.contexts.values())  # off the stack of the thread that had it


def test_a_discrete_gpu_gets_copies_and_an_integrated_one_reads_where_they_are(fake_gpu: Any) -> None:
    for integrated, up, down in ((False, 2, 3), (True, 0, 0)):
        fake_gpu.reset(integrated=integrated)
        backend = opened(cuda_graph=False)
        fake_gpu.calls.clear()
        backend.score(*inputs(1))
        assert fake_gpu.calls.count("cuMemcpyHtoDAsync") == up
        assert fake_gpu.calls.count("cuMemcpyDtoHAsync") == down
        backend.close()


@pytest.mark.parametrize("integrated", [False, True])
def test_the_bank_is_uploaded_once(fake_gpu: Any, integrated: bool) -> None:
    fake_gpu.reset(integrated=integrated)
    backend = opened(InputSpec(32, 32, bank=BANK), cuda_graph=False)
    assert fake_gpu.calls.count("cuMemcpyHtoDAsync") == (1 if integrated else 2)  # and the first run's frames
    frames, _ = inputs(1)
    backend.score(frames, None)
    assert fake_gpu.calls.count("cuMemcpyHtoDAsync") == (1 if integrated else 3)
    backend.close()


def test_an_inference_is_one_launch_where_a_graph_was_captured(fake_gpu: Any) -> None:
    backend = opened()
    fake_gpu.calls.clear()
    backend.score(*inputs(1))
    assert fake_gpu.calls == ["cuGraphLaunch", "cuStreamSynchronize"]
    backend.close()


def test_without_a_graph_there_is_a_line_in_the_log(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake_gpu.can_capture = False
    with caplog.at_level(logging.INFO, "edgevad"):
        backend = opened()
    assert [r.levelname for r in caplog.records] == ["INFO"]
    assert "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" in caplog.text
    backend.close()


def test_a_graph_that_gives_other_scores_is_not_used(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake_gpu.graph_is_wrong = True
    backend = opened()
    assert backend.uses_cuda_graph is False
    assert "gives other scores" in caplog.text
    assert fake_gpu.graphs == 0
    assert_same(backend, FULL, 1)
    backend.close()


def test_fewer_frames_than_the_batch_are_filled_up(fake_gpu: Any) -> None:
    backend = opened(batch=4)
    frames, motion = inputs(4)
    whole = backend.score(frames, motion)
    part = backend.score(frames[:3], motion[:3])
    assert (part.score.shape, part.heatmap.shape, part.latent.shape) == ((3, 1), (3, 1, 7, 7), (3, 3))
    np.testing.assert_array_equal(part.score, whole.score[:3])
    backend.close()


def test_results_are_not_the_buffers_of_the_next_inference(fake_gpu: Any) -> None:
    backend = opened()
    first = backend.score(*inputs(1, 0))
    kept = first.score.copy(), first.heatmap.copy()
    backend.score(*inputs(1, 1))
    np.testing.assert_array_equal(first.score, kept[0])
    np.testing.assert_array_equal(first.heatmap, kept[1])
    backend.close()


@pytest.mark.parametrize(
    ("frames", "motion", "message"),
    [
        (np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 32, 32, 2), np.float32), r"frames is uint8 of shape \(1, 16"),
        (
            np.zeros((2, 32, 32, 3), np.uint8),
            np.zeros((2, 32, 32, 2), np.float32),
            r"uint8 of shape \(1 to 1,",
        ),
        (np.zeros((0, 32, 32, 3), np.uint8), np.zeros((0, 32, 32, 2), np.float32), r"frames is uint8 of shape \(0,"),
        (np.zeros((1, 32, 32, 3), np.float32), np.zeros((1, 32, 32, 2), np.float32), "frames is float32"),
        (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32, 1), np.float32), "motion is float32"),
        (np.zeros((1, 32, 32, 3), np.uint8), None, "needs motion and was given none"),
    ],
)
def test_frames_that_do_not_fit_are_refused_and_harm_nothing(
    fake_gpu: Any, frames: np.ndarray, motion: np.ndarray | None, message: str
) -> None:
    backend = opened()
    with pytest.raises(BackendError, match=message) as caught:
        backend.score(frames, motion)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert_same(backend, FULL, 1)
    backend.close()


@pytest.mark.parametrize(
    ("call", "text", "fix"),
    [
        ("cuMemAlloc", "out of memory", "The GPU's memory is full"),
        ("cuMemHostAlloc", "out of memory", "The GPU's memory is full"),
        ("cuStreamCreate", "unknown error", "start edgevad again"),
        ("enqueueV3", "an illegal memory access was encountered", "start edgevad again"),
        ("cuStreamSynchronize", "unspecified launch failure", "start edgevad again"),
    ],
)
def test_what_fails_while_it_is_made_ready_is_one_line_and_released(
    fake_gpu: Any, call: str, text: str, fix: str
) -> None:
    released: list[bool] = []
    fake_gpu.fail[call] = text
    with pytest.raises(BackendError, match=f"could not be made ready .{call} failed: {text}") as caught:
        opened(released=lambda: released.append(True))
    assert fix in str(caught.value)
    assert released == [True]
    assert not any(thread.name == "edgevad-tensorrt" for thread in threading.enumerate())
    assert not any(fake_gpu.contexts.values())


def test_a_context_that_cannot_be_made_says_what_tensorrt_said(fake_gpu: Any) -> None:
    fake_gpu.fail["createExecutionContext"] = "out of memory"
    with pytest.raises(EngineError, match=r"engines/key: TensorRT 10\.3\.0 could not make .*out of memory"):
        opened()


def test_after_an_error_of_the_gpu_nothing_is_scored_any_more(fake_gpu: Any) -> None:
    backend = opened()
    fake_gpu.fail["cuStreamSynchronize"] = "unspecified launch failure"
    with pytest.raises(BackendError, match=r"failed while scoring .*unspecified launch failure.*Xid"):
        backend.score(*inputs(1))
    with pytest.raises(BackendError, match=r"the engine failed before .*unspecified launch failure"):
        backend.score(*inputs(1))
    backend.close()


def test_what_fails_while_it_is_released_is_told_and_the_thread_ends(fake_gpu: Any) -> None:
    released: list[bool] = []
    backend = opened(released=lambda: released.append(True))
    fake_gpu.fail["cuMemFree"] = "an illegal memory access was encountered"
    with pytest.raises(BackendError, match="failed while it was released"):
        backend.close()
    backend.close()
    assert released == [True]
    assert not any(thread.name == "edgevad-tensorrt" for thread in threading.enumerate())


def test_closed_is_closed(fake_gpu: Any) -> None:
    released: list[bool] = []
    backend = opened(released=lambda: released.append(True))
    backend.close()
    backend.close()
    assert released == [True]
    assert fake_gpu.memory.keys() == set()
    with pytest.raises(BackendError, match="the backend is closed"):
        backend.score(*inputs(1))


def test_a_close_from_another_thread_waits_for_what_is_scored(fake_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = opened()
    started = threading.Event()
    session = backend._session
    assert session is not None
    run = session._run
    results: list[Any] = []

    def slow() -> None:
        started.set()
        time.sleep(0.2)
        run()

    monkeypatch.setattr(session, "_run", slow)
    caller = threading.Thread(target=lambda: results.append(backend.score(*inputs(1))))
    caller.start()
    started.wait()
    backend.close()
    caller.join()
    assert results[0].score.shape == (1, 1)


@pytest.mark.parametrize(
    ("graph_spec", "spec", "side"),
    [
        (PLAIN, InputSpec(32, 64), "inputs"),
        (PLAIN, InputSpec(32, 32, MotionSpec("difference")), "inputs"),
        (FULL, InputSpec(32, 32, MotionSpec("difference", (100, 200))), "inputs"),
    ],
)
def test_an_engine_of_another_contract_is_refused(
    fake_gpu: Any, graph_spec: InputSpec, spec: InputSpec, side: str
) -> None:
    with pytest.raises(BackendError, match=f"the engine's {side} are"):
        TensorRtBackend(engine_for(graph_spec), spec, where=WHERE)


@pytest.mark.parametrize("bank", [None, np.zeros((5, 2, 3), np.float32)])
def test_a_missing_bank_or_one_of_another_shape_is_refused(fake_gpu: Any, bank: np.ndarray | None) -> None:
    with pytest.raises(BackendError, match=r"a bank of shape .*; expected \(5, 2, 4\)"):
        TensorRtBackend(engine_for(FULL), FULL, where=WHERE, bank=bank)


def test_memory_is_counted(fake_gpu: Any) -> None:
    backend = opened(PLAIN)
    assert backend.memory_bytes == (1 << 20) + 32 * 32 * 3 + 4 * (1 + 49 + 3)
    backend.close()
