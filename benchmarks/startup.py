"""How long `edgevad --help` takes, beside a bare interpreter.

    python -m benchmarks.startup [--runs 7]

Bar: the fastest of the runs below 0.4 s. That nothing heavy is imported is tested in tests/test_package.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

BAR_S = 0.4


def main() -> None:
    """Time both in turn and print their minima and medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    commands = {"edgevad --help": ["-m", "edgevad", "--help"], "python -c pass": ["-c", "pass"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    for name, values in times.items():
        values.sort()
        print(f"{name:16s} min {values[0]:.3f} s, median {values[len(values) // 2]:.3f} s")
    sys.exit(times["edgevad --help"][0] >= BAR_S)


if __name__ == "__main__":
    main()
