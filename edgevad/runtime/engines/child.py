"""Starting one of our modules in a process of its own."""

from __future__ import annotations

import sys

__all__ = ["child_command"]


def child_command(module: str) -> list[str]:
    """The command that runs `main()` of our `module` with this Python.

    Unlike `python -m` it does not import from the working folder, where anything may lie about.
    """
    code = f"import sys; sys.path[:] = [p for p in sys.path if p]; from {module} import main; sys.exit(main())"
    return [sys.executable, "-c", code]
