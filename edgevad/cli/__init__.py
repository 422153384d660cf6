"""The command line. Each command is one thin module; heavy imports happen inside the commands, never here."""

from __future__ import annotations

from edgevad.cli.app import main

__all__ = ["main"]
