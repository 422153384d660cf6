"""Builds or refits one engine in a process of its own: started by `edgevad.runtime.engines.building`.

Standard input: one line of JSON (the job), the graph, the old engine where it is refitted; then it stays open, and its
end tells that nobody waits any more. Standard output: a line of JSON for every sign of life, the last of them with
"bytes", and that many bytes of engine. Building takes gigabytes and minutes, and may be killed for it: this way it
costs the caller neither its life nor, afterwards, its memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from edgevad.errors import EdgevadError
from edgevad.runtime.engines.options import EngineOptions

__all__ = ["main"]


def _work(job: dict[str, Any], data: IO[bytes], out: IO[bytes]) -> bytes:
    graph = _exactly(data, job["graph_bytes"])
    old = None if job["engine_bytes"] is None else _exactly(data, job["engine_bytes"])
    threading.Thread(target=_leave_with_caller, name="edgevad-caller", daemon=True).start()
    from edgevad.export.engine_from_onnx import engine_from_onnx, refit_engine

    if old is not None:
        return refit_engine(old, graph)
    timing = job["timing_path"]
    return engine_from_onnx(
        graph,
        options=EngineOptions.from_json(job["options"]),
        timing_path=None if timing is None else Path(timing),
        progress=lambda step: _say(out, step=asdict(step)),
    )


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        os._exit(1)  # the caller is gone
    return data


def _leave_with_caller() -> None:
    """Nothing more is sent: what ends this is the end of the caller, by whatever signal."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _say(out: IO[bytes], **value: Any) -> None:
    out.write(json.dumps(value).encode() + b"\n")
    out.flush()


def main() -> int:
    # What libraries print to standard output must not come between our lines.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        engine = _work(json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer, out)
    except EdgevadError as error:
        parts = {"what": error.what, "where": error.where, "expected": error.expected, "fix": error.fix}
        _say(out, error=type(error).__name__, text=str(error), parts=parts)
        return 2
    _say(out, bytes=len(engine), sha256=hashlib.sha256(engine).hexdigest())
    out.write(engine)
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
