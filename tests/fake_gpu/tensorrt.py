"""TensorRT whose engines are the ONNX they were made of, run by ONNX Runtime; in the shape of any version.

Every class has just those names of the real one that edgevad uses, and a version lacks what it lacks: the names are
held against `real_names.json`. What a builder was told is written into the engine, for tests to read. Settings for
tests come in environment variables, since builders run in processes of their own: FAKE_TENSORRT_LOG, a file that gets a
line for each build; FAKE_TENSORRT_SECONDS, how long a build takes; FAKE_TENSORRT_FAILS, "null", "killed", "crash",
"refuses", "refittable" (such an engine), "refit" (an engine) or "wrong weights".
"""

from __future__ import annotations

import enum
import json
import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from fake_gpu.cuda import GPU, CudaError

MAGIC = b"FAKE TENSORRT ENGINE\n"


def engine_facts(engine: bytes) -> dict[str, Any]:
    """What the builder of this engine was told."""
    assert engine.startswith(MAGIC)
    facts: dict[str, Any] = json.loads(engine[len(MAGIC) :].split(b"\n", 1)[0])
    return facts


def engine_bytes(facts: dict[str, Any], graph: bytes) -> bytes:
    return MAGIC + json.dumps(facts).encode() + b"\n" + graph


def _graph_of(engine: bytes) -> bytes:
    return engine[len(MAGIC) :].split(b"\n", 1)[1]


def _enum(name: str, names: str) -> Any:
    return enum.IntEnum(name, names, start=0)


def make(version: str) -> ModuleType:  # one class a noun, all of them here: they refer to each other
    """The module `tensorrt` of this version."""
    major, minor = (int(part) for part in version.split(".")[:2])
    trt = ModuleType("tensorrt")
    trt.__version__ = version

    weak = " FP16 INT8 OBEY_PRECISION_CONSTRAINTS" if major < 11 else ""
    builder_flag = _enum("BuilderFlag", "TF32 REFIT GPU_FALLBACK" + weak)
    creation = " ".join(
        name for name, there in (("EXPLICIT_BATCH", major < 11), ("STRONGLY_TYPED", major >= 10)) if there
    )
    creation_flag = _enum("NetworkDefinitionCreationFlag", creation)
    pool = _enum("MemoryPoolType", "WORKSPACE")
    mode = _enum("TensorIOMode", "NONE INPUT OUTPUT")
    data_type = _enum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8" + (" INT64" if major >= 10 else ""))
    device_type = _enum("DeviceType", "GPU DLA")
    layer_type = _enum("LayerType", "CONSTANT SHAPE CAST QUANTIZE DEQUANTIZE IDENTITY CONVOLUTION ELEMENTWISE REDUCE")

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None:
            self._is_made = True

        def log(self, severity: int, msg: str) -> None:
            raise NotImplementedError

    def told(logger: Any) -> Any:
        """A Python subclass that forgot its base's constructor crashes the real bindings."""
        assert isinstance(logger, ILogger)
        assert logger._is_made
        return logger

    class ParserError:
        def __init__(self, text: str) -> None:
            self._text = text

        def desc(self) -> str:
            return self._text

        def node(self) -> int:
            return 3

    class IHostMemory:
        """Has the buffer protocol there; bytes() of it copies."""

        def __init__(self, data: bytes) -> None:
            self._data = data

        def __bytes__(self) -> bytes:
            return self._data

    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> IHostMemory:
            return IHostMemory(self._data)

    class ITensor:
        def __init__(self, name: str, shape: tuple[int, ...], dtype: int) -> None:
            self.name, self.shape, self.dtype = name, shape, dtype

    class ILayer:
        def __init__(self, kind: int, outputs: list[ITensor]) -> None:
            self._type, self._outputs = kind, outputs
            if major < 11:
                self.precision: int | None = None

        @property
        def type(self) -> int:
            return self._type

        @property
        def num_outputs(self) -> int:
            return len(self._outputs)

        def get_output(self, index: int) -> ITensor:
            return self._outputs[index]

    class INetworkDefinition:
        def __init__(self, flags: int) -> None:
            self._flags, self._adjusted = flags, False
            self._graph = b""
            self._inputs: list[ITensor] = []
            self._layers: list[ILayer] = []

        @property
        def num_inputs(self) -> int:
            return len(self._inputs)

        def get_input(self, index: int) -> ITensor:
            return self._inputs[index]

        @property
        def num_layers(self) -> int:
            return len(self._layers)

        def get_layer(self, index: int) -> ILayer:
            return self._layers[index]

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            if major < 10 and not network._flags & (1 << int(creation_flag.EXPLICIT_BATCH)):
                raise AssertionError("the ONNX parser of 8.6 takes networks with an explicit batch dimension only")
            self._network, self._logger = network, told(logger)
            self._errors: list[ParserError] = []

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

        def parse(self, model: bytes) -> bool:
            try:
                found = onnx.load_from_string(model)
            except Exception:
                self._errors.append(ParserError("Failed to parse\n the ONNX model"))
                return False
            if not found.graph.node:
                self._errors.append(ParserError("In node 3 (importX): UNSUPPORTED_NODE"))
                return False
            kinds = {onnx.TensorProto.FLOAT: data_type.FLOAT, onnx.TensorProto.UINT8: data_type.UINT8}
            for value in found.graph.input:
                tensor = value.type.tensor_type
                shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
                self._network._inputs.append(ITensor(value.name, shape, kinds[tensor.elem_type]))
            for node in found.graph.node:
                kind = {"Cast": layer_type.CAST, "Identity": layer_type.IDENTITY, "Conv": layer_type.CONVOLUTION}
                made = [ITensor(name, (), data_type.FLOAT) for name in node.output]
                self._network._layers.append(ILayer(kind.get(node.op_type, layer_type.ELEMENTWISE), made))
            self._network._graph = bytes(model)
            return True

    class IBuilderConfig:
        def __init__(self) -> None:
            self._told: dict[str, Any] = {"workspace": None, "timing": ""}
            self._on: set[str] = {"TF32"}
            self._timing: ITimingCache | None = None
            self.default_device_type = device_type.GPU
            self.DLA_core = -1
            if major >= 10:
                self.progress_monitor: Any = None

        def set_flag(self, flag: Any) -> None:
            self._on.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self._on.discard(flag.name)

        def get_flag(self, flag: Any) -> bool:
            return flag.name in self._on

        def set_memory_pool_limit(self, kind: Any, size: int) -> None:
            assert kind == pool.WORKSPACE
            self._told["workspace"] = size

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
            if serialized_timing_cache == b"of no use":
                return None
            return ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            if cache._data == b"of another GPU" and not ignore_mismatch:
                return False
            self._timing = cache
            self._told["timing"] = cache._data.decode()
            return True

    class Builder:
        def __init__(self, logger: Any) -> None:
            if os.environ.get("FAKE_TENSORRT_FAILS") == "null":
                told(logger).log(ILogger.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._logger = told(logger)

        @property
        def num_DLA_cores(self) -> int:  # noqa: N802
            return int(os.environ.get("FAKE_TENSORRT_DLA", "0"))

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            return INetworkDefinition(flags)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
            if log := os.environ.get("FAKE_TENSORRT_LOG"):
                with Path(log).open("a") as stream:
                    stream.write(f"build {os.getpid()}\n")
            if not self._work(getattr(config, "progress_monitor", None)):
                return None
            if os.environ.get("FAKE_TENSORRT_FAILS") == "refittable" and "REFIT" in config._on:
                self._logger.log(ILogger.ERROR, "MyelinCheckException")
                return None
            named = {flag.name for flag in creation_flag if network._flags & (1 << int(flag))}
            facts = {
                **config._told,
                "version": version,
                "flags": sorted(config._on),
                "network": sorted(named),
                "dla": config.DLA_core if config.default_device_type == device_type.DLA else None,
                "adjusted": network._adjusted,
                "float_layers": sum(getattr(layer, "precision", None) is not None for layer in network._layers),
            }
            if config._timing is not None:
                config._timing._data += b"measured;"
            return IHostMemory(engine_bytes(facts, network._graph))

        def _work(self, monitor: Any) -> bool:
            fails = os.environ.get("FAKE_TENSORRT_FAILS")
            if fails == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fails == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if fails == "refuses":
                self._logger.log(ILogger.ERROR, "Could not find any implementation\n for node {ForeignNode}")
                return False
            seconds = float(os.environ.get("FAKE_TENSORRT_SECONDS", "0"))
            if monitor is not None:
                monitor.phase_start("Building Engine", None, 2)
                monitor.phase_start("Tactic Timing", "Building Engine", 4)
            for step in range(4):
                time.sleep(seconds / 4)
                if monitor is not None and not monitor.step_complete("Tactic Timing", step):
                    return False
            if monitor is not None:
                monitor.phase_finish("Tactic Timing")
                monitor.step_complete("Building Engine", 0)
                monitor.phase_finish("Building Engine")
            return True

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            GPU.call("createExecutionContext")
            self._engine, self._thread = engine, threading.get_ident()
            self._addresses: dict[str, int] = {}
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 4
            graph = _graph_of(engine._data)
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        def set_tensor_address(self, name: str, memory: int) -> bool:
            GPU.call("setTensorAddress")
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            GPU.call("enqueueV3")
            assert threading.get_ident() == self._thread, "an execution context belongs to one thread"
            if set(self._addresses) != {name for name, _, _, _ in self._engine._io}:
                return False
            GPU.streams[stream_handle].put(self._run)
            return True

        def _run(self) -> None:
            feeds = {}
            for name, is_input, shape, kind in self._engine._io:
                if is_input:
                    dtype = np.dtype(nptype(kind))
                    data = GPU.at(self._addresses[name], int(np.prod(shape)) * dtype.itemsize)
                    feeds[name] = data.view(dtype).reshape(shape)
            names = [name for name, is_input, _, _ in self._engine._io if not is_input]
            for name, value in zip(names, self._session.run(names, feeds), strict=True):
                data = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
                GPU.at(self._addresses[name], data.nbytes)[:] = data

    class ICudaEngine:
        def __init__(self, data: bytes, logger: Any) -> None:
            GPU.primary_context()
            GPU.call("deserializeCudaEngine")
            self._data, self._logger = data, logger
            self._io = _io(_graph_of(data), data_type)

        @property
        def num_io_tensors(self) -> int:
            return len(self._io)

        def get_tensor_name(self, index: int) -> str:
            return self._io[index][0]

        def _of(self, name: str) -> tuple[str, bool, tuple[int, ...], int]:
            return next(one for one in self._io if one[0] == name)

        def get_tensor_mode(self, name: str) -> int:
            return mode.INPUT if self._of(name)[1] else mode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._of(name)[2]

        def get_tensor_dtype(self, name: str) -> int:
            return self._of(name)[3]

        @property
        def refittable(self) -> bool:
            return "REFIT" in engine_facts(self._data)["flags"]

        def create_execution_context(self) -> IExecutionContext | None:
            try:
                return IExecutionContext(self)
            except CudaError as error:
                self._logger.log(ILogger.ERROR, str(error))
                return None

        def serialize(self) -> IHostMemory:
            return IHostMemory(self._data)

    if major < 11:
        ICudaEngine.device_memory_size = property(lambda self: 1 << 20)
    if major >= 10:
        ICudaEngine.device_memory_size_v2 = property(lambda self: 1 << 20)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = told(logger)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if not serialized_engine.startswith(MAGIC) or engine_facts(serialized_engine)["version"] != version:
                text = (
                    "The engine plan file is not compatible with this version of TensorRT: Version tag does not match"
                )
                self._logger.log(ILogger.ERROR, text)
                return None
            return ICudaEngine(serialized_engine, self._logger)

    class Refitter:
        def __init__(self, engine: ICudaEngine, logger: Any) -> None:
            self._engine, self._logger = engine, told(logger)
            self._graph: bytes | None = None

        def refit_cuda_engine(self) -> bool:
            if self._graph is None:
                return False
            self._engine._data = engine_bytes({**engine_facts(self._engine._data), "refitted": True}, self._graph)
            return True

        def get_missing_weights(self) -> list[str]:
            return [] if self._graph is not None else ["decoder.weight"]

    class OnnxParserRefitter:
        def __init__(self, refitter: Refitter, logger: Any) -> None:
            self._refitter, self._logger = refitter, told(logger)
            self._errors: list[ParserError] = []

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

        def refit_from_bytes(self, model: bytes) -> bool:
            shapes = [
                {t.name: tuple(t.dims) for t in onnx.load_from_string(graph).graph.initializer}
                for graph in (model, _graph_of(self._refitter._engine._data))
            ]
            if shapes[0] != shapes[1] or os.environ.get("FAKE_TENSORRT_FAILS") == "refit":
                self._errors.append(ParserError("Unable to find matching weights"))
                return False
            if os.environ.get("FAKE_TENSORRT_FAILS") == "wrong weights":
                model = _graph_of(self._refitter._engine._data)
            self._refitter._graph = bytes(model)
            return True

    class IProgressMonitor:
        def __init__(self) -> None:
            self._is_made = True

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

        def phase_finish(self, phase_name: str) -> None: ...

    class OnnxParserFlag(enum.IntEnum):
        ADJUST_FOR_DLA = 5

    def nptype(kind: int) -> type:
        kinds = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32, "UINT8": np.uint8}
        return kinds[data_type(kind).name]

    if (major, minor) >= (10, 16):

        def set_flag(self: OnnxParser, flag: int) -> None:
            self._network._adjusted = flag == OnnxParserFlag.ADJUST_FOR_DLA

        OnnxParser.set_flag = set_flag
        trt.OnnxParserFlag = OnnxParserFlag
    newer = {"OnnxParserRefitter": OnnxParserRefitter, "IProgressMonitor": IProgressMonitor} if major >= 10 else {}
    classes = {
        "Builder": Builder,
        "BuilderFlag": builder_flag,
        "DataType": data_type,
        "DeviceType": device_type,
        "IBuilderConfig": IBuilderConfig,
        "ICudaEngine": ICudaEngine,
        "IExecutionContext": IExecutionContext,
        "IHostMemory": IHostMemory,
        "ILayer": ILayer,
        "ILogger": ILogger,
        "INetworkDefinition": INetworkDefinition,
        "ITensor": ITensor,
        "ITimingCache": ITimingCache,
        "LayerType": layer_type,
        "MemoryPoolType": pool,
        "NetworkDefinitionCreationFlag": creation_flag,
        "OnnxParser": OnnxParser,
        "ParserError": ParserError,
        "Refitter": Refitter,
        "Runtime": Runtime,
        "TensorIOMode": mode,
        **newer,
    }
    for name, value in classes.items():
        setattr(trt, name, value)
    trt.nptype = nptype
    return trt


def _io(graph: bytes, data_type: Any) -> list[tuple[str, bool, tuple[int, ...], int]]:
    """Name, whether an input, shape and type of everything that goes in or comes out."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    kinds = {"tensor(uint8)": data_type.UINT8, "tensor(float)": data_type.FLOAT, "tensor(float16)": data_type.HALF}
    values = [(value, True) for value in session.get_inputs()] + [(value, False) for value in session.get_outputs()]
    return [(value.name, is_input, tuple(value.shape), kinds[value.type]) for value, is_input in values]
