"""Inference engines behind one small protocol."""

from __future__ import annotations

from edgevad.runtime.backends.backend import Backend, Scores

__all__ = ["Backend", "Scores"]
