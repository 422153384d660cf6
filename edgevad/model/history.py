"""What happened while training, one row a round: `history.csv` and a plot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from edgevad._extras import require
from edgevad._files import atomic_file

__all__ = ["COLUMNS", "History"]

COLUMNS = (
    "round",
    "step",
    "loss",
    "reconstruction",
    "explained",
    "explained_target",
    "entropy_nats",
    "entropy_weight",
    "latent_scale",
    "learning_rate",
    "phase",
    "frames_per_s",
    # What the decisions rest on, the same in every row: how often the view was seen to move, what share of the variance
    # recurs at other times, and what share as many principal components as latents explain.
    "camera_moving_share",
    "recurrence",
    "template_share",
)


class History:
    """Rows of a training run; `rows` holds plain JSON values under the names in COLUMNS."""

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows: list[dict[str, Any]] = rows or []

    def add(self, **row: Any) -> None:
        if tuple(row) != COLUMNS:
            raise ValueError(f"expected the columns {COLUMNS} but got {tuple(row)}")
        self.rows.append(row)

    def write_csv(self, path: Path) -> None:
        with atomic_file(path, "w") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in self.rows:
                writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})

    def plot(self, path: Path) -> None:
        """Draw explained variance, entropy and its weight against steps, as a PNG.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure_class = require("matplotlib.figure", extra="report", needed_for="the training plot").Figure
        figure = figure_class(figsize=(9, 6.5), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, sharex=True)
        steps = [row["step"] for row in self.rows]

        def line(axis: Any, column: str, label: str, color: str) -> None:
            axis.plot(steps, [row[column] for row in self.rows], color=color, marker=".", label=label)

        line(top, "explained", "explained by the model", "#0072b2")
        if self.rows and self.rows[0]["explained_target"] is not None:
            line(top, "explained_target", "target", "#999999")
        top.set_ylabel("share of variance")
        line(middle, "entropy_nats", "Rényi-2 entropy of the latents", "#d55e00")
        middle.set_ylabel("nats")
        line(bottom, "entropy_weight", "entropy weight", "#009e73")
        if any(row["entropy_weight"] > 0 for row in self.rows):
            bottom.set_yscale("log")
        bottom.set_xlabel("step")
        settling = [row["step"] for row in self.rows if row["phase"] == "settling"]
        for axis in (top, middle, bottom):
            if settling:
                axis.axvspan(settling[0], settling[-1], color="#000000", alpha=0.06, label="learning rate falls to 0")
            axis.grid(alpha=0.25)
            axis.legend(loc="best", fontsize=8, frameon=False)
        with atomic_file(path) as stream:
            figure.savefig(stream, format="png", dpi=110)
