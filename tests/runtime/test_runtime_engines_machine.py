from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_gpu as fakes
import pytest

from edgevad.errors import BackendError, EngineError, MissingExtraError
from edgevad.runtime.engines import machine as machine_module
from edgevad.runtime.engines.machine import Machine, driver_version, find_machine, has_driver, power_mode

L4T = "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64, DATE: Fri Sep 13 04:36:44 2024\n"
OPEN_DRIVER = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain@mobile)\n"
    "GCC version:  collect2: error: ld returned 1 exit status\n"
)
DRIVER = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
    "GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)\n"
)


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(scope="session")
def libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a libcuda.so.1 that is none."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make a libcuda.so.1 of")
    folder = tmp_path_factory.mktemp("libcuda")
    source = Path(fakes.__file__).with_name("libcuda.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source], check=True)
    return folder


@pytest.fixture
def jetson(fake_gpu: Any, libcuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a machine that looks like a Jetson; processes started from here find its driver, TensorRT and pycuda."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libcuda))
    files = {"dev__nvhost-gpu": "", "etc__nv_tegra_release": L4T, "var__lib__nvpmodel__status": "pmode:0002"}
    return tree(tmp_path / "root", **files)


def test_everything_an_engine_depends_on_is_found(jetson: Path) -> None:
    assert find_machine(root=jetson) == Machine(
        gpu="Orin",
        compute_capability="8.7",
        is_integrated=True,
        driver="L4T 36.4.0",
        cuda="12.6",
        tensorrt="10.3.0",
        dla_cores=0,
        power_mode="2",
    )


def test_the_number_of_dla_cores_is_found(jetson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_DLA", "2")
    assert find_machine(root=jetson).dla_cores == 2


def test_without_a_driver_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.run", never)
    with pytest.raises(EngineError, match="there is no NVIDIA driver on this machine") as caught:
        find_machine(root=tmp_path)
    for part in ("(1) it has no NVIDIA GPU", "(2) the driver is not installed", "--runtime nvidia"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["dev/nvhost-gpu", "dev/nvidia0", "dev/nvidiactl", "dev/dxg"])
def test_a_device_file_is_a_sign_of_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not has_driver(tmp_path)
    tree(tmp_path, **{name.replace("/", "__"): ""})
    assert has_driver(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message", "causes"),
    [
        ({"FAKE_CUDA_INIT": "35"}, r"shows no GPU that can be used \(.*CUDA_ERROR_INSUFFICIENT_DRIVER", "usermod"),
        ({"FAKE_CUDA_COUNT": "0"}, "shows no GPU that can be used .*it shows no GPU", "CUDA_VISIBLE_DEVICES"),
        ({"FAKE_CUDA_CRASH": "1"}, "looking for the GPU ended with signal 11", "do not fit each other"),
        ({"FAKE_TENSORRT_IMPORT": "segfault"}, "looking for the TensorRT library ended with signal 11", "nvinfer"),
        ({"FAKE_TENSORRT_IMPORT": "library"}, r"TensorRT cannot be loaded .*libnvinfer\.so\.10", "stub"),
        ({"FAKE_TENSORRT": "8.5.3"}, "TensorRT 8.5.3 does not start .*too old", "older than 8.6"),
        ({"FAKE_TENSORRT_FAILS": "null"}, "does not start .*error: 35", "another CUDA than the driver runs (12.6)"),
    ],
)
def test_what_fails_over_there_is_one_line_here(
    jetson: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str, causes: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=message) as caught:
        find_machine(root=jetson)
    assert causes in str(caught.value)
    assert "(1)" in str(caught.value)
    assert "(2)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_hangs_over_there_is_ended(jetson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_IMPORT", "hang")
    with pytest.raises(EngineError, match="looking for the TensorRT library took longer than 4 s"):
        find_machine(root=jetson, limit_s=4.0)


def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let the processes started from here find the fakes without this one."""
    site = tmp_path / "site"
    shutil.copytree(Path(fakes.__file__).parent / "site", site)
    shutil.rmtree(site / package)
    tests = str(Path(fakes.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(site), tests)))


def test_without_tensorrt_the_causes_are_listed(jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden(tmp_path, monkeypatch, "tensorrt")
    with pytest.raises(EngineError, match="TensorRT is not installed for this Python") as caught:
        find_machine(root=jetson)
    for part in ("(1) on a Jetson it comes with JetPack", "(2) PyPI's package of that name may be a stub", "(3)"):
        assert part in str(caught.value)
    assert ("--system-site-packages" in str(caught.value)) is (sys.prefix != sys.base_prefix)


def test_without_pycuda_its_install_line_is_given(
    jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden(tmp_path, monkeypatch, "pycuda")
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[tensorrt\]'"):
        find_machine(root=jetson)


def test_a_pycuda_that_cannot_be_loaded_is_not_a_missing_one(
    jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden(tmp_path, monkeypatch, "pycuda")
    (tmp_path / "site" / "pycuda").mkdir()
    (tmp_path / "site" / "pycuda" / "__init__.py").touch()
    (tmp_path / "site" / "pycuda" / "driver.py").write_text("raise ImportError('libcurand.so.10: cannot open')")
    with pytest.raises(BackendError, match=r"pycuda cannot be loaded .*libcurand") as caught:
        find_machine(root=jetson)
    assert "--no-binary" in str(caught.value)


def test_nothing_is_imported_from_the_working_folder(
    jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert find_machine(root=jetson).gpu == "Orin"


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"proc__driver__nvidia__version": DRIVER}, "550.54.14"),
        ({"proc__driver__nvidia__version": OPEN_DRIVER, "etc__nv_tegra_release": L4T}, "540.4.0"),
        ({"sys__module__nvidia__version": "580.10\n"}, "580.10"),
        ({"etc__nv_tegra_release": L4T}, "L4T 36.4.0"),
        ({}, None),
    ],
)
def test_version_of_the_driver(tmp_path: Path, files: dict[str, str], version: str | None) -> None:
    assert driver_version(tree(tmp_path, **files)) == version


@pytest.mark.parametrize(
    ("text", "mode"), [("pmode:0000", "0"), ("pmode:0002 fmode:quiet\n", "2"), ("pmode:0010", "10"), ("", "none")]
)
def test_power_mode(tmp_path: Path, text: str, mode: str) -> None:
    assert power_mode(tree(tmp_path, var__lib__nvpmodel__status=text)) == mode


def test_a_machine_without_a_power_mode_has_none(tmp_path: Path) -> None:
    assert power_mode(tmp_path) == "none"
    assert machine_module.PROBE_LIMIT_S >= 60
