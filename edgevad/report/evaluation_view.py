"""An evaluation as tables on the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.evaluation.evaluate import Evaluation, SeriesName

__all__ = ["evaluation_tables"]

_COLUMNS: dict[SeriesName, str] = {"window": "runtime window", "frame": "no window", "centred": "centred, offline"}


def evaluation_tables(evaluation: Evaluation, files: list[str]) -> RenderableType:
    """The headline first, then all metrics, the events, each kind of anomaly, and what was left out."""
    parts: list[RenderableType] = ["", _parts(evaluation)] if evaluation.parts else []
    return Group(_headline(evaluation, files), "", _series(evaluation), *parts, "", _kinds(evaluation))


def _headline(evaluation: Evaluation, files: list[str]) -> Table:
    match, now, frames = evaluation.match, evaluation.detection, evaluation.frames
    budget = evaluation.alarms_per_hour
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("frame AUROC", Text(_share(evaluation.auroc), style="bold"))
    table.add_row("events found", Text(f"{sum(match.found)} of {len(match.found)}", style="bold"))
    rate = "" if evaluation.false_alarms_per_hour is None else f" ({evaluation.false_alarms_per_hour:.1f} an hour)"
    table.add_row("false alarms", Text(f"{evaluation.false_alarms}{rate}", style="bold"))
    given = "given" if budget is None else f"for {budget:g} false alarm{'' if budget == 1 else 's'} an hour"
    window = f"{evaluation.window.kind} of {evaluation.window.length_s:g} s"
    table.add_row("threshold", f"{evaluation.threshold:.2f} ({given}), window: {window}")
    table.add_row(
        "frames called", f"precision {_share(now.precision)}, recall {_share(now.recall)}, F1 {_share(now.f1)}"
    )
    if now.false_positive_rate is not None:
        table.add_row("", f"{now.false_positive_rate:.1%} of the normal frames")
    table.add_row("model", Text(f"{evaluation.name} ({evaluation.path})"))
    table.add_row("recording", Text(f"{evaluation.source}: {len(frames)} frames, {frames.duration_s / 60:.1f} min"))
    table.add_row("left out", _left_out(evaluation))
    for k, file in enumerate(files):
        table.add_row("" if k else "written", Text(file))
    return table


def _left_out(evaluation: Evaluation) -> str:
    counts = evaluation.to_json()["left_out"]
    named = {
        "ambiguous": "labelled ambiguous",
        "warming_up": "before the model could score",
        "skipped": "unreadable or deleted",
    }
    parts = [f"{counts[key]} {words}" for key, words in named.items() if counts[key]]
    return "frames: " + ", ".join(parts) if parts else "no frame"


def _series(evaluation: Evaluation) -> Table:
    metrics = [evaluation.series[name] for name in _COLUMNS]
    table = Table(title="Scores against labels", title_justify="left")
    table.add_column("metric")
    for words in _COLUMNS.values():
        table.add_column(words, justify="right")
    segments = metrics[0].segments
    table.add_row("AUROC, all frames", *(_share(m.auroc) for m in metrics), style="bold")
    table.add_row("average precision", *(_share(m.average_precision) for m in metrics))
    table.add_row(f"AUROC, mean of {segments} segments", *(_share(m.segment_auroc) for m in metrics))
    table.add_row("AUROC, scaled by segment", *(_share(m.normalised_auroc) for m in metrics))
    table.add_row("best F1", *(_share(m.best_f1) for m in metrics))
    table.add_row("  at threshold", *(_number(m.best_threshold) for m in metrics))
    return table


def _parts(evaluation: Evaluation) -> Table:
    """What each part of the score is worth by itself, and how many events it was the cause of."""
    table = Table(title="Parts of the score", title_justify="left")
    table.add_column("part")
    table.add_column("AUROC alone", justify="right")
    table.add_column("events", justify="right")
    causes = [event.cause for event in evaluation.events]
    for name, auroc in evaluation.parts.items():
        table.add_row(name, _share(auroc), str(causes.count(name)))
    return table


def _kinds(evaluation: Evaluation) -> Table:
    table = Table(title="Kinds of anomaly", title_justify="left")
    table.add_column("kind", overflow="fold")
    table.add_column("events found", justify="right", no_wrap=True)
    table.add_column("frames", justify="right", no_wrap=True)
    table.add_column("AUROC", justify="right", no_wrap=True)
    for kind in evaluation.kinds:
        missed = kind.events_found < kind.events
        table.add_row(
            Text(kind.name),
            Text(f"{kind.events_found} of {kind.events}", style="red" if missed else "green"),
            str(kind.frames),
            _share(kind.auroc["window"]),
        )
    return table


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}"
