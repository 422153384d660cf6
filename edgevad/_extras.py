"""Optional parts: imported where they are used, and named exactly when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgevad.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str, needed_for: str) -> ModuleType:
    """Import `module`, or say which pip install brings it.

    Raises:
        MissingExtraError: the module's top-level package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(package, extra=extra, needed_for=needed_for) from error
