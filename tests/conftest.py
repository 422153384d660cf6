"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgevad.spec import InputSpec, MotionSpec


def pytest_configure(config: pytest.Config) -> None:
    """Before anything imports torch: a second thread makes tiny networks slower, on busy cores many times so."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _no_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever is active or trusted on the developer's own machine does not matter to a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEVAD_HOME", str(tmp_path_factory.mktemp("no-home") / "home"))
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real recordings, or a skip with the reason."""
    root = Path(os.environ.get("EDGEVAD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real recordings not found at {root}; set EDGEVAD_DATA")
    return root


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a real graph of a few nodes, 32x32, no motion (see tiny.py). Copy it before changing it."""
    from tiny import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", InputSpec(32, 32)).path


@pytest.fixture(scope="session")
def tiny_motion_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `tiny_bundle`, with the frame difference over 100 ms as motion input."""
    from tiny import write_tiny_bundle

    spec = InputSpec(32, 32, MotionSpec("difference", (100,)))
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "motion-bundle", spec).path


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 frames at 10 Hz, 64x48 px; something white stands in frames 60 to 79."""
    from tiny import write_tiny_video

    return write_tiny_video(tmp_path_factory.mktemp("tiny") / "drive.mp4", 120, anomalies=range(60, 80))


@pytest.fixture
def edgevad_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for bundle slots."""
    home = tmp_path / "home"
    monkeypatch.setenv("EDGEVAD_HOME", str(home))
    return home


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real file system of one megabyte, or of what the test's marker says: `@pytest.mark.disk("4m")`."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    marker = request.node.get_closest_marker("disk")
    size = f"size={'1m' if marker is None else marker.args[0]}"
    done = subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch, edgevad_home: Path) -> Iterator[Any]:
    """A machine with a GPU and TensorRT 10.3, both of them made of numpy (see fake_gpu/), and an empty home.

    In this process and in those it starts `tensorrt` and `pycuda` are the fakes; looking for the machine is not done.
    """
    from fake_gpu.cuda import GPU, Library
    from fake_gpu.obtain import ORIN

    tests = Path(__file__).parent
    site = tests / "fake_gpu" / "site"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (site, tests))))
    for name in [name for name in os.environ if name.startswith("FAKE_TENSORRT")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EDGEVAD_DLA_CORE", raising=False)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr("edgevad.runtime.engines.cuda_driver._load", lambda: Library(GPU))
    monkeypatch.setattr("edgevad.runtime.engines.obtaining.find_machine", lambda: ORIN)
    GPU.reset()
    fakes = ("tensorrt", "pycuda", "pycuda.driver", "fake_gpu.pycuda_driver")
    for name in fakes:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield GPU
    for name in fakes:
        sys.modules.pop(name, None)


@pytest.fixture
def current_context(fake_gpu: Any) -> Iterator[None]:
    """A CUDA context of the fake GPU in the test's own thread."""
    fake_gpu.push(object())
    yield
    fake_gpu.pop()


@pytest.fixture(scope="session")
def trained_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model folder with its drive beside it (see trained.py). Copy it before changing it.

    The same weights are exported to ONNX once: torch takes seconds for that.
    """
    from trained import export_once, write_trained

    with pytest.MonkeyPatch.context() as patch:
        export_once(patch)
        yield write_trained(tmp_path_factory.mktemp("trained"))
