"""What kill -9 at random moments costs: how much video, and whether everything opens clean.

    python -m benchmarks.kills [store …] [--kills 50] [--seed 0] [--json]

Each subject is a module beside this one, `_kill_NAME.py` (see _kills.py). Bar: no problem found, at most 1 s lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._common import Row, add_json_option, guarded, report
from benchmarks._kills import kill_repeatedly

SUBJECTS = ("store", "drives", "slots", "refit")
BAR = "video lost by a kill, largest (s)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill every subject and report; 1 where one of them does not hold."""
    parser = argparse.ArgumentParser(prog="benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; all without it")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if unknown := set(options.subjects) - set(SUBJECTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    problems: list[str] = []
    for subject in options.subjects or SUBJECTS:
        with tempfile.TemporaryDirectory() as folder:
            module = f"benchmarks._kill_{subject}"
            verdicts = kill_repeatedly(module, Path(folder) / subject, kills=options.kills, seed=options.seed)
        problems += [f"{subject}, kill {k}: {text}" for k, one in enumerate(verdicts, 1) for text in one.problems]
        lost_s = [value for one in verdicts for value in one.lost_s]
        rows.append(Row(f"{subject}: kills", [float(len(verdicts))]))
        rows.append(Row(f"{subject}: of streams cut off while recording", [float(len(lost_s))]))
        if any(one.laps for one in verdicts):
            rows.append(Row(f"{subject}: runs that came to their end", [float(sum(one.laps for one in verdicts))]))
            rows.append(Row(f"{subject}: of them cut off before", [float(sum(one.resumed for one in verdicts))]))
        if lost_s:
            rows.append(Row(f"{subject}: lost of each (s)", lost_s, "s"))
            rows.append(Row(f"{subject}: most lost (s)", [max(lost_s)], "s", BAR))
    for problem in problems:
        print(problem, file=sys.stderr)
    return report("kills", rows, as_json=options.json) or int(bool(problems))


if __name__ == "__main__":
    sys.exit(guarded(main))
