"""TensorRT 8.6, 10 and 11 behind one set of verbs: every difference between them is in this module, and in no other.

                              8.6                 10                      11
types                         flags FP16, INT8    network STRONGLY_TYPED  always as in the graph, no flags
batch dimension               EXPLICIT_BATCH      always explicit         always explicit
builder's progress            none                IProgressMonitor        IProgressMonitor
new weights into an engine    none from ONNX      OnnxParserRefitter      OnnxParserRefitter, not in 11.3
DLA                           flags               flags, up to 10.7       typed, from 11.4.1
memory of an engine           device_memory_size  device_memory_size_v2   device_memory_size_v2

What a version has is asked of the version, and where names do not tell, of its number. Nothing here allocates memory or
knows a stream: that is `edgevad.runtime.backends.device_memory`. Objects made here belong to the thread that made them.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np

from edgevad.errors import EngineError, GraphError
from edgevad.runtime.engines.loaded_engine import EngineTensor, LoadedEngine
from edgevad.runtime.engines.options import BuildProgress, BuildStep, EngineOptions
from edgevad.runtime.engines.tensorrt_callbacks import make_log, make_monitor, one_line

__all__ = ["TensorRtApi", "version_of"]

OLDEST = (8, 6)
_BAD_REFIT = (11, 3)  # NVIDIA: the flag may drop a bias, even where nothing is refitted
_LAST_OLD_DLA, _FIRST_NEW_DLA = (10, 7), (11, 4, 1)
_MIB = 1 << 20
# In a weakly typed network their types are fixed by what they do; a precision set on them is refused or ignored.
_UNTYPED_LAYERS = ("CONSTANT", "SHAPE", "CAST", "QUANTIZE", "DEQUANTIZE", "IDENTITY")


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version such as "10.13.3.9.post1"; raises EngineError where it begins with none."""
    found = re.match(r"\d+(\.\d+)*", text)
    if found is None:
        raise EngineError(f"TensorRT calls its version {text!r}", expected="numbers and dots")
    return tuple(int(part) for part in found.group().split("."))


class TensorRtApi:
    """What edgevad wants of TensorRT, whatever its version.

    Attributes:
        text: the version, as TensorRT writes it.
        version: the same as numbers.

    Raises:
        EngineError: the version is older than 8.6.
    """

    def __init__(self, tensorrt: ModuleType | Any) -> None:
        self._trt: Any = tensorrt
        self.text = str(tensorrt.__version__)
        self.version = version_of(self.text)
        if self.version < OLDEST:
            raise EngineError(
                f"TensorRT {self.text} is too old",
                expected="8.6 or newer",
                fix="Update JetPack, or run the graph with TensorRT's own trtexec",
            )
        self._log = make_log(tensorrt)

    @property
    def types_by_flags(self) -> bool:
        """Networks are weakly typed: the graph's types are a hint, and flags allow others."""
        return self.version < (10,)

    @property
    def can_refit(self) -> bool:
        """A finished engine can be given the weights of another ONNX graph of the same structure."""
        return hasattr(self._trt, "OnnxParserRefitter") and self.version[:2] != _BAD_REFIT

    @property
    def can_use_dla(self) -> bool:
        """There are DLA engines in this version; whether the machine has a DLA is another matter."""
        return self.version[:2] <= _LAST_OLD_DLA or self.version >= _FIRST_NEW_DLA

    def dla_cores(self) -> int:
        """How many deep learning accelerators this machine has."""
        return int(self._builder().num_DLA_cores)

    def build(
        self,
        graph: bytes,
        options: EngineOptions,
        *,
        timing: bytes = b"",
        progress: BuildProgress | None = None,
    ) -> tuple[bytes, bytes]:
        """Build an engine from ONNX; `timing` is what an earlier build measured on this machine, b"" for nothing.

        Returns the serialised engine and the measurements, `timing` among them, b"" where there are none to keep.

        Raises:
            GraphError: TensorRT's parser refuses the graph, or a shape in it is not fixed.
            EngineError: the engine cannot be built.
        """
        builder = self._builder()
        network = builder.create_network(self._network_flags(options))
        self._parse(network, graph, options)
        config = builder.create_builder_config()
        self._configure(builder, network, config, options)
        cache = self._set_timing(config, timing)
        monitor = self._monitor(config, progress)
        plan = builder.build_serialized_network(network, config)
        if plan is None and config.get_flag(self._trt.BuilderFlag.REFIT) and not _stopped(monitor):
            # Some layers cannot be kept apart from their weights; an engine that has to be rebuilt is still an engine.
            if progress is not None:
                progress(BuildStep("building again, without a way to put other weights in"))
            config.clear_flag(self._trt.BuilderFlag.REFIT)
            plan = builder.build_serialized_network(network, config)
        if _stopped(monitor):
            raise monitor.failure
        if plan is None:
            raise EngineError(
                f"TensorRT {self.text} could not build the engine ({self._log.last()})",
                fix="Likely causes: (1) too little memory: close other programs or lower workspace_mib in the profile; "
                "(2) a layer this GPU has no kernel for in this precision: export for another precision",
            )
        return bytes(plan), b"" if cache is None else bytes(cache.serialize())

    def refit(self, engine: bytes, graph: bytes) -> bytes:
        """The same engine with the weights of `graph`, which must have the structure that the engine was built from.

        Raises:
            EngineError: this version cannot, the engine was not built for it, or the weights do not fit.
        """
        if not self.can_refit:
            raise EngineError(f"TensorRT {self.text} cannot refit an engine from ONNX", fix="Build it anew")
        trt = self._trt
        runtime = trt.Runtime(self._log)
        loaded = self._deserialize(runtime, engine)
        if not loaded.refittable:
            raise EngineError("the engine was not built to be refitted", fix="Build it anew")
        refitter = trt.Refitter(loaded, self._log)
        parser = trt.OnnxParserRefitter(refitter, self._log)
        if not parser.refit_from_bytes(graph):
            raise EngineError(f"the weights do not fit the engine ({self._errors(parser)})", fix="Build it anew")
        if not refitter.refit_cuda_engine():
            missing = list(refitter.get_missing_weights())
            what = f"{len(missing)} weights are missing, the first is {missing[0]}" if missing else self._log.last()
            raise EngineError(f"the engine does not take the weights ({what})", fix="Build it anew")
        return bytes(loaded.serialize())

    def load(self, engine: bytes) -> LoadedEngine:
        """Deserialise an engine and make it ready to run, in the CUDA context that is current.

        Raises:
            EngineError: TensorRT refuses it, or a shape in it is not fixed.
        """
        runtime = self._trt.Runtime(self._log)
        loaded = self._deserialize(runtime, engine)
        context = loaded.create_execution_context()
        if context is None:
            raise EngineError(
                f"TensorRT {self.text} could not make the engine ready to run ({self._log.last()})",
                fix="Free GPU memory: close other programs",
            )
        return LoadedEngine(self._tensors(loaded), self._memory_bytes(loaded), runtime, loaded, context)

    def _builder(self) -> Any:
        try:
            builder = self._trt.Builder(self._log)
        except TypeError:  # where the library gives none, the binding says it in this way
            builder = None
        if builder is None:
            raise EngineError(f"TensorRT {self.text} could not start its builder ({self._log.last()})")
        return builder

    def _network_flags(self, options: EngineOptions) -> int:
        kinds = self._trt.NetworkDefinitionCreationFlag
        if self._weakly(options):
            return 1 << int(kinds.EXPLICIT_BATCH)  # 10 ignores it
        return 1 << int(kinds.STRONGLY_TYPED) if self.version < (11,) else 0

    def _weakly(self, options: EngineOptions) -> bool:
        """Before 11 the DLA takes weakly typed networks only."""
        return self.types_by_flags or (options.dla_core is not None and self.version < (11,))

    def _parse(self, network: Any, graph: bytes, options: EngineOptions) -> None:
        parser = self._trt.OnnxParser(network, self._log)
        flags: Any = getattr(self._trt, "OnnxParserFlag", None)
        if options.dla_core is not None and hasattr(flags, "ADJUST_FOR_DLA"):
            parser.set_flag(flags.ADJUST_FOR_DLA)
        if not parser.parse(graph):
            raise GraphError(
                f"TensorRT {self.text} refuses the graph ({self._errors(parser)})",
                fix="Export the bundle again for this target",
            )
        for k in range(network.num_inputs):
            tensor = network.get_input(k)
            shape = tuple(int(size) for size in tensor.shape)
            if min(shape, default=1) < 1:
                raise GraphError(
                    f"the graph's input {tensor.name} has the shape {shape}",
                    expected="a fixed shape: engines are built for one",
                    fix="Export the bundle for a CUDA target: edgevad targets lists them",
                )

    def _configure(self, builder: Any, network: Any, config: Any, options: EngineOptions) -> None:
        flags = self._trt.BuilderFlag
        if options.workspace_mib:
            config.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
        # The scoring tail takes differences of nearly equal numbers: TF32's ten bits of fraction are too few for it.
        config.clear_flag(flags.TF32)
        if options.refittable and self.can_refit and options.dla_core is None:
            config.set_flag(flags.REFIT)
        if self._weakly(options):
            self._allow_types(network, config, options)
        if options.dla_core is not None:
            self._use_dla(builder, config, options.dla_core)

    def _allow_types(self, network: Any, config: Any, options: EngineOptions) -> None:
        """Allow the graph's own precision, and hold every layer whose result is float32 in the graph to float32."""
        flags = self._trt.BuilderFlag
        if options.precision == "int8":
            config.set_flag(flags.INT8)
        if options.precision != "fp16":
            return  # without the flag nothing but Q/DQ leaves float32
        config.set_flag(flags.FP16)
        config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
        kinds, floating = self._trt.LayerType, self._trt.DataType.FLOAT
        untyped = {getattr(kinds, name) for name in _UNTYPED_LAYERS}
        for k in range(network.num_layers):
            layer = network.get_layer(k)
            if layer.type not in untyped and layer.num_outputs and layer.get_output(0).dtype == floating:
                layer.precision = floating

    def _use_dla(self, builder: Any, config: Any, core: int) -> None:
        there = int(builder.num_DLA_cores)
        if not self.can_use_dla or core >= there:
            raise EngineError(
                f"there is no DLA core {core} for TensorRT {self.text}",
                expected=f"one below {there}" if self.can_use_dla else "TensorRT up to 10.7, or from 11.4.1 on",
                fix="Unset EDGEVAD_DLA_CORE: the GPU takes all layers then",
            )
        config.default_device_type = self._trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(self._trt.BuilderFlag.GPU_FALLBACK)

    def _set_timing(self, config: Any, timing: bytes) -> Any:
        for known in dict.fromkeys((timing, b"")):
            cache = config.create_timing_cache(known)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache
        return None

    def _monitor(self, config: Any, progress: BuildProgress | None) -> Any:
        if progress is None:
            return None
        if not hasattr(self._trt, "IProgressMonitor"):
            progress(BuildStep(f"TensorRT {self.text} builds the engine and tells nothing of how far it is"))
            return None
        monitor = make_monitor(self._trt, progress)
        config.progress_monitor = monitor
        return monitor

    def _errors(self, parser: Any) -> str:
        found = [parser.get_error(k) for k in range(parser.num_errors)]
        texts = [error.desc() + (f", node {error.node()}" if error.node() >= 0 else "") for error in found]
        return "; ".join(one_line(text) for text in texts[:3]) or self._log.last()

    def _deserialize(self, runtime: Any, engine: bytes) -> Any:
        loaded = runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            raise EngineError(
                f"TensorRT {self.text} refuses the engine ({self._log.last()})",
                fix="Build it anew on this machine: edgevad build --force",
            )
        return loaded

    def _tensors(self, loaded: Any) -> tuple[EngineTensor, ...]:
        tensors = []
        for k in range(loaded.num_io_tensors):
            name = loaded.get_tensor_name(k)
            shape = tuple(int(size) for size in loaded.get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise EngineError(f"the engine's tensor {name} has the shape {shape}", expected="a fixed shape")
            is_input = loaded.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            dtype = np.dtype(self._trt.nptype(loaded.get_tensor_dtype(name)))
            tensors.append(EngineTensor(name, is_input, shape, dtype))
        return tuple(tensors)

    def _memory_bytes(self, loaded: Any) -> int:
        newer = getattr(loaded, "device_memory_size_v2", None)
        return int(loaded.device_memory_size if newer is None else newer)


def _stopped(monitor: Any) -> bool:
    return monitor is not None and monitor.failure is not None
