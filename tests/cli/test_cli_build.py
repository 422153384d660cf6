from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_gpu.bundles import write_engine_bundle

from edgevad.bundle import activate
from edgevad.cli import main
from edgevad.runtime.engines.cache import EngineCache
from edgevad.runtime.engines.obtaining import engine_cache
from edgevad.runtime.scorer import Scorer

Build = Callable[..., tuple[int, str, str]]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake_gpu: object) -> Build:
    """`edgevad build` with these arguments: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevad", "build", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


def test_it_builds_and_then_says_that_it_is_there(build: Build, tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    code, out, err = build(bundle.path)
    assert code == 0
    assert out.startswith("Built: tiny, ")
    assert "since there is no engine of this bundle yet" in out
    assert "For Fake Orin (8.7), TensorRT 10.3.0, driver L4T 36.4.0, fp32" in out
    (entry,) = engine_cache().entries()
    assert f"Key {entry.key.name}" in out
    assert "edgevad: Building Engine" in err

    code, out, err = build(bundle.path)
    assert (code, err) == (0, "")
    assert out.startswith("There already: the engine of tiny for this machine")

    code, out, _ = build(bundle.path, "--force")
    assert out.startswith("Built: tiny, ")
    assert "since it was asked for" in out


def test_it_builds_what_runs(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(write_engine_bundle(tmp_path / "bundle").path)
    retrained = write_engine_bundle(tmp_path / "other", gray=0.55)
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "wrong weights")
    code, out, err = build(retrained.path)
    assert code == 0
    assert out.startswith("Built: tiny, ")
    assert "since the one there was failed (self-test frame" in out
    assert "building the engine anew" in err
    monkeypatch.delenv("FAKE_TENSORRT_FAILS")
    Scorer.from_bundle(retrained.path, on_build=lambda step: pytest.fail(step.phase)).close()


def test_a_bundle_for_a_cpu_has_no_engine(build: Build, tiny_bundle: Path) -> None:
    code, out, err = build(tiny_bundle)
    assert (code, out) == (2, "")
    assert "a bundle for cpu, run by onnxruntime: there is no engine to build" in err
    assert engine_cache().entries() == []


def test_json(build: Build, tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    _, out, _ = build(bundle.path, "--json")
    value = json.loads(out)
    assert (value["made"], value["key"]["bundle"]) == ("built", bundle.digest)
    assert Path(value["path"], "engine.plan").stat().st_size == value["bytes"]
    assert value["seconds"] > 0
    _, out, _ = build(bundle.path, "--json")
    assert json.loads(out)["made"] == "found"


def test_the_active_bundle_is_the_default(build: Build, tmp_path: Path) -> None:
    code, out, err = build()
    assert (code, out) == (2, "")
    assert "no bundle is active" in err
    activate(write_engine_bundle(tmp_path / "bundle").path)
    code, out, _ = build()
    assert out.startswith("There already")  # activation ran it


def test_engines_are_listed_and_pruned(build: Build, tmp_path: Path) -> None:
    assert build("--list")[1].startswith("0 in ")
    for k, gray in enumerate((0.4, 0.5, 0.6)):
        build(write_engine_bundle(tmp_path / f"bundle{k}", gray=gray).path)
    _, out, _ = build("--list")
    assert out.count("Fake Orin, TensorRT 10.3.0") == 3
    assert out.splitlines()[-1].startswith("3 in ")
    value = json.loads(build("--list", "--json")[1])
    assert sorted(engine["made"] for engine in value["engines"]) == ["built", "refitted", "refitted"]

    _, out, _ = build("--prune", "--keep", 1)
    assert out.splitlines()[-1].startswith("Deleted 2 (")
    assert out.endswith("kept 1.\n")
    assert json.loads(build("--prune", "--keep", 0, "--json")[1])["kept"] == 0


def test_pruning_and_building_do_not_mix(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(write_engine_bundle(tmp_path / "bundle").path)
    prune, free = EngineCache.prune, []

    def looked(cache: EngineCache, *, keep: int) -> object:
        with (cache.folder / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return prune(cache, keep=keep)
        free.append(keep)
        return []

    monkeypatch.setattr(EngineCache, "prune", looked)
    assert json.loads(build("--prune", "--keep", 0, "--json")[1])["kept"] == 0
    assert free == []


@pytest.mark.parametrize(
    "arguments", [("--list", "--prune"), ("--list", "--force"), ("bundle", "--list"), ("--keep", "2")]
)
def test_options_that_do_not_go_together(build: Build, arguments: tuple[str, ...]) -> None:
    code, out, err = build(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("edgevad: ")


def test_where_it_cannot_be_kept_the_command_fails(build: Build, tmp_path: Path, edgevad_home: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    edgevad_home.mkdir()
    (edgevad_home / "engines").write_text("a file in the way")
    code, out, err = build(bundle.path)
    assert (code, out) == (2, "")
    assert "engines" in err.splitlines()[-1]


def test_without_a_gpu_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], edgevad_home: Path
) -> None:
    monkeypatch.setattr("edgevad.runtime.engines.machine.has_driver", lambda root: False)
    monkeypatch.setattr(sys, "argv", ["edgevad", "build", str(write_engine_bundle(tmp_path / "bundle").path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    out, err = capsys.readouterr()
    assert (exit_.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("edgevad: there is no NVIDIA driver on this machine")
