"""TensorRT engines: built on the machine that runs them, kept, and found again (docs/engines.md)."""

from __future__ import annotations
