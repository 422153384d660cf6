"""edgevad recalibrate, adapt, refit: a model kept fresh from logged drives, proved, and made active."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.refit.cycle import CycleResult
    from edgevad.refit.cycle_options import CycleOptions

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time

Drives = Annotated[
    Optional[list[str]],
    typer.Option(
        "--drives",
        help="Folder of drives, a drive, or a recording; give it again for more.",
        show_default="this device's log",
    ),
]
BundlePath = Annotated[
    Optional[Path], typer.Option("--bundle", help="The bundle to bring up to date.", show_default="the active one")
]
Model = Annotated[
    Optional[Path],
    typer.Option("--model", help="Model folder it was exported from.", show_default="the one that is known of"),
]
TargetName = Annotated[
    str, typer.Option("--target", help="Device profile, where there is no bundle and --model stands in for it.")
]
Out = Annotated[
    Optional[Path],
    typer.Option(
        "--out", help="Write the new bundle there, once it is proved, and activate nothing.", show_default=False
    ),
]
SignKey = Annotated[
    Optional[Path], typer.Option("--sign", help="Private key (PEM) to sign the new bundle with.", show_default=False)
]
EventsFolder = Annotated[
    Optional[Path],
    typer.Option("--events", help="Event store, for what people said of its events.", show_default="this device's"),
]
BudgetMinutes = Annotated[
    Optional[float], typer.Option("--budget-minutes", help="Of work, pauses left out.", show_default="no limit")
]
BudgetFrames = Annotated[
    Optional[int], typer.Option("--budget-frames", help="Frames to choose at most.", show_default="2500")
]
SinceDays = Annotated[
    Optional[float], typer.Option("--since-days", help="Only drives of so many days.", show_default="all")
]
Cameras = Annotated[
    Optional[list[str]],
    typer.Option("--camera", help="Only this camera's frames; give it again for more.", show_default="all"),
]
Blur = Annotated[
    Optional[str],
    typer.Option(
        "--blur-faces", help="A face detector's model (.onnx, .xml), or the name of a plug-in.", show_default="none"
    ),
]
WhileIdle = Annotated[
    Optional[bool],
    typer.Option("--while-idle/--at-once", help="Wait while the vehicle needs the machine.", show_default="at once"),
]
Shadow = Annotated[
    Optional[int],
    typer.Option("--shadow", help="Live frames to try it on beside the old one first.", show_default="0"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be learnt from, and learn nothing.")]
ConfigFile = Annotated[
    Optional[Path],
    typer.Option("--config", help="Configuration of the vehicle, with [refit] and [drives].", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew, even where a run like this could go on.")]
# What sysexits.h calls a temporary failure: nothing is lost, and the same command goes on.
_UNFINISHED = 75
# And what it calls a fault of the program.
_FAULT = 70


def register(app: typer.Typer) -> None:
    """Add `recalibrate`, `adapt` and `refit` to the application."""
    texts = {
        "recalibrate": "Bring scores, threshold and what is remembered up to date from recent drives; seconds.",
        "adapt": "Adapt normalisation and a few parameters to recent drives; minutes.",
        "refit": "Train on from the model as it is, on recent drives and what was kept of old ones.",
    }
    for depth, text in texts.items():
        app.command(depth, help=f"{text} Activated only where it is no worse (docs/refit.md).")(_command(depth))


def _command(depth: str) -> Any:
    """The three take the same options; they differ in how much of the model may change."""

    def command(
        drives: Drives = None,
        bundle: BundlePath = None,
        model: Model = None,
        target: TargetName = "cpu",
        out: Out = None,
        sign: SignKey = None,
        events: EventsFolder = None,
        budget_minutes: BudgetMinutes = None,
        budget_frames: BudgetFrames = None,
        since_days: SinceDays = None,
        camera: Cameras = None,
        blur_faces: Blur = None,
        while_idle: WhileIdle = None,
        shadow: Shadow = None,
        dry_run: DryRun = False,
        config: ConfigFile = None,
        overwrite: Overwrite = False,
        fresh: Fresh = False,
        json_output: Json = False,
    ) -> None:
        from edgevad.cli._options import absolute_sources

        given = {
            "drives": absolute_sources(list(drives)) if drives else None,
            "bundle": bundle,
            "model": model,
            "out": out,
            "sign_key_file": sign,
            "events": events,
            "budget_minutes": budget_minutes,
            "budget_frames": budget_frames,
            "since_days": since_days,
            "cameras": tuple(camera) if camera else None,
            "blur": blur_faces,
            "while_idle": while_idle,
            "shadow_frames": shadow,
        }
        given = {name: value for name, value in given.items() if value is not None}
        options = _options(depth, config, {**given, "target": target, "overwrite": overwrite})
        _run(options, dry_run, fresh, json_output)

    return command


def _options(depth: str, config: Path | None, given: dict[str, Any]) -> CycleOptions:
    """What was given on the command line, before what the configuration says."""
    from edgevad.refit.cycle_options import CycleOptions

    if config is None:
        return CycleOptions(depth=depth, **given)  # type: ignore[arg-type]
    from edgevad.service.config import load_config
    from edgevad.service.refitting import RefitConfig

    loaded = load_config(config)
    section = RefitConfig() if loaded.refit is None else loaded.refit
    logged = None if loaded.drives is None else loaded.drives.dir
    drives = section.drives or logged
    more: dict[str, Any] = {"drives": () if drives is None else (str(drives),)}
    if loaded.run.bundle is not None:
        more["bundle"] = loaded.run.bundle
    if loaded.events is not None and loaded.events.dir is not None:
        more["events"] = loaded.events.dir
    # Of the three commands, refit is the one whose depth the file may choose.
    return section.build(CycleOptions, **{**more, "depth": section.depth if depth == "refit" else depth, **given})


def _run(options: CycleOptions, dry_run: bool, fresh: bool, json_output: bool) -> None:
    import json
    import traceback

    from edgevad._allocator import keep_freed_memory
    from edgevad.errors import EdgevadError
    from edgevad.refit.pace import NotNowError
    from edgevad.refit.priority import give_way

    if options.while_idle:
        give_way()  # before any engine starts its threads
    keep_freed_memory()
    from edgevad.refit.cycle import run_cycle
    from edgevad.report.refit_progress import refit_progress

    try:
        with refit_progress() as observer:
            result = run_cycle(options, dry_run=dry_run, fresh=fresh, observer=observer)
    except NotNowError as error:
        typer.echo(f"edgevad: {error}", err=True)
        raise typer.Exit(_UNFINISHED) from error
    except (EdgevadError, BrokenPipeError):  # which are told as everywhere
        raise
    except Exception as error:
        traceback.print_exc()
        raise typer.Exit(_FAULT) from error  # Python's own 1 means that the challenger was refused
    if json_output:
        print(json.dumps(result.to_json()))
    else:
        _show(result)
    if result.outcome == "refused":
        raise typer.Exit(1)


def _show(result: CycleResult) -> None:
    from rich.console import Console

    from edgevad.report.refit_view import cycle_table

    Console().print(cycle_table(result))
