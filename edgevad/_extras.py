"""Optional parts: imported where they are used, and named exactly when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgevad.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str, needed_for: str) -> ModuleType:
    """Import `module`, or say which pip install brings or mends it.

    Raises:
        MissingExtraError: the module's top-level package is not installed, or its installation is broken.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and (error.name or package).partition(".")[0] == package
        broken = None if is_missing else str(error)
        raise MissingExtraError(package, extra=extra, needed_for=needed_for, broken=broken) from error
