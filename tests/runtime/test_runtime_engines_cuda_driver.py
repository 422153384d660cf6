from __future__ import annotations

from typing import Any

import pytest
from fake_gpu.cuda import Stream

from edgevad.runtime.engines import cuda_driver
from edgevad.runtime.engines.cuda_driver import CudaDriver, CudaDriverError


def test_without_the_library_there_is_one_kind_of_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-that-nobody-has.so.1")
    with pytest.raises(CudaDriverError, match="libcuda-that-nobody-has"):
        CudaDriver()


@pytest.mark.usefixtures("current_context")
def test_a_graph_does_again_what_was_captured(fake_gpu: Any) -> None:
    stream, done = Stream(fake_gpu), []
    graph = CudaDriver().capture(stream.handle, lambda: stream.put(lambda: done.append(1)))
    stream.synchronize()
    assert done == []  # capturing runs nothing
    for _ in range(2):
        graph.launch(stream.handle)
        stream.synchronize()
    assert done == [1, 1]
    graph.close()
    graph.close()
    assert fake_gpu.graphs == 0


@pytest.mark.usefixtures("current_context")
def test_a_stream_that_cannot_be_captured_is_named(fake_gpu: Any) -> None:
    fake_gpu.can_capture = False
    with pytest.raises(CudaDriverError, match="cuStreamBeginCapture_v2: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        CudaDriver().capture(Stream(fake_gpu).handle, lambda: None)


@pytest.mark.usefixtures("current_context")
def test_what_fails_while_it_is_captured_leaves_the_stream_usable(fake_gpu: Any) -> None:
    stream, done = Stream(fake_gpu), []

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        CudaDriver().capture(stream.handle, fails)
    stream.put(lambda: done.append(1))
    stream.synchronize()
    assert done == [1]


@pytest.mark.usefixtures("current_context")
def test_an_old_driver_is_said_to_be_old(fake_gpu: Any) -> None:
    driver = CudaDriver()
    del driver._library.cuGraphInstantiateWithFlags
    with pytest.raises(CudaDriverError, match=r"older than CUDA 11\.4"):
        driver.capture(Stream(fake_gpu).handle, lambda: None)


def test_every_function_is_declared_as_the_driver_has_it() -> None:
    """Names as CUDA's own Python package resolves them (cuda-bindings 13.5, cuda/bindings/_internal/driver)."""
    assert set(cuda_driver._SIGNATURES) == {
        "cuDeviceGet",
        "cuDeviceGetAttribute",
        "cuDeviceGetCount",
        "cuDeviceGetName",
        "cuDriverGetVersion",
        "cuGetErrorName",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuInit",
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
    }
