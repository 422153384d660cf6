"""The page of a verdict: what was asked, what both said, why it passed or not. One file, nothing fetched."""

from __future__ import annotations

from html import escape

import numpy as np

from edgevad.refit.checks import probe_table
from edgevad.refit.standing_out import STANDS_OUT
from edgevad.refit.verdict import Check, Verdict
from edgevad.report.gate_figures import bars_svg, picture_html, scores_svg

__all__ = ["gate_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } .passed { color: #00684a } .failed { color: #b3261e }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #e5e5e5; vertical-align: top }
.number { text-align: right; white-space: nowrap } figure { display: inline-block; margin: .4rem .8rem .4rem 0 }
figcaption, .dim { color: #555; font-size: .85rem } img { margin-right: 3px; image-rendering: pixelated }
"""
_TITLES = {"recent": "Recent drives, held out", "replay": "What was learned before"}


def gate_page(verdict: Verdict, *, title: str, depth: str = "") -> str:
    """The whole page as HTML."""
    word, style = ("Passed", "passed") if verdict.passed else ("Refused", "failed")
    made = f", made by <b>{escape(depth)}</b>" if depth else ""
    frames = ", ".join(f"{count} {escape(name)}" for name, count in verdict.frames.items())
    drives = escape(", ".join(verdict.drives)) or "not known"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>edgevad: {escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}: <span class="{style}">{word}</span></h1>
<p>{escape(verdict.why)}</p>
<p class="dim">Challenger {escape(verdict.names[1])} ({verdict.challenger[:12]}){made}, against champion
{escape(verdict.names[0])} ({verdict.champion[:12]}), in {escape(verdict.engine)}. Frames: {frames}; drives: {drives};
{verdict.seconds:.0f} s.</p>
<table><tr><th></th><th>check</th><th class="number">challenger</th><th class="number">champion</th>
<th class="number">limit</th><th>what was found</th></tr>
{"".join(_row(check) for check in verdict.checks)}</table>
{_scores(verdict)}{_probes(verdict)}{_pictures(verdict)}
</body></html>
"""


def _row(check: Check) -> str:
    mark = {True: "✓", False: "✗", None: "-"}[check.passed]
    style = {True: "passed", False: "failed", None: "dim"}[check.passed]
    numbers = "".join(
        f'<td class="number">{_number(value)}</td>' for value in (check.challenger, check.champion, check.limit)
    )
    words = f"{numbers}<td>{escape(check.sentence)}</td>"
    return f'<tr><td class="{style}">{mark}</td><td>{escape(check.name)}</td>{words}</tr>\n'


def _scores(verdict: Verdict) -> str:
    evidence = verdict.evidence
    if evidence is None or not evidence.anomaly:
        return ""
    parts = []
    for name, (champion, challenger) in evidence.anomaly.items():
        stood_out = evidence.stood_out if name == "recent" else None
        shaded = None if stood_out is None else stood_out >= STANDS_OUT
        parts.append(f"<h2>{_TITLES.get(name, escape(name))}</h2>")
        parts.append(scores_svg(champion, challenger, evidence.thresholds, shaded))
    return (
        "".join(parts) + '<p class="dim">Anomaly scores in units of each one\'s own threshold. '
        "Shaded: what stood out from its own drive.</p>"
    )


def _probes(verdict: Verdict) -> str:
    parts = []
    for check in verdict.checks:
        if check.name.startswith("probes, "):
            name = check.name.removeprefix("probes, ")
            parts.append(f"<h2>Controlled anomalies: {_TITLES.get(name, escape(name)).lower()}</h2>")
            parts.append(bars_svg(probe_table(check)))
    if parts:
        parts.append('<p class="dim">AUROC of each kind; gray the champion, blue the challenger; dashed is chance.</p>')
    return "".join(parts)


def _pictures(verdict: Verdict) -> str:
    evidence = verdict.evidence
    if evidence is None:
        return ""
    shown = [picture_html(list(pair), kind) for kind, pair in evidence.probes.items()]
    text = "<h2>Pictures, as the model sees them</h2>" + "".join(shown)
    for images, caption in ((evidence.recent, "recent frames"), (evidence.replay, "frames of what was learned before")):
        if len(images):
            text += picture_html([np.asarray(image) for image in images], caption)
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
