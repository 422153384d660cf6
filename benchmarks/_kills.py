"""Kills a program at random moments and looks at what it left: what every subject of benchmarks.kills shares.

A subject is a module with two functions:

    run(directory: Path) -> None
        Called in a process of its own: works on endlessly, and calls `acknowledge` after everything that it has done
        and that therefore must not be lost.
    check(directory: Path, acknowledged: Sequence[dict[str, Any]]) -> Verdict
        Called here after the kill, with all that was acknowledged in this life: opens what is there as the next start
        would, and says what is missing.

and, where its lives are to be longer than LONGEST_LIFE_S, a constant of that name; and where what it imports takes
longer than a life, PRELOAD, the names of modules that a process has imported which all lives are forked from. The same
folder is used for all lives of a subject, as in a car.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["Verdict", "acknowledge", "kill_repeatedly"]

ROOT = Path(__file__).resolve().parents[1]
# Long enough to get through several events, short enough to be hit within each step of one now and then.
LONGEST_LIFE_S = 1.5


@dataclass
class Verdict:
    """What was found after one kill.

    Attributes:
        lost_s: seconds of video between the last frame that was acknowledged and the last that can be read, one value
            for every stream that was being recorded at that moment.
        problems: what should not be, one sentence each.
        laps, resumed: runs that came to their end in this life, and those of them that had been cut off before.
    """

    lost_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    laps: int = 0
    resumed: int = 0


def acknowledge(**facts: Any) -> None:
    """Tell the one who kills, in the child: this is done."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def kill_repeatedly(subject: str, directory: Path, *, kills: int, seed: int = 0) -> list[Verdict]:
    """Start the module `subject` on `directory`, kill -9 it after a random time, check; and again."""
    chance = random.Random(seed)
    module = import_module(subject)
    longest_s = getattr(module, "LONGEST_LIFE_S", LONGEST_LIFE_S)
    return [
        module.check(directory, _one_life(subject, directory, chance.uniform(0.0, longest_s))) for _ in range(kills)
    ]


def _one_life(subject: str, directory: Path, life_s: float) -> Sequence[dict[str, Any]]:
    """All that the child acknowledged until it was killed, `life_s` after its first word."""
    preload = getattr(import_module(subject), "PRELOAD", ())
    return _forked_life(subject, directory, life_s, preload) if preload else _started_life(subject, directory, life_s)


def _forked_life(subject: str, directory: Path, life_s: float, preload: Sequence[str]) -> Sequence[dict[str, Any]]:
    """The same, of a child of a process that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([subject, *preload])
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        said.touch()
        child = context.Process(target=_live, args=(subject, str(directory), str(said)))
        child.start()
        while child.is_alive() and not said.stat().st_size:
            time.sleep(0.02)
        child.join(life_s)
        child.kill()
        child.join()
        if child.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{subject} ended by itself, with {child.exitcode}")
        return [json.loads(line) for line in said.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _live(subject: str, directory: str, said: str) -> None:
    sys.stdout = Path(said).open("a")  # noqa: SIM115 - until it is killed
    import_module(subject).run(Path(directory))


def _started_life(subject: str, directory: Path, life_s: float) -> Sequence[dict[str, Any]]:
    """The same, of a child that is started."""
    code = "import sys; from importlib import import_module; from pathlib import Path; "
    code += "import_module(sys.argv[1]).run(Path(sys.argv[2]))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, subject, str(directory)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert child.stdout is not None
    timer = threading.Timer(life_s, child.kill)
    lines: list[str] = []
    try:
        for line in child.stdout:
            if not lines:
                timer.start()
            lines.append(line)
    finally:
        timer.cancel()
        child.kill()
        child.stdout.close()
        code_of_child = child.wait()
    if code_of_child != -signal.SIGKILL:
        raise RuntimeError(f"{subject} ended by itself, with {code_of_child}")
    # The pipe itself may have been cut within the last line.
    return [json.loads(line) for line in lines if line.endswith("\n")]
