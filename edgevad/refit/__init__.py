"""Keeping a model fresh: what is learnt from, three depths of adaptation, the gate, drift (docs/refit.md)."""
