from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from edgevad.errors import MissingExtraError
from edgevad.runtime.backends.pycuda_memory import PycudaMemory

# What we use of pycuda.driver; all of it is in pycuda's src/wrapper/wrap_cudadrv.cpp (2025.1) under these names.
USED = {
    "init",
    "Device",
    "Stream",
    "Event",
    "mem_alloc",
    "pagelocked_empty",
    "memcpy_htod_async",
    "memcpy_dtoh_async",
    "device_attribute",
    "host_alloc_flags",
}


def test_copies_go_there_and_back(fake_gpu: Any) -> None:
    memory = PycudaMemory()
    stream = memory.stream()
    there = memory.pinned((2, 3), np.dtype(np.float32), mapped=False)
    back = memory.pinned((2, 3), np.dtype(np.float32), mapped=False)
    assert there.address is None
    address = memory.allocate(24)
    there.host[...] = np.arange(6).reshape(2, 3)
    memory.copy_to_device(address, there.host, stream)
    memory.copy_to_host(back.host, address, stream)
    assert not back.host.any()  # not before somebody waits
    stream.synchronize()
    np.testing.assert_array_equal(back.host, there.host)
    memory.close()
    memory.close()
    assert fake_gpu.memory == {}
    assert not any(fake_gpu.contexts.values())


def test_mapped_memory_is_seen_as_it_is(fake_gpu: Any) -> None:
    fake_gpu.reset(integrated=True)
    memory = PycudaMemory()
    assert memory.is_integrated
    mapped = memory.pinned((4,), np.dtype(np.uint8), mapped=True)
    mapped.host[:] = 7
    assert mapped.address is not None
    assert fake_gpu.at(mapped.address, 4).tolist() == [7] * 4
    memory.close()


def test_time_between_two_marks(fake_gpu: Any) -> None:
    memory = PycudaMemory()
    stream, first, last = memory.stream(), memory.event(), memory.event()
    first.record(stream)
    last.record(stream)
    stream.synchronize()
    assert first.time_till(last) >= 0
    memory.close()


def test_the_context_is_left_where_asking_for_the_device_fails(fake_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import pycuda.driver as cuda

    def fails(self: object, attribute: int) -> int:
        raise cuda.Error("cuDeviceGetAttribute failed")

    monkeypatch.setattr(cuda.Device, "get_attribute", fails)
    with pytest.raises(cuda.Error):
        PycudaMemory()
    assert not any(fake_gpu.contexts.values())


def test_without_pycuda_its_install_line_is_given(fake_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[tensorrt\]'"):
        PycudaMemory()


def test_the_fake_has_what_we_use(fake_gpu: Any) -> None:
    import pycuda.driver as cuda

    assert set(dir(cuda)) >= USED
