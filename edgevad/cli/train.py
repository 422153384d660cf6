"""edgevad train: from unlabelled recordings to a model folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import AlarmsPerHour, FpsHz, IncludeDeleted, Json, Window, WindowLength

if TYPE_CHECKING:
    from edgevad.model.training import Training, TrainingResult

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `train` to the application."""
    app.command("train")(train)


def train(
    context: typer.Context,
    sources: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer on Python 3.10 reads this at run time
        typer.Argument(metavar="SOURCE...", help="Unlabelled recordings: video, folder, glob, Donkeycar tub …"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the model.")] = ...,  # type: ignore[assignment]
    preset: Annotated[str, typer.Option(help="Size of the network: nano, small or base.")] = "small",
    appearance: Annotated[str, typer.Option(help="What it sees of a frame: log, gray, color or none.")] = "log",
    motion: Annotated[
        str, typer.Option(help="auto (flow where the camera stands still), none, difference or flow.")
    ] = "auto",
    lags_ms: Annotated[str, typer.Option(help="How far back each motion channel looks, e.g. 200,400.")] = "200",
    size_px: Annotated[Optional[int], typer.Option("--size", help="Model input in pixels a side.")] = None,  # noqa: UP045
    width: Annotated[Optional[int], typer.Option(help="Channels of the first convolution.")] = None,  # noqa: UP045
    depth: Annotated[Optional[int], typer.Option(help="How often the encoder halves the image.")] = None,  # noqa: UP045
    latent: Annotated[Optional[int], typer.Option(help="Dimensions of the latent.")] = None,  # noqa: UP045
    decoder: Annotated[str, typer.Option(help="linear (started from PCA templates) or conv.")] = "linear",
    score: Annotated[
        str, typer.Option(help="parts (several, each calibrated), or one: patch (largest local error), mse, pcc.")
    ] = "parts",
    entropy_weight: Annotated[
        str, typer.Option(help="auto (held by what the recording lets be explained) or a number.")
    ] = "auto",
    sigma: Annotated[float, typer.Option(help="Kernel width, in units of the latents' scale.")] = 1.0,
    fixed_kernel: Annotated[bool, typer.Option(help="Entropy of unscaled latents, as the paper writes it.")] = False,
    batch_size: Annotated[int, typer.Option(help="Frames a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-3,
    max_rounds: Annotated[
        int, typer.Option(help="Limit in rounds of 100 steps; the stopping rule may end earlier.")
    ] = 40,
    seed: Annotated[int, typer.Option(help="Of initialisation and order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(help="CPU threads; a second one only helps large networks on idle cores.")
    ] = 1,
    sample_fps: Annotated[float, typer.Option(help="Frames a second to train on at most; 0 keeps all.")] = 10.0,
    fps_hz: FpsHz = None,
    include_deleted: IncludeDeleted = False,
    include_never_train: Annotated[
        bool, typer.Option("--include-never-train", help="Learn from drives that are marked never train, too.")
    ] = False,
    window: Window = "mean",
    window_s: WindowLength = 1.0,
    alarms_per_hour: AlarmsPerHour = 1.0,
    name: Annotated[str | None, typer.Option(help="What to call the model.", show_default="the folder's name")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model in --out.")] = False,
    cache: Annotated[Optional[Path], typer.Option(help="Folder for resized frames.", show_default="in --out")] = None,  # noqa: UP045
    keep_cache: Annotated[bool, typer.Option("--keep-cache", help="Leave the resized frames on disk.")] = False,
    json_output: Json = False,
) -> None:
    """Fit a Minimal-Latent-Entropy autoencoder to unlabelled recordings."""
    from edgevad._extras import require
    from edgevad.cli._options import absolute_sources
    from edgevad.errors import OptionError

    require("torch", extra="train", needed_for="edgevad train")
    require("safetensors", extra="train", needed_for="edgevad train")
    from edgevad.model.config import preset as preset_config
    from edgevad.model.folder import Recipe
    from edgevad.model.trainer import TrainConfig
    from edgevad.model.training import Training
    from edgevad.runtime.window import WindowSpec

    most = 4 * (os.cpu_count() or 1)
    if not 1 <= threads <= most:
        raise OptionError(f"--threads {threads}", expected=f"1 to {most}")
    if resume:
        kept = {"out", "resume", "threads", "cache", "keep_cache", "json_output"}
        given = [name for name in context.params if _was_given(context, name) and name not in kept]
        if given:
            raise OptionError(
                "--resume goes on with the recordings and options it began with",
                fix="Leave everything but --out, --cache, --keep-cache, --threads and --json out",
            )
        training = Training.resume(out, cache=cache)
    else:
        if not include_never_train:
            _refuse_never_train(sources or [])
        sizes = {"size_px": size_px, "width": width, "depth": depth, "latent": latent}
        model = preset_config(
            preset,
            appearance=appearance,
            motion=motion,
            motion_lags_ms=_numbers("--lags-ms", lags_ms),
            decoder=decoder,
            score=score,
            **{key: value for key, value in sizes.items() if value is not None},
        )
        config = TrainConfig(
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_rounds=max_rounds,
            entropy_weight=_entropy_weight(entropy_weight),
            sigma=sigma,
            scale_free=not fixed_kernel,
            seed=seed,
            device=device,
        )
        recipe = Recipe(
            absolute_sources(sources or []),
            model,
            config,
            sample_fps_hz=None if sample_fps == 0 else sample_fps,
            fps_hz=fps_hz,
            include_deleted=include_deleted,
            window=WindowSpec(window, window_s),  # type: ignore[arg-type]
            alarms_per_hour=alarms_per_hour,
            name=name or out.absolute().name,
        )
        training = Training.start(recipe, out, overwrite=overwrite, cache=cache)
    result = _run(training, keep_cache, threads)
    _report(result, json_output, "" if cache is None else f" --cache {cache}")
    if not result.finished:
        raise typer.Exit(130)


def _refuse_never_train(sources: list[str]) -> None:
    from edgevad.errors import OptionError
    from edgevad.refit.gathering import never_train_in

    marked = never_train_in(sources)
    if marked:
        more = f" (and {len(marked) - 1} more)" if len(marked) > 1 else ""
        raise OptionError(
            f"{marked[0]}{more}: marked never to be trained on",
            fix="Name the others only, take the mark away (edgevad drives mark DRIVE --may-train), or add "
            "--include-never-train",
        )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _numbers(option: str, text: str) -> tuple[int, ...]:
    from edgevad.errors import OptionError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{option} {text!r}", expected="whole numbers with commas between, e.g. 200,400") from None


def _entropy_weight(text: str) -> float | None:
    from edgevad.errors import OptionError

    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--entropy-weight {text!r}", expected="auto or a number") from None


def _run(training: Training, keep_cache: bool, threads: int) -> TrainingResult:
    """Run with a progress bar; the first Ctrl-C asks for a checkpoint, the second ends at once."""
    import signal

    from edgevad.report.training_progress import training_progress

    def interrupt(number: int, stack: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("edgevad: saving, then stopping (Ctrl-C again to end at once)", file=sys.stderr)
        training.stop()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with training_progress() as observer:
            return training.run(observer, keep_cache=keep_cache, threads=threads)
    finally:
        signal.signal(signal.SIGINT, before)


def _report(result: TrainingResult, json_output: bool, cache_option: str) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    folder = result.folder
    if json_output:
        calibration = None if result.calibration is None else result.calibration.to_json()
        value = {
            "model": str(folder.path),
            "finished": result.finished,
            **result.provenance,
            "calibration": calibration,
        }
        print(json.dumps(value))
        return
    if not result.finished:
        again = f"Go on with: edgevad train --resume --out {folder.path}{cache_option}"
        print("Stopped. " + (again if result.can_resume else "What was there before is untouched."), file=sys.stderr)
        return
    facts, calibration_ = result.provenance, result.calibration
    assert calibration_ is not None
    table = Table(title=f"Model {folder.path}", show_header=False, title_justify="left")
    recurrence = (
        "nothing could be seen to recur" if facts["recurrence"] is None else f"{facts['recurrence']:.0%} of variance"
    )
    skipped = f", {facts['skipped']} unreadable" if facts["skipped"] else ""
    table.add_row("trained on", f"{facts['frames']} frames, {facts['duration_s']:.0f} s{skipped}")
    table.add_row("recurrence explains", recurrence)
    for name, sentence in facts["decisions"].items():
        table.add_row(name, sentence)
    table.add_row("training", f"{facts['steps']} steps; stopped: {facts['stopped_because']}")
    budget = calibration_.alarms_per_hour
    plural = "" if budget == 1 else "s"
    table.add_row("threshold", f"{calibration_.threshold:.2f} for {budget:g} false alarm{plural} an hour")
    table.add_row("history", f"{folder.history_csv.name}, {folder.history_png.name}")
    Console().print(table)
    target, explained = facts["explained_target"], facts["explained"]
    if target is not None and abs(explained - target) > 0.1:
        print(
            f"edgevad: warning: the model explains {explained:.2f} of the variance where {target:.2f} was wanted; "
            f"look at {folder.history_png} and try --entropy-weight 0.01 or more --max-rounds",
            file=sys.stderr,
        )
    print(f"Next: edgevad export {folder.path} --target cpu --out BUNDLE")
