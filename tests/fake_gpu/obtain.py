"""`python -m fake_gpu.obtain BUNDLE`: the engine of a bundle, in a process of its own; says how it came about."""

from __future__ import annotations

import sys

from edgevad.bundle import Bundle
from edgevad.runtime.engines.machine import Machine
from edgevad.runtime.engines.obtaining import obtain_engine, wish_for

ORIN = Machine("Fake Orin", "8.7", False, "L4T 36.4.0", "12.6", "10.3.0")

if __name__ == "__main__":
    obtained = obtain_engine(
        wish_for(Bundle.open(sys.argv[1])), machine=ORIN, progress=lambda step: print(step.phase, flush=True)
    )
    print(obtained.made, len(obtained.plan), flush=True)
