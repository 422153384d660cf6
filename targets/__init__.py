"""Device profiles."""

from __future__ import annotations

from edgevad.targets.profile import Target, load_target, target_names

__all__ = ["Target", "load_target", "target_names"]
