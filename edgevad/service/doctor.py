"""Looks over a machine: everything that edgevad needs of it, what is wrong, and how to put it right.

No check can take the others with it: each has its time, errors become findings, and whatever imports an engine, a
driver or OpenCV, or opens a camera, does so in a process of its own (`probes.py`), for some of these crash.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevad._masking import without_password
from edgevad.errors import EdgevadError
from edgevad.runtime.engines.child import child_command
from edgevad.service import checks
from edgevad.service.config import RunConfig, load_config
from edgevad.service.finding import Finding, failed, good, of_error
from edgevad.service.secrets import without_secrets

__all__ = ["MARK", "examine"]

# Stands before the findings among whatever libraries print.
MARK = "edgevad-findings "
_LIMIT_S = 20.0
# Engines load slowly from a board's card; an engine that is not in the cache is not built here.
_ENGINE_LIMIT_S = 180.0
# So many processes at once: they share the memory of a small board.
_CHILDREN = 2

_HERE: dict[str, Callable[[RunConfig | None], list[Finding]]] = {
    "python": checks.python,
    "packages": checks.packages,
    "cameras": checks.cameras,
    "disk": checks.disk,
    "clock": checks.clock,
    "permissions": checks.permissions,
    "machine": checks.machine,
    "service": checks.service,
}
_IN_A_CHILD = {"opencv": _LIMIT_S, "onnxruntime": _LIMIT_S, "gpu": _ENGINE_LIMIT_S, "bundle": _ENGINE_LIMIT_S}
_ORDER = (
    "python",
    "packages",
    "opencv",
    "cameras",
    "onnxruntime",
    "gpu",
    "bundle",
    "disk",
    "clock",
    "permissions",
    "machine",
)


@dataclass
class _Check:
    name: str
    limit_s: float
    look: Callable[[], list[Finding]]


def examine(config: Path | None = None, cameras: Sequence[str] = (), *, limit_s: float | None = None) -> list[Finding]:
    """Look at everything; never raises.

    Args:
        config: a configuration, whose needs are looked at, too.
        cameras: are opened and read from; those of the configuration are only looked for, for the service may have
            them open.
        limit_s: seconds for each check, None for its own limit.
    """
    loaded, findings = _config(config)
    # One that cannot be loaded would fail every child in the same way.
    request = {"config": str(config) if loaded is not None else None}
    children = threading.BoundedSemaphore(_CHILDREN)

    def in_a_child(name: str, seconds: float, camera: str = "") -> _Check:
        # The address of a stream may hold a password.
        about = without_password(camera) or name

        def look() -> list[Finding]:
            with children:
                return _child({**request, "check": name, "about": about, "camera": camera}, seconds)

        # Those before it may take their time, too.
        return _Check(about, seconds * (len(cameras) + len(_IN_A_CHILD)), look)

    planned: list[_Check] = []
    for name in (*_ORDER, "service"):
        if name in _HERE:
            planned.append(_Check(name, limit_s or _LIMIT_S, _bound(_HERE[name], loaded)))
        else:
            planned.append(in_a_child(name, limit_s or _IN_A_CHILD[name]))
        if name == "cameras":
            planned += [in_a_child("camera", limit_s or _LIMIT_S, camera=camera) for camera in cameras]
    # What libraries and children said is in them, word by word.
    return [_shown(finding) for finding in findings + _carry_out(planned)]


def _shown(finding: Finding) -> Finding:
    return Finding(**{key: without_secrets(value) for key, value in finding.to_json().items()})


def _bound(look: Callable[[RunConfig | None], list[Finding]], config: RunConfig | None) -> Callable[[], list[Finding]]:
    return lambda: look(config)


def _config(path: Path | None) -> tuple[RunConfig | None, list[Finding]]:
    if path is None:
        return None, []
    try:
        config = load_config(path)
    except EdgevadError as error:
        return None, [of_error("config", error)]
    return config, [
        good("config", f"{path}: every key is in order, cameras: {', '.join(c.name for c in config.cameras)}")
    ]


def _carry_out(planned: Sequence[_Check]) -> list[Finding]:
    """All at once, each in a thread that is left behind where it hangs."""
    answers: dict[int, list[Finding]] = {}

    def work(index: int, check: _Check) -> None:
        try:
            answers[index] = check.look()
        except EdgevadError as error:
            answers[index] = [of_error(check.name, error)]
        except Exception as error:
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            answers[index] = [failed(check.name, f"could not be looked at ({what[:300]})")]

    threads = []
    for index, check in enumerate(planned):
        thread = threading.Thread(target=work, args=(index, check), name=f"edgevad check {check.name}", daemon=True)
        thread.start()
        threads.append(thread)
    findings = []
    for index, (check, thread) in enumerate(zip(planned, threads, strict=True)):
        thread.join(check.limit_s)
        late = [failed(check.name, f"no answer within {check.limit_s:g} s", "Something hangs: look at dmesg")]
        findings += answers.get(index, late)
    return findings


def _child(request: dict[str, Any], limit_s: float) -> list[Finding]:
    about = str(request["about"])
    # By its input: everybody can read a command's arguments, and there may be a password.
    command = child_command("edgevad.service.probes")
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, errors="replace", timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return [failed(about, f"no answer within {limit_s:g} s", "A driver or device hangs: restart the machine")]
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            return [Finding(**row) for row in json.loads(line.removeprefix(MARK))]
    if done.returncode < 0:
        end = f"crashed with {_signal_name(-done.returncode)}"
    else:
        end = f"ended with exit code {done.returncode}"
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
    return [failed(about, f"the process that looked at it {end} ({said})", checks.CRASH_FIXES.get(request["check"]))]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
