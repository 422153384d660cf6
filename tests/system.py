"""Parts of the system that tests use, and that a machine may lack."""

from __future__ import annotations

import os

import pytest

__all__ = ["require"]


def require(missing: str | None) -> None:
    """Skip the test where something is `missing`; in CI, which installs it (scripts/packages), fail it."""
    if missing is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI lacks it: {missing}")
    pytest.skip(missing)
