"""Writes real_names.json: which names NVIDIA's own Python bindings have, version by version. Not a test; run by hand.

    python3.10 record_names.py 8.6=FOLDER/tensorrt 10.3=FOLDER/tensorrt_bindings …

Each folder is a package unpacked from a wheel of PyPI: `tensorrt==8.6.0` (cp310), and `tensorrt-cu12-bindings` of later
versions. The bindings want libraries that are not on PyPI and, without a GPU, would be of no use. They call a few C
functions of theirs when something is made, and none when they are imported. So they are given libraries that have these
names and do nothing (gcc makes them here), are imported, each in a process of its own, and asked with dir().
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CLASSES = """
    Builder BuilderFlag DataType DeviceType IBuilderConfig ICudaEngine IExecutionContext IHostMemory ILayer ILogger
    INetworkDefinition IProgressMonitor ITensor ITimingCache LayerType MemoryPoolType NetworkDefinitionCreationFlag
    OnnxParser OnnxParserFlag OnnxParserRefitter ParserError Refitter Runtime TensorIOMode
""".split()  # noqa: SIM905 - a table of names
# The mangled ones belong to 8.6's parsers for UFF and Caffe.
FUNCTIONS = """
    createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL createNvOnnxParser_INTERNAL
    createNvOnnxParserRefitter_INTERNAL getBuilderPluginRegistry getPluginRegistry getNvOnnxParserVersion
    initLibNvInferPlugins
    _ZN11nvuffparser15createUffParserEv _ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi
    _ZN14nvcaffeparser117createCaffeParserEv _ZN14nvcaffeparser123shutdownProtobufLibraryEv
""".split()  # noqa: SIM905
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")
ASK = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
trt = importlib.import_module(sys.argv[2])
names = {c: [n for n in dir(getattr(trt, c)) if n[0] != "_"] for c in sys.argv[3:] if hasattr(trt, c)}
names["module"] = [n for n in dir(trt) if n in ("nptype", "__version__", *sys.argv[3:])]
print(json.dumps(names))
"""


def names_of(package: Path, libraries: Path) -> dict[str, list[str]]:
    command = [sys.executable, "-c", ASK, str(package.parent), package.name, *CLASSES]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def main() -> None:
    table: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        libraries = Path(temporary)
        source = libraries / "nothing.c"
        source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in FUNCTIONS))
        for library in LIBRARIES:
            for major in (8, 10, 11):
                soname = f"lib{library}.so.{major}"
                command = [
                    "gcc",
                    "-shared",
                    "-fPIC",
                    f"-Wl,-soname,{soname}",
                    "-o",
                    str(libraries / soname),
                    str(source),
                ]
                subprocess.run(command, check=True)
        for argument in sys.argv[1:]:
            version, _, package = argument.partition("=")
            for kind, names in names_of(Path(package), libraries).items():
                for name in names:
                    table.setdefault(kind, {}).setdefault(name, []).append(version)
    flat = {
        kind: {name: " ".join(seen) for name, seen in sorted(names.items())} for kind, names in sorted(table.items())
    }
    out = Path(__file__).with_name("real_names.json")
    out.write_text(json.dumps(flat, indent=1) + "\n")
    print(f"{sum(map(len, flat.values()))} names in {out}")


if __name__ == "__main__":
    main()
