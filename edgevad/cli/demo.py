"""edgevad demo: the whole way on a drive that edgevad makes itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.demo import DemoResult

__all__ = ["register"]

TITLES = {
    "synth": "rendering a drive with labelled anomalies",
    "train": "training on it, without the labels",
    "export": "exporting the model for this machine",
    "run": "scoring the drive frame by frame",
    "evaluate": "comparing with the labels",
}


def register(app: typer.Typer) -> None:
    """Add `demo` to the application."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(help="Length of the drive.")] = 240.0,
    seed: Annotated[int, typer.Option(help="Of the drive and of the model.")] = 0,
    json_output: Json = False,
) -> None:
    """See it work: render a drive, train, export, run, evaluate, and open the pictures."""
    from edgevad._extras import require

    for package in ("torch", "safetensors", "onnx", "onnxscript", "matplotlib", "sklearn"):
        require(package, extra="train", needed_for="edgevad demo")
    from edgevad.demo import run_demo
    from edgevad.model.trainer import TrainConfig
    from edgevad.synth import SynthConfig

    config = SynthConfig(seconds=seconds, seed=seed)
    result = run_demo(out, config, _View(), TrainConfig(seed=seed))
    if json_output:
        print(json.dumps(result.to_json(), allow_nan=False))
    else:
        _report(result)


class _View:
    """Stage by stage on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._number = 0
        self._status: Any = None

    def begins(self, stage: str) -> None:
        self._number += 1
        title = f"[{self._number}/5] {TITLES[stage]}"
        self._status = None if stage == "train" else self._console.status(title)
        if self._status is None:
            self._console.print(title, markup=False)
        else:
            self._status.start()

    def ended(self, stage: str, seconds: float, sentence: str) -> None:
        if self._status is None:
            self._console.print(f"      {seconds:.0f} s: {sentence}", markup=False)
            return
        self._status.stop()
        self._console.print(f"[{self._number}/5] {TITLES[stage]}\n      {seconds:.0f} s: {sentence}", markup=False)

    def broke_off(self) -> None:
        if self._status is not None:
            self._status.stop()

    def rendered(self, done: int, total: int) -> None:
        if self._status is not None and done % 20 == 0:
            self._status.update(f"[{self._number}/5] {TITLES['synth']}: {done} of {total} frames")

    @contextmanager
    def training(self) -> Iterator[Any]:
        from edgevad.report.training_progress import training_progress

        with training_progress() as observer:
            yield observer


def _report(result: DemoResult) -> None:
    from rich.console import Console
    from rich.table import Table

    evaluation, match = result.evaluation, result.evaluation.match
    console = Console(highlight=False)
    table = Table(title="Found without a single label", title_justify="left")
    table.add_column("anomaly")
    table.add_column("events found", justify="right")
    table.add_column("frame AUROC", justify="right")
    for kind in evaluation.kinds:
        found = f"{kind.events_found} of {kind.events}"
        auroc = kind.auroc["window"]
        table.add_row(kind.name, found, "" if auroc is None else f"{auroc:.3f}")
    table.add_section()
    table.add_row("all", f"{sum(match.found)} of {len(match.found)}", f"{evaluation.auroc:.3f}", style="bold")
    console.print(table)
    minutes = evaluation.frames.duration_s / 60
    console.print(f"False alarms: {evaluation.false_alarms} in {minutes:.0f} minutes of driving with bridge shadows,")
    console.print("oncoming cars and puddle glare. AUROC: 1 is perfect, 0.5 is chance.")
    console.print(f"Took {sum(result.stage_s.values()):.0f} s. Open [bold]{result.page}[/bold] to see it.")
