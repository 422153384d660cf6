"""Device profiles: what a target can do, in TOML beside this file (docs/targets.md)."""

from __future__ import annotations

from edgevad.targets.loading import load_target, target_names
from edgevad.targets.profile import Backend, Precision, Software, Target

__all__ = ["Backend", "Precision", "Software", "Target", "load_target", "target_names"]
