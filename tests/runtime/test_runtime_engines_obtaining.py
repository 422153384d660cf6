from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from fake_gpu.bundles import write_engine_bundle
from fake_gpu.obtain import ORIN
from fake_gpu.tensorrt import engine_facts

from edgevad.bundle import Bundle
from edgevad.errors import EngineError, GraphError, OptionError, OutputError
from edgevad.runtime.engines.obtaining import (
    KEPT_ENGINES,
    ObtainedEngine,
    engine_cache,
    obtain_engine,
    wish_for,
)
from edgevad.runtime.engines.options import BuildStep, EngineOptions
from edgevad.spec import InputSpec

pytestmark = pytest.mark.usefixtures("fake_gpu")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_engine_bundle(tmp_path / "bundle")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gets a line for each build."""
    path = tmp_path / "builds"
    path.touch()
    monkeypatch.setenv("FAKE_TENSORRT_LOG", str(path))
    return path


def builds(log: Path) -> int:
    return len(log.read_text().splitlines())


def obtained(bundle: Bundle, **more: object) -> ObtainedEngine:
    engine = obtain_engine(wish_for(bundle), **more)  # type: ignore[arg-type]
    engine.release()
    return engine


def test_it_is_built_once_and_then_found(bundle: Bundle, log: Path) -> None:
    steps: list[BuildStep] = []
    first = obtained(bundle, progress=steps.append)
    assert (first.made, first.why) == ("built", "there is no engine of this bundle yet")
    assert any(step.phase == "Building Engine" for step in steps)
    second = obtained(bundle, progress=steps.append)
    assert (second.made, second.why, second.plan) == ("found", None, first.plan)
    assert builds(log) == 1
    assert first.entry is not None
    assert first.entry.facts.name == "tiny"
    assert first.entry.path.parent == engine_cache().folder


def test_it_is_built_as_the_bundle_says(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle", precision="fp16", workspace_mib=300)
    wish = wish_for(bundle)
    assert wish.options == EngineOptions("fp16", workspace_mib=300)
    assert (wish.digest, wish.graph) == (bundle.digest, bundle.graph("fp16"))
    assert engine_facts(obtained(bundle).plan)["workspace"] == 300 << 20


def test_a_bundle_for_another_engine_is_built_from_its_reference(tiny_bundle: Path) -> None:
    assert wish_for(Bundle.open(tiny_bundle)).options == EngineOptions("fp32")


def test_force_builds_again(bundle: Bundle, log: Path) -> None:
    obtained(bundle)
    again = obtained(bundle, force=True)
    assert (again.made, again.why) == ("built", "it was asked for")
    assert builds(log) == 2
    assert obtained(bundle).made == "found"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tensorrt": "10.13.3.9"}, "TensorRT was 10.3.0, is 10.13.3.9"),
        ({"driver": "L4T 36.4.3"}, "the driver was L4T 36.4.0, is L4T 36.4.3"),
        ({"gpu": "Thor", "compute_capability": "11.0"}, "the GPU was Fake Orin, is Thor; the compute capability was"),
        ({"power_mode": "2"}, "the power mode was none, is 2"),
    ],
)
def test_what_changed_is_said_when_it_is_built_again(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], why: str
) -> None:
    obtained(bundle)
    monkeypatch.setenv("FAKE_TENSORRT", change.get("tensorrt", "10.3.0"))
    again = obtained(bundle, machine=replace(ORIN, **change))
    assert again.made == "built"
    assert again.why is not None
    assert again.why.startswith(why)


def test_a_damaged_engine_is_built_again(bundle: Bundle, log: Path) -> None:
    first = obtained(bundle)
    assert first.entry is not None
    plan = first.entry.path / "engine.plan"
    plan.write_bytes(first.plan[:-5])
    again = obtained(bundle)
    assert again.made == "built"
    assert again.why is not None
    assert again.why.startswith("the engine in the cache is damaged (it has ")
    assert again.plan == plan.read_bytes()
    assert builds(log) == 2


def test_another_threshold_takes_the_same_engine(bundle: Bundle, tmp_path: Path, log: Path) -> None:
    obtained(bundle)
    recalibrated = write_engine_bundle(tmp_path / "other", alarms_per_hour=6.0)
    assert recalibrated.digest != bundle.digest
    taken = obtained(recalibrated)
    assert taken.made == "adopted"
    assert builds(log) == 1
    assert obtained(recalibrated).made == "found"


def test_other_weights_are_put_into_the_same_engine(bundle: Bundle, tmp_path: Path, log: Path) -> None:
    obtained(bundle)
    retrained = write_engine_bundle(tmp_path / "other", gray=0.5)
    steps: list[BuildStep] = []
    taken = obtained(retrained, progress=steps.append)
    assert taken.made == "refitted"
    assert engine_facts(taken.plan)["refitted"] is True
    assert taken.plan.endswith(retrained.graph())
    assert BuildStep("putting new weights into an earlier engine") in steps
    assert builds(log) == 1


def test_where_weights_cannot_be_put_in_it_is_built(
    bundle: Bundle, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtained(bundle)
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "refit")
    assert obtained(write_engine_bundle(tmp_path / "other", gray=0.5)).made == "built"
    assert builds(log) == 2


@pytest.mark.parametrize("version", ["8.6.0", "11.3.0.99"])
def test_old_tensorrt_builds_for_other_weights(
    bundle: Bundle, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", version)
    machine = replace(ORIN, tensorrt=version)
    obtained(bundle, machine=machine)
    other = obtained(write_engine_bundle(tmp_path / "other", gray=0.5), machine=machine)
    assert other.made == "built"
    assert builds(log) == 2


def test_engines_of_another_machine_are_neither_taken_nor_refitted(bundle: Bundle, tmp_path: Path, log: Path) -> None:
    obtained(bundle)
    other = write_engine_bundle(tmp_path / "other", alarms_per_hour=6.0)
    assert obtained(other, machine=replace(ORIN, driver="L4T 36.5.0")).made == "built"
    assert builds(log) == 2


def test_measurements_are_kept_between_builds(bundle: Bundle) -> None:
    assert engine_facts(obtained(bundle).plan)["timing"] == ""
    assert engine_facts(obtained(bundle, force=True).plan)["timing"] == "measured;"


def test_the_newest_engines_are_kept(tmp_path: Path) -> None:
    for k in range(KEPT_ENGINES + 3):
        obtained(write_engine_bundle(tmp_path / f"bundle{k}", InputSpec(32, 32 + 4 * k)))
    assert len(engine_cache().entries()) == KEPT_ENGINES + 1


def start(bundle: Bundle) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fake_gpu.obtain", str(bundle.path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_build_once(bundle: Bundle, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "2")
    processes = [start(bundle), start(bundle)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    last = sorted(output.splitlines()[-1].split()[0] for output in outputs)
    assert last == ["built", "found"]
    assert builds(log) == 1
    waiter = next(output for output in outputs if output.splitlines()[-1].startswith("found"))
    assert "another process builds an engine; waiting for 0 s" in waiter


def wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    until_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_a_process_killed_while_it_builds_leaves_nothing_that_is_loaded(
    bundle: Bundle, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "60")
    process = start(bundle)
    wait_for(lambda: builds(log) == 1)
    builder = psutil.Process(int(log.read_text().split()[1]))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    builder.wait(timeout=20)
    assert engine_cache().entries() == []
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "0")
    assert obtained(bundle).made == "built"
    assert builds(log) == 2


def test_whoever_waits_for_a_process_that_is_killed_builds_itself(
    bundle: Bundle, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "60")
    first = start(bundle)
    wait_for(lambda: builds(log) == 1)
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "0")
    second = start(bundle)
    assert second.stdout is not None
    assert second.stdout.readline().startswith("another process builds an engine")
    os.kill(first.pid, signal.SIGKILL)
    output, _ = second.communicate(timeout=60)
    first.communicate()
    assert output.splitlines()[-1].startswith("built ")
    assert obtained(bundle).made == "found"


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written (permission denied)")]
)
def test_what_cannot_be_kept_runs_from_memory_this_once(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refused(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("edgevad._files.tempfile.mkdtemp", refused)
    engine = obtained(bundle)
    assert (engine.made, engine.entry) == ("built", None)
    assert engine.not_kept is not None
    assert message in engine.not_kept
    assert engine.plan.endswith(bundle.graph())
    with pytest.raises(OutputError) as caught:
        obtained(bundle, must_keep=True)
    assert message in str(caught.value)


def test_without_a_folder_for_engines_it_runs_from_memory(bundle: Bundle, edgevad_home: Path) -> None:
    edgevad_home.mkdir()
    (edgevad_home / "engines").write_text("a file in the way")
    engine = obtained(bundle)
    assert (engine.made, engine.entry) == ("built", None)


def test_an_engine_in_a_folder_that_cannot_be_written_is_found(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = obtained(bundle)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    # For root, who runs these tests somewhere, no folder is read-only.
    for name in ("os.utime", "tempfile.mkdtemp", "pathlib.Path.mkdir", "pathlib.Path.write_bytes"):
        monkeypatch.setattr(name, refused)
    again = obtained(bundle)
    assert (again.made, again.plan) == ("found", first.plan)


def test_errors_name_the_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "refuses")
    with pytest.raises(EngineError) as caught:
        obtained(bundle)
    assert str(caught.value).startswith(f"{bundle.path}: TensorRT 10.3.0 could not build the engine")
    with pytest.raises(GraphError, match="refuses the graph"):
        obtain_engine(replace(wish_for(bundle), graph=b"\xffno graph"))
    assert engine_cache().entries() == []


def test_the_dla_is_used_where_the_profile_allows_it_and_somebody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = {"dla_cores": 2, "dla_condition": "always"}
    bundle = write_engine_bundle(tmp_path / "bundle", precision="fp16", **profile)
    assert wish_for(bundle).options.dla_core is None
    monkeypatch.setenv("EDGEVAD_DLA_CORE", "1")
    monkeypatch.setenv("FAKE_TENSORRT_DLA", "2")
    facts = engine_facts(obtained(bundle).plan)
    assert (facts["dla"], "REFIT" in facts["flags"]) == (1, False)


@pytest.mark.parametrize(
    ("core", "precision", "cores"),
    [("2", "fp16", 2), ("0", "fp16", 0), ("0", "int8", 2), ("0", "fp32", 2), ("x", "fp16", 2)],
)
def test_a_dla_that_the_profile_does_not_allow_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core: str, precision: str, cores: int
) -> None:
    profile = {"dla_cores": cores, "dla_condition": "always"} if cores else {}
    bundle = write_engine_bundle(tmp_path / "bundle", precision=precision, **profile)
    monkeypatch.setenv("EDGEVAD_DLA_CORE", core)
    with pytest.raises(OptionError, match="EDGEVAD_DLA_CORE is"):
        wish_for(bundle)
