"""An evaluation as files: metrics, scores frame by frame, and a picture."""

from __future__ import annotations

from pathlib import Path

from edgevad._files import write_json
from edgevad.evaluation.evaluate import Evaluation
from edgevad.report.plots import plot_evaluation

__all__ = ["write_evaluation"]


def write_evaluation(evaluation: Evaluation, out: Path) -> list[str]:
    """Write metrics.json, scores.csv and evaluation.png into `out`; return their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    metrics, scores, picture = out / "metrics.json", out / "scores.csv", out / "evaluation.png"
    write_json(metrics, evaluation.to_json())
    evaluation.frames.write_csv(scores)
    plot_evaluation(evaluation, picture)
    return [str(metrics), str(scores), str(picture)]
