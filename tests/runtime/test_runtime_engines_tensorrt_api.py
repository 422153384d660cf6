from __future__ import annotations

import enum
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_gpu
import pytest
from fake_gpu.bundles import static_graph
from fake_gpu.tensorrt import engine_facts, make

from edgevad.errors import EngineError, GraphError
from edgevad.runtime.engines.options import BuildStep, EngineOptions
from edgevad.runtime.engines.tensorrt_api import TensorRtApi, version_of
from edgevad.spec import InputSpec

# Each of them stands for itself and for what came before the next.
VERSIONS = {"8.6.0": "8.6", "10.3.0": "10.3", "10.13.3.9": "10.13", "10.16.1.11": "10.16", "11.4.0.106": "11.4"}
SPEC = InputSpec(32, 32)
REAL: dict[str, dict[str, str]] = json.loads(Path(fake_gpu.__file__).with_name("real_names.json").read_text())

# What of each class edgevad uses, and where: asked of the real bindings (fake_gpu/record_names.py) and of the fakes.
# "10+" is every version from 10.3 on, "8.6-10" every one before 11.
USED = {
    "Builder": {
        "num_DLA_cores": "all",
        "create_network": "all",
        "create_builder_config": "all",
        "build_serialized_network": "all",
    },
    "IBuilderConfig": {
        "set_flag": "all",
        "clear_flag": "all",
        "get_flag": "all",
        "set_memory_pool_limit": "all",
        "create_timing_cache": "all",
        "set_timing_cache": "all",
        "default_device_type": "all",
        "DLA_core": "all",
        "progress_monitor": "10+",
    },
    "ITimingCache": {"serialize": "all"},
    "INetworkDefinition": {"num_inputs": "all", "get_input": "all", "num_layers": "all", "get_layer": "all"},
    "ILayer": {"type": "all", "num_outputs": "all", "get_output": "all", "precision": "8.6-10"},
    "ITensor": {"name": "all", "shape": "all", "dtype": "all"},
    "OnnxParser": {"parse": "all", "num_errors": "all", "get_error": "all", "set_flag": "10+"},
    "ParserError": {"desc": "all", "node": "all"},
    "OnnxParserRefitter": {"refit_from_bytes": "10+", "num_errors": "10+", "get_error": "10+"},
    "Refitter": {"refit_cuda_engine": "all", "get_missing_weights": "all"},
    "Runtime": {"deserialize_cuda_engine": "all"},
    "ICudaEngine": {
        "num_io_tensors": "all",
        "get_tensor_name": "all",
        "get_tensor_mode": "all",
        "get_tensor_shape": "all",
        "get_tensor_dtype": "all",
        "refittable": "all",
        "create_execution_context": "all",
        "serialize": "all",
        "device_memory_size": "8.6-10",
        "device_memory_size_v2": "10+",
    },
    "IExecutionContext": {"set_tensor_address": "all", "execute_async_v3": "all"},
    "ILogger": {"ERROR": "all", "INTERNAL_ERROR": "all", "log": "all"},
    "IProgressMonitor": {"phase_start": "10+", "step_complete": "10+", "phase_finish": "10+"},
    "BuilderFlag": {
        "TF32": "all",
        "REFIT": "all",
        "GPU_FALLBACK": "all",
        "FP16": "8.6-10",
        "INT8": "8.6-10",
        "OBEY_PRECISION_CONSTRAINTS": "8.6-10",
    },
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": "8.6-10", "STRONGLY_TYPED": "10+"},
    "MemoryPoolType": {"WORKSPACE": "all"},
    "TensorIOMode": {"INPUT": "all"},
    "DataType": {"FLOAT": "all"},
    "DeviceType": {"DLA": "all"},
    "LayerType": dict.fromkeys(("CONSTANT", "SHAPE", "CAST", "QUANTIZE", "DEQUANTIZE", "IDENTITY"), "all"),
    "OnnxParserFlag": {"ADJUST_FOR_DLA": "10.16 11.4"},
    "module": {"nptype": "all", "__version__": "all"},
}
SHORT = list(VERSIONS.values())
RANGES = {"all": SHORT, "10+": SHORT[1:], "8.6-10": SHORT[:4], "10.16 11.4": SHORT[3:]}


def is_used(kind: str, name: str, short: str) -> bool:
    return short in RANGES[USED[kind][name]]


@pytest.mark.parametrize("kind", USED)
def test_the_real_bindings_have_every_name_we_use_in_just_the_versions_in_which_we_use_it(kind: str) -> None:
    for name in USED[kind]:
        real = REAL[kind][name].split()
        if kind == "OnnxParser" and name == "set_flag":
            assert set(RANGES["10+"]) <= set(real)
            continue
        assert [short for short in SHORT if is_used(kind, name, short)] == real, (kind, name)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fakes_have_no_name_that_the_real_bindings_of_that_version_lack(version: str) -> None:
    module, short = make(version), VERSIONS[version]
    for kind, value in vars(module).items():
        if not isinstance(value, type):
            continue
        assert short in REAL["module"][kind].split(), kind
        for name in public_names(value):
            assert short in REAL[kind].get(name, "").split(), f"{kind}.{name}"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fakes_have_every_name_we_use(version: str) -> None:
    module, short = make(version), VERSIONS[version]
    for kind, names in USED.items():
        for name in names:
            if is_used(kind, name, short) and kind not in ("module", "OnnxParser", "OnnxParserFlag"):
                assert name in public_names(getattr(module, kind)), f"{kind}.{name}"


def public_names(kind: type) -> set[str]:
    """Of the class and of what its constructor sets."""
    if issubclass(kind, enum.Enum):
        return set(kind.__members__)
    made: dict[str, Any] = {
        "ITensor": lambda: kind("a", (1,), 0),
        "ILayer": lambda: kind(0, []),
        "IBuilderConfig": kind,
    }
    names = set(dir(kind))
    if kind.__name__ in made:
        names |= set(dir(made[kind.__name__]()))
    return {name for name in names if not name.startswith("_")}


@pytest.mark.tensorrt
@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is None, reason="TensorRT is not installed")
def test_the_installed_bindings_have_every_name_we_use() -> None:
    module = importlib.import_module("tensorrt")
    version = version_of(module.__version__)
    short = max((s for s in SHORT if version_of(s) <= version[:2]), key=version_of)
    for kind, names in USED.items():
        for name in names:
            if is_used(kind, name, short):
                assert hasattr(module if kind == "module" else getattr(module, kind), name), f"{kind}.{name}"


def built(version: str, options: EngineOptions = EngineOptions(), **more: Any) -> dict[str, Any]:  # noqa: B008
    engine, _ = TensorRtApi(make(version)).build(static_graph(SPEC), options, **more)
    return engine_facts(engine)


@pytest.mark.parametrize(
    ("version", "precision", "network", "flags"),
    [
        ("8.6.0", "fp32", ["EXPLICIT_BATCH"], []),
        ("8.6.0", "fp16", ["EXPLICIT_BATCH"], ["FP16", "OBEY_PRECISION_CONSTRAINTS"]),
        ("8.6.0", "int8", ["EXPLICIT_BATCH"], ["INT8"]),
        *[("10.3.0", precision, ["STRONGLY_TYPED"], ["REFIT"]) for precision in ("fp32", "fp16", "int8")],
        ("10.16.1.11", "int8", ["STRONGLY_TYPED"], ["REFIT"]),
        *[("11.4.0.106", precision, [], ["REFIT"]) for precision in ("fp32", "fp16", "int8")],
        ("11.3.0.99", "fp16", [], []),  # NVIDIA's release notes: REFIT may drop a bias there
    ],
)
def test_each_version_builds_in_its_own_way(version: str, precision: str, network: list[str], flags: list[str]) -> None:
    facts = built(version, EngineOptions(precision, workspace_mib=512))
    assert facts["network"] == network
    assert facts["flags"] == flags  # and TF32, which is on by default, is off
    assert facts["workspace"] == 512 << 20
    assert facts["dla"] is None


def test_where_flags_allow_half_precision_float_layers_stay_float() -> None:
    # All but the Cast and the two Identities.
    assert built("8.6.0", EngineOptions("fp16"))["float_layers"] == 8
    assert built("8.6.0", EngineOptions("int8"))["float_layers"] == 0
    assert built("10.3.0", EngineOptions("fp16"))["float_layers"] == 0


def test_no_workspace_limit_and_no_refit_where_none_is_wanted() -> None:
    facts = built("10.3.0", EngineOptions(workspace_mib=0, refittable=False))
    assert (facts["workspace"], facts["flags"]) == (None, [])


@pytest.mark.parametrize(
    ("version", "network", "flags", "adjusted"),
    [
        ("8.6.0", ["EXPLICIT_BATCH"], ["FP16", "GPU_FALLBACK", "OBEY_PRECISION_CONSTRAINTS"], False),
        ("10.3.0", ["EXPLICIT_BATCH"], ["FP16", "GPU_FALLBACK", "OBEY_PRECISION_CONSTRAINTS"], False),
        ("11.4.1", [], ["GPU_FALLBACK"], True),
    ],
)
def test_the_dla_takes_what_it_can_and_the_gpu_the_rest(
    monkeypatch: pytest.MonkeyPatch, version: str, network: list[str], flags: list[str], adjusted: bool
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_DLA", "2")
    facts = built(version, EngineOptions("fp16", dla_core=1))
    assert (facts["dla"], facts["network"], facts["flags"]) == (1, network, flags)
    assert facts["adjusted"] is adjusted


@pytest.mark.parametrize(
    ("version", "cores", "expected"),
    [
        ("10.3.0", "1", "one below 1"),
        ("10.8.0", "2", "TensorRT up to 10.7, or from 11.4.1 on"),
        ("11.4.0.106", "2", "TensorRT up to 10.7, or from 11.4.1 on"),
    ],
)
def test_a_dla_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str, cores: str, expected: str
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_DLA", cores)
    with pytest.raises(EngineError, match=expected) as caught:
        built(version, EngineOptions("fp16", dla_core=1))
    assert "Unset EDGEVAD_DLA_CORE" in str(caught.value)


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_the_builder_tells_how_far_it_is(version: str) -> None:
    steps: list[BuildStep] = []
    built(version, progress=steps.append)
    assert steps[0] == BuildStep("Building Engine", None, 0, 2)
    assert steps[1] == BuildStep("Tactic Timing", "Building Engine", 0, 4)
    assert BuildStep("Tactic Timing", "Building Engine", 4, 4) in steps
    assert steps[-1] == BuildStep("Building Engine", None, 1, 2)


def test_the_old_builder_says_that_it_says_nothing() -> None:
    steps: list[BuildStep] = []
    built("8.6.0", progress=steps.append)
    assert [step.phase for step in steps] == ["TensorRT 8.6.0 builds the engine and tells nothing of how far it is"]


def test_an_exception_from_progress_ends_the_build_and_is_raised_after_it() -> None:
    class StopError(Exception):
        pass

    def stop(step: BuildStep) -> None:
        if step.done == 2:
            raise StopError

    with pytest.raises(StopError):
        built("10.3.0", progress=stop)


@pytest.mark.parametrize("version", VERSIONS)
def test_measurements_are_used_and_handed_on(version: str) -> None:
    api = TensorRtApi(make(version))
    engine, timing = api.build(static_graph(SPEC), EngineOptions())
    assert engine_facts(engine)["timing"] == ""
    engine, timing = api.build(static_graph(SPEC), EngineOptions(), timing=timing)
    assert (engine_facts(engine)["timing"], timing) == ("measured;", b"measured;measured;")


@pytest.mark.parametrize("timing", [b"of another GPU", b"of no use"])
def test_measurements_that_do_not_fit_are_taken_anew(timing: bytes) -> None:
    assert built("10.3.0", timing=timing)["timing"] == ""


def test_what_the_parser_says_reaches_the_message_in_one_line() -> None:
    with pytest.raises(GraphError, match=r"TensorRT 10\.3\.0 refuses the graph \(Failed to parse the ONNX") as caught:
        TensorRtApi(make("10.3.0")).build(b"\xffno graph", EngineOptions())
    assert "node 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_graph_for_any_number_of_frames_is_refused(tiny_bundle: Path) -> None:
    graph = (tiny_bundle / "model.onnx").read_bytes()
    with pytest.raises(GraphError, match=r"input frames has the shape \(-1, 32, 32, 3\); expected a fixed shape"):
        TensorRtApi(make("10.3.0")).build(graph, EngineOptions())


def test_a_build_that_fails_says_what_tensorrt_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "refuses")
    with pytest.raises(EngineError, match=r"Could not find any implementation for node \{ForeignNode\}") as caught:
        built("10.3.0")
    assert "(1) too little memory" in str(caught.value)


def test_what_cannot_be_kept_apart_from_its_weights_is_built_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "refittable")
    steps: list[BuildStep] = []
    assert built("10.3.0", progress=steps.append)["flags"] == []
    assert BuildStep("building again, without a way to put other weights in") in steps


def test_a_builder_that_is_null_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "null")
    with pytest.raises(EngineError, match=r"could not start its builder \(CUDA initialization failure with error: 35"):
        built("8.6.0")


@pytest.mark.usefixtures("current_context")
@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_new_weights_go_into_an_engine_of_the_same_structure(version: str) -> None:
    api = TensorRtApi(make(version))
    engine, _ = api.build(static_graph(SPEC), EngineOptions())
    refitted = api.refit(engine, static_graph(SPEC, gray=0.7))
    assert engine_facts(refitted)["refitted"] is True
    assert refitted.endswith(static_graph(SPEC, gray=0.7))


@pytest.mark.usefixtures("current_context")
@pytest.mark.parametrize(
    ("version", "refittable", "message"),
    [
        ("8.6.0", True, "TensorRT 8.6.0 cannot refit"),
        ("11.3.0.99", True, "TensorRT 11.3.0.99 cannot refit"),
        ("10.3.0", False, "was not built to be refitted"),
    ],
)
def test_what_cannot_be_refitted_is_refused(version: str, refittable: bool, message: str) -> None:
    api = TensorRtApi(make(version))
    engine, _ = api.build(static_graph(SPEC), EngineOptions(refittable=refittable))
    with pytest.raises(EngineError, match=message):
        api.refit(engine, static_graph(SPEC))


@pytest.mark.usefixtures("current_context")
def test_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    api = TensorRtApi(make("10.3.0"))
    engine, _ = api.build(static_graph(SPEC), EngineOptions())
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "refit")
    with pytest.raises(EngineError, match="Unable to find matching weights"):
        api.refit(engine, static_graph(SPEC))


@pytest.mark.usefixtures("current_context")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_loaded_engine_says_what_goes_in_and_out(version: str) -> None:
    api = TensorRtApi(make(version))
    engine, _ = api.build(static_graph(SPEC, batch=2), EngineOptions())
    loaded = api.load(engine)
    assert [(t.name, t.is_input, t.shape, t.dtype.name) for t in loaded.tensors] == [
        ("frames", True, (2, 32, 32, 3), "uint8"),
        ("score", False, (2, 1), "float32"),
        ("heatmap", False, (2, 1, 7, 7), "float32"),
        ("latent", False, (2, 3), "float32"),
    ]
    assert loaded.memory_bytes == 1 << 20
    assert loaded.refittable is api.can_refit
    loaded.close()
    loaded.close()


@pytest.mark.usefixtures("current_context")
def test_an_engine_of_another_version_is_refused_with_the_cure() -> None:
    engine, _ = TensorRtApi(make("10.3.0")).build(static_graph(SPEC), EngineOptions())
    with pytest.raises(EngineError, match=r"Version tag does not match.*edgevad build --force"):
        TensorRtApi(make("10.13.3.9")).load(engine)


@pytest.mark.parametrize(("version", "message"), [("8.5.2", "TensorRT 8.5.2 is too old"), ("dev", "calls its version")])
def test_versions_we_do_not_know_are_refused(version: str, message: str) -> None:
    module = ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match=message):
        TensorRtApi(module)


def test_numbers_of_versions() -> None:
    assert version_of("10.13.3.9.post1") == (10, 13, 3, 9)
    assert version_of("8.6.1") == (8, 6, 1)
