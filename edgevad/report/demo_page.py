"""The page somebody opens after the demo: what was found, what was missed, and the pictures."""

from __future__ import annotations

from html import escape
from pathlib import Path

from edgevad._files import atomic_file
from edgevad.evaluation.evaluate import Evaluation
from edgevad.runtime.session import RunSummary

__all__ = ["write_demo_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100%; border: 1px solid #ddd } table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #e5e5e5 }
.number { text-align: right } .missed { color: #b3261e } figure { margin: 1.5rem 0 } figcaption { color: #555 }
"""


def write_demo_page(out: Path, evaluation: Evaluation, run: RunSummary) -> Path:
    """Write `index.html` into `out`, with links relative to it; return its path.

    Raises:
        OutputError: it cannot be written.
    """
    match = evaluation.match
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>edgevad demo</title><style>{_STYLE}</style></head><body>
<h1>edgevad demo</h1>
<p>A drive was rendered, a model was fitted to it <b>without labels</b>, exported, and run frame by frame over the same
drive. It raised {run.event_count} events at {run.fps_hz:.0f} frames a second. Only afterwards the labels were read:</p>
<table>
<tr><th>frame AUROC</th><td>{_number(evaluation.auroc)}</td><td>1 = every anomalous frame scores above every normal one,
0.5 = chance</td></tr>
<tr><th>events found</th><td>{sum(match.found)} of {len(match.found)}</td>
<td>at the threshold chosen without labels</td></tr>
<tr><th>false alarms</th><td>{evaluation.false_alarms}</td><td>in {evaluation.frames.duration_s / 60:.0f} minutes with
bridge shadows, oncoming cars and puddle glare</td></tr>
</table>
<h2>What was found</h2>
<table><tr><th>anomaly</th><th class="number">events found</th><th class="number">frame AUROC</th></tr>
{_kinds(evaluation)}</table>
<figure><a href="evaluation/evaluation.png"><img src="evaluation/evaluation.png" alt="Anomaly score over the drive"></a>
<figcaption>Anomaly score over the drive, labelled anomalies shaded; below, the highest-scoring frames and where in them
the error is.</figcaption></figure>
<figure><a href="model/history.png"><img src="model/history.png" alt="Training"></a>
<figcaption>Training: the entropy weight is moved until the model explains what recurs in the drive and no
more.</figcaption></figure>
<p>Also here: <a href="run/annotated.mp4">run/annotated.mp4</a> (the drive with heatmap and score strip),
<a href="drive/drive.mp4">drive/drive.mp4</a>, <a href="run/events.jsonl">run/events.jsonl</a>,
<a href="run/frames.jsonl">run/frames.jsonl</a>, <a href="evaluation/metrics.json">evaluation/metrics.json</a>,
<a href="model/history.csv">model/history.csv</a>.</p>
</body></html>
"""
    path = out / "index.html"
    with atomic_file(path, "w") as stream:
        stream.write(page)
    return path


def _kinds(evaluation: Evaluation) -> str:
    rows = []
    for kind in evaluation.kinds:
        style = ' class="missed"' if kind.events_found < kind.events else ""
        rows.append(
            f'<tr{style}><td>{escape(kind.name)}</td><td class="number">{kind.events_found} of {kind.events}</td>'
            f'<td class="number">{_number(kind.auroc["window"])}</td></tr>\n'
        )
    return "".join(rows)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
