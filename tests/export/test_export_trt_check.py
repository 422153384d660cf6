from __future__ import annotations

import copy
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from qdq_graphs import ACCEPTED, REFUSED, Breaker, conv_and_linear, float_graph, quantised

from edgevad.errors import MissingExtraError, OptionError
from edgevad.export import trt_check
from edgevad.export.lint import lint_graph
from edgevad.export.trt_check import TrtCheck, check_with_tensorrt_rtx, tensorrt_rtx_installed
from edgevad.model.config import ModelConfig, preset

needs_tensorrt_rtx = pytest.mark.skipif(
    not tensorrt_rtx_installed(), reason="TensorRT-RTX is not installed (pip install 'edgevad[trt-check]')"
)


def asked(model: ModelProto, **options: str) -> TrtCheck:
    return check_with_tensorrt_rtx(model.SerializeToString(), **options)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    return quantised(float_graph(), tmp_path_factory.mktemp("qdq"))


@pytest.mark.tensorrt
@needs_tensorrt_rtx
@pytest.mark.parametrize("config", conv_and_linear(), ids=lambda c: f"{c.decoder}-{c.motion}-{c.memory_px}")
def test_float_and_quantised_graphs_parse_and_build(config: ModelConfig, tmp_path: Path) -> None:
    graph = float_graph(config)
    for model in (graph, quantised(graph, tmp_path)):
        assert lint_graph(model, opset_max=17, static_shapes=True) == []
        said = asked(model, compute_capability="8.7")
        assert (said.parsed, said.built, said.crashed) == (True, True, False), said.messages
        assert said.compute_capability == "8.6"
        assert said.engine_bytes > 10_000
        assert said.version
        assert said.seconds > 0


@pytest.mark.tensorrt
@pytest.mark.slow
@needs_tensorrt_rtx
@pytest.mark.parametrize("name", ["nano", "base"])
def test_the_quantised_graph_of_a_preset_parses_and_builds_for_every_family_of_targets(
    name: str, tmp_path: Path
) -> None:
    graph = quantised(float_graph(preset(name, motion="flow", decoder="conv")), tmp_path)
    assert lint_graph(graph, opset_max=17, static_shapes=True) == []
    for wanted, built_for in (("8.7", "8.6"), ("11.0", "12.0"), ("7.2", "8.0")):
        said = asked(graph, compute_capability=wanted)
        assert said.built, said.messages
        assert said.compute_capability == built_for


@pytest.mark.tensorrt
@needs_tensorrt_rtx
@pytest.mark.parametrize(("breaker", "rule"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_the_parser_or_builder_refuses_the_lint_finds(sound: ModelProto, breaker: Breaker, rule: str) -> None:
    broken = copy.deepcopy(sound)
    breaker(broken)
    said = asked(broken)
    assert not said.built
    assert not said.crashed
    assert said.messages
    assert all("\n" not in message and "cudaError" not in message for message in said.messages)
    assert rule in {finding.rule for finding in lint_graph(broken, opset_max=20, static_shapes=True)}


@pytest.mark.tensorrt
@pytest.mark.slow
@needs_tensorrt_rtx
@pytest.mark.parametrize(("breaker", "rule"), ACCEPTED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_said_to_be_accepted_is(sound: ModelProto, breaker: Breaker, rule: str) -> None:
    broken = copy.deepcopy(sound)
    breaker(broken)
    said = asked(broken)
    if said.version.startswith("1.7."):  # the rules' reasons speak of this one
        assert said.built, (rule, said.messages)


@pytest.mark.tensorrt
@needs_tensorrt_rtx
def test_what_is_no_graph_is_refused_in_words() -> None:
    said = check_with_tensorrt_rtx(b"no graph")
    assert (said.parsed, said.built, said.crashed) == (False, False, False)
    assert "parse" in said.messages[0]


def pretend_installed(monkeypatch: pytest.MonkeyPatch, worker: str, tmp_path: Path) -> None:
    """The check takes a Python program of ours for TensorRT-RTX; it gets GRAPH RESULT SM as its arguments."""
    program = tmp_path / "worker.py"
    program.write_text("import json, os, pathlib, sys, time\ngraph, result, sm = sys.argv[-3:]\n" + worker)
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setattr(trt_check, "tensorrt_rtx_installed", lambda: True)
    monkeypatch.setattr(trt_check.sys, "executable", str(interpreter))


def test_a_crash_there_is_an_answer_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = '{"version": "9.9", "parsed": true, "built": false, "messages": ["about to build"], "seconds": 0.5}'
    pretend_installed(
        monkeypatch, f"open(result, 'w').write('{said}')\nos.kill(os.getpid(), {signal.SIGSEGV:d})", tmp_path
    )
    check = check_with_tensorrt_rtx(b"graph")
    assert check.messages == ("TensorRT-RTX died (SIGSEGV)", "about to build")
    assert (check.parsed, check.built, check.crashed, check.version) == (True, False, True, "9.9")


def test_no_answer_in_time_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_installed(monkeypatch, "time.sleep(60)", tmp_path)
    check = check_with_tensorrt_rtx(b"graph", timeout_s=0.5)
    assert check.messages == ("TensorRT-RTX gave no answer within 0.5 s and was ended",)
    assert (check.built, check.crashed) == (False, True)


@pytest.mark.parametrize("answer", ["", "{", "[1, 2]", "null"])
def test_half_an_answer_is_none(answer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker = f"open(result, 'w').write({answer!r})\nsys.exit('cannot load the library')"
    pretend_installed(monkeypatch, worker, tmp_path)
    check = check_with_tensorrt_rtx(b"graph")
    assert check.messages == ("TensorRT-RTX could not be asked (exit code 1: cannot load the library)",)
    assert (check.parsed, check.built, check.crashed, check.version) == (False, False, True, "")


@pytest.mark.parametrize(
    ("wanted", "built_for"),
    [(None, "8.6"), ("7.2", "8.0"), ("7.5", "8.0"), ("8.7", "8.6"), ("8.9", "8.9"), ("9.0", "8.9"), ("11.0", "12.0")],
)
def test_the_nearest_relative_is_built_for(
    wanted: str | None, built_for: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    echo = "json.dump({'version': sm, 'parsed': True, 'built': True, 'messages': [], 'seconds': 0}, open(result, 'w'))"
    pretend_installed(monkeypatch, echo, tmp_path)
    check = check_with_tensorrt_rtx(b"graph", compute_capability=wanted)
    assert (check.version, check.compute_capability) == ("SM" + built_for.replace(".", ""), built_for)


def test_a_compute_capability_is_a_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_installed(monkeypatch, "", tmp_path)
    with pytest.raises(OptionError, match=r"compute capability 'ampere'; expected one such as 8\.7"):
        check_with_tensorrt_rtx(b"graph", compute_capability="ampere")


def test_without_the_extra_the_pip_line_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt_check, "tensorrt_rtx_installed", lambda: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[trt-check\]'"):
        check_with_tensorrt_rtx(b"graph")


def test_the_sound_graph_computes_what_the_float_graph_computes(sound: ModelProto) -> None:
    """What the checks above stand on: the quantised graph is the same network, within the error of eight bits."""
    import onnxruntime

    rng = np.random.default_rng(3)
    inputs = {
        "frames": rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8),
        "bank": rng.normal(0, 1, (7, 4, 7)).astype(np.float32),
    }
    inputs["bank"][..., 6] = np.square(inputs["bank"][..., :6]).sum(axis=-1)
    scores = []
    for model in (float_graph(), sound):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        scores.append(session.run(["score"], inputs)[0])
    np.testing.assert_allclose(scores[1], scores[0], rtol=0.1)
    np.testing.assert_array_equal(
        scores[1][:, 1:], scores[0][:, 1:]
    )  # what the memory says stays as it was, to the bit
    assert (scores[1][:, 0] != scores[0][:, 0]).all()
