"""Where a device keeps what is its own: slots, the keys it trusts."""

from __future__ import annotations

import os
from pathlib import Path

from edgevad.errors import OptionError

__all__ = ["home_directory"]


def home_directory() -> Path:
    """$EDGEVAD_HOME, or ~/.local/share/edgevad.

    Raises:
        OptionError: neither is known, as in a container for a user without a home.
    """
    home = os.environ.get("EDGEVAD_HOME")
    try:
        return Path(home).expanduser() if home else Path.home() / ".local" / "share" / "edgevad"
    except RuntimeError as error:
        raise OptionError(f"there is no home folder ({error})", fix="Set EDGEVAD_HOME to a folder") from error
