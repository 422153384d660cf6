"""edgevad: fully unsupervised video anomaly detection for vehicles."""

from __future__ import annotations

__version__ = "0.1.0"
