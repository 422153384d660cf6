"""Building and refitting in a process of their own, watched from here."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import edgevad.errors
from edgevad.errors import EdgevadError, EngineError
from edgevad.runtime.engines.child import child_command
from edgevad.runtime.engines.options import BuildProgress, BuildStep, EngineOptions

__all__ = ["build_engine"]

_WORKER = "edgevad.runtime.engines.worker"


def build_engine(
    graph: bytes,
    options: EngineOptions,
    *,
    refit: bytes | None = None,
    timing_path: Path | None = None,
    progress: BuildProgress | None = None,
) -> bytes:
    """`engine_from_onnx`, or `refit_engine` of the engine `refit`, in another process: serialised engine.

    That process ends with this one, and leaves no file behind but the measurements. An exception from `progress` ends
    it, too.

    Raises:
        MissingExtraError: TensorRT is not installed.
        GraphError: TensorRT's parser refuses the graph.
        EngineError: the engine cannot be built, or the process was killed or crashed.
    """
    job = {
        "options": options.to_json(),
        "timing_path": None if timing_path is None else str(timing_path.absolute()),
        "graph_bytes": len(graph),
        "engine_bytes": None if refit is None else len(refit),
    }
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                child_command(_WORKER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=-1
            )
        except OSError as error:
            raise EngineError(f"the process that builds could not be started ({error})") from error
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it died: its exit code says how
                process.stdin.write(json.dumps(job).encode() + b"\n" + graph + (refit or b""))
                process.stdin.flush()
            engine = _listen(process.stdout, progress)
            if engine is None:
                raise _death(process.wait(), log)
            return engine
        finally:
            with suppress(OSError):
                process.kill()
            with suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()


def _listen(lines: IO[bytes], progress: BuildProgress | None) -> bytes | None:
    """What the process says until it gives the engine; None where it ends without one."""
    for line in lines:
        try:
            value: dict[str, Any] = json.loads(line)
        except ValueError:
            return None  # a line cut off by its death
        if "step" in value:
            if progress is not None:
                progress(BuildStep(**value["step"]))
        elif "error" in value:
            raise _error(value)
        else:
            engine = lines.read(value["bytes"])
            return engine if hashlib.sha256(engine).hexdigest() == value["sha256"] else None
    return None


def _error(value: dict[str, Any]) -> EdgevadError:
    """The error that was raised over there."""
    kind = getattr(edgevad.errors, str(value["error"]), EngineError)
    if kind is edgevad.errors.MissingExtraError:
        return edgevad.errors.MissingExtraError("tensorrt", extra="tensorrt", needed_for="building an engine")
    error: EdgevadError = kind(**value["parts"])
    return error


def _death(code: int, log: IO[bytes]) -> EngineError:
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()[-1:]
    last = f" ({said[0][:300]})" if said else ""
    if code == -signal.SIGKILL:
        return EngineError(
            "the process that builds the engine was killed, most likely for want of memory",
            fix="Close other programs, add swap space, or lower workspace_mib in the target's profile and export again",
        )
    if code < 0:
        return EngineError(
            f"the process that builds the engine crashed with signal {-code}{last}",
            fix="Likely causes: (1) TensorRT and the driver do not fit each other; (2) a layer TensorRT fails on: "
            "export for another precision",
        )
    return EngineError(f"the process that builds the engine ended with code {code}{last}")
