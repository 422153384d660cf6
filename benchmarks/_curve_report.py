"""Curves as tables and pictures; a result is a mapping of JSON values, one for each point and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevad._files import atomic_file
from edgevad.report.plots import require_matplotlib

__all__ = ["RULE", "SERIES", "as_table", "by_point", "cost_table", "plot_cost", "plot_curve", "regret"]

Result = Mapping[str, Any]
# The point at which the method chooses by itself.
RULE = "rule"
SERIES = {"auroc": ("all parts", "#0072b2", "o"), "residual": ("residual alone", "#d55e00", "s")}


def by_point(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results of each point, in order of first appearance."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(str(result["x"]), []).append(result)
    return groups


def regret(results: Sequence[Result], key: str) -> tuple[float, str] | None:
    """How far the rule lies below the best other point (means over seeds), and which that is; below 0: it is above.

    None where there is no rule among the points, or nothing else.
    """
    means = {x: float(np.mean([one[key] for one in group])) for x, group in by_point(results).items()}
    own = means.pop(RULE, None)
    if own is None or not means:
        return None
    best = max(means, key=lambda x: means[x])
    return means[best] - own, best


def as_table(results: Sequence[Result], axis: str) -> str:
    """Markdown: a row for each point, means over seeds with their range, and the rule's regret below it."""
    lines = [
        f"| {axis} | frames (anomalous) | seeds | **AUROC, all parts** | AUROC, residual alone | explained (target) "
        "| weight | rounds | training s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for x, group in by_point(results).items():
        first = group[0]
        target = "" if first["target"] is None else f" ({first['target']:.3f})"
        lines.append(
            f"| {x} | {first['frames']} ({first['anomalies']}) | {len(group)} | **{_spread(group, 'auroc')}** "
            f"| {_spread(group, 'residual')} | {_mean(group, 'explained'):.3f}{target} | {_mean(group, 'weight'):.3g} "
            f"| {_mean(group, 'rounds'):.0f} | {_mean(group, 'training_s'):.0f} |"
        )
    for key, (name, _, _) in SERIES.items():
        found = regret(results, key)
        if found is not None:
            lines.append(f"\nRegret of the rule, {name}: {found[0]:+.4f} (best of the others: {axis} {found[1]})")
    return "\n".join(lines)


def cost_table(results: Sequence[Result]) -> str:
    """Markdown of `cost_results`: steps first, random features below."""
    lines = [
        "| batch | step with, ms of CPU | without | share by difference (min to max) | the term alone, ms | its share "
        "| one N x N float32 | measured peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in (row for row in results if row["kind"] == "step"):
        peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:.1f} MB"
        lines.append(
            f"| {row['batch']} | {row['with_ms']:.1f} | {row['without_ms']:.1f} | {row['share']:.1%} "
            f"({row['share_min']:.1%} to {row['share_max']:.1%}) | {row['term_ms']:.2f} "
            f"| {row['term_ms'] / row['with_ms']:.1%} | {row['matrix_mb']:.3g} MB | {peak} |"
        )
    lines += [
        "",
        "| latents | features | entropy, nats | mean error (largest) | gradients, cosine | pairs, ms | features, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in (row for row in results if row["kind"] == "fourier"):
        lines.append(
            f"| {row['latents']} | {row['features']} | {row['entropy']:.3f} | {row['mean_error']:.3f} "
            f"({row['largest_error']:.3f}) | {row['gradient_cosine']:.3f} | {row['exact_ms']:.1f} "
            f"| {row['fourier_ms']:.1f} |"
        )
    return "\n".join(lines)


def plot_curve(results: Sequence[Result], axis: str, title: str, path: Path) -> None:
    """Both AUROCs against the points, evenly apart in their order, with the range over seeds; the rule is a line."""
    figure = require_matplotlib().Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    groups = by_point(results)
    rule = groups.pop(RULE, None)
    for key, (name, color, marker) in SERIES.items():
        means = [_mean(group, key) for group in groups.values()]
        low, high = ([limit(one[key] for one in group) for group in groups.values()] for limit in (min, max))
        axes.plot(range(len(groups)), means, color=color, marker=marker, label=name)
        if any(len(group) > 1 for group in groups.values()):
            axes.fill_between(range(len(groups)), low, high, color=color, alpha=0.15, linewidth=0)
        if rule is not None:
            axes.axhline(_mean(rule, key), color=color, linestyle="--", linewidth=1.0, label=f"{name}, by the rule")
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(xlabel=axis, ylabel="frame AUROC, 1 s window", title=title)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)
    _save(figure, path)


def plot_cost(results: Sequence[Result], title: str, path: Path) -> None:
    """Share of a step and extra memory against the batch size."""
    figure = require_matplotlib().Figure(figsize=(6.4, 4.2), layout="constrained")
    time, memory = figure.subplots(2, 1, sharex=True)
    rows = [row for row in results if row["kind"] == "step"]
    batches = [row["batch"] for row in rows]
    time.plot(batches, [100 * row["share"] for row in rows], color="#0072b2", marker="o", label="by difference")
    alone = [100 * row["term_ms"] / row["with_ms"] for row in rows]
    time.plot(batches, alone, color="#e69f00", marker="s", label="the term alone")
    time.legend(fontsize=9)
    time.fill_between(
        batches,
        [100 * row["share_min"] for row in rows],
        [100 * row["share_max"] for row in rows],
        color="#0072b2",
        alpha=0.15,
        linewidth=0,
    )
    time.set(ylabel="share of a step, %", title=title)
    memory.plot(batches, [row["matrix_mb"] for row in rows], color="#8c8c8c", marker="s", label="one N x N float32")
    measured = [(row["batch"], row["peak_mb"]) for row in rows if row["peak_mb"]]
    if measured:
        memory.plot(*zip(*measured, strict=True), color="#d55e00", marker="o", label="measured")
    memory.set(xlabel="batch size", ylabel="extra memory, MB", yscale="log")
    memory.set_xscale("log", base=2)
    memory.set_xticks(batches, [str(batch) for batch in batches])
    memory.legend(fontsize=9)
    for axes in (time, memory):
        axes.grid(alpha=0.25)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=120)


def _mean(group: Sequence[Result], key: str) -> float:
    return float(np.mean([one[key] for one in group]))


def _spread(group: Sequence[Result], key: str) -> str:
    values = [one[key] for one in group]
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"
