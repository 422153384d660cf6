"""The picture of a month: scores, false alarms, drift, and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from month import Day

# How a sentence about a day begins, the colour of its line, and what it is called.
_MARKS = (
    ("recalibrate: activated", "tab:green", "recalibrated"),
    ("adapt: activated", "tab:blue", "adapted"),
    ("refit: activated", "tab:purple", "refitted"),
    ("rolled back", "tab:red", "rolled back"),
    ("camera fault", "0.5", "camera fault"),
)


def draw(days: Sequence[Day], path: Path) -> None:
    """Write the picture of `days` to `path`."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    numbers = [day.number for day in days]
    figure, axes = plt.subplots(4, 1, sharex=True, figsize=(11, 9), height_ratios=(3, 1.4, 1.8, 0.6))
    scores, alarms, drift, season = axes
    medians = [day.median for day in days]
    scores.fill_between(numbers, medians, [day.high for day in days], alpha=0.3, label="50 to 95 %")
    scores.plot(numbers, medians, label="median, normal frames")
    scores.plot(numbers, [day.threshold for day in days], color="tab:red", drawstyle="steps-mid", label="threshold")
    scores.set_ylabel("anomaly score")
    alarms.bar(numbers, [day.alarmed for day in days], color="tab:orange", label="of normal frames, alarmed")
    shares = [day.found / day.shown if day.shown else float("nan") for day in days]
    alarms.plot(numbers, shares, "k.", label="of anomalies, found")
    alarms.set_ylim(-0.05, 1.6)
    alarms.set_ylabel("share")
    drift.plot(numbers, [day.drift for day in days], color="tab:brown", marker=".", label="largest shift")
    drift.axhline(1.0, color="0.6", linewidth=0.8)
    drift.set_ylabel("drift")
    season.imshow(
        np.array([[day.season for day in days]]),
        aspect="auto",
        extent=(numbers[0] - 0.5, numbers[-1] + 0.5, 0, 1),
        cmap="YlGnBu",
        vmin=0,
        vmax=1,
    )
    season.set_yticks([])
    season.set_ylabel("season")
    season.set_xlabel("day")
    seen: set[str] = set()
    for day in days:
        for start, color, name in _MARKS:
            if any(sentence.startswith(start) for sentence in day.told):
                for axis in (scores, alarms, drift):
                    axis.axvline(day.number + 0.3, color=color, linewidth=1.4, label=None if name in seen else name)
                seen.add(name)
    for axis in (scores, alarms, drift):
        axis.legend(loc="upper left", fontsize=7, ncols=4)
    figure.suptitle("A month on the road")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
