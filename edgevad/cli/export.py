"""edgevad export: from a model folder to a bundle for one target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import FpsHz, Json

if TYPE_CHECKING:
    from edgevad.bundle import Bundle
    from edgevad.targets import Target

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `export` to the application."""
    app.command("export")(export)


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder made by edgevad train.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the bundle, or one file: NAME.edgevad.", show_default=False)
    ],
    target: Annotated[str, typer.Option(help="Device profile (edgevad targets), or a path to your own.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="int8, fp16, fp32, or auto: the first of the target's that changes nothing.")
    ] = "auto",
    calib: Annotated[
        Optional[list[str]],
        typer.Option(
            "--calib",
            help="Drive to quantise by and to try the result on; give it again for more.",
            show_default="the training recordings",
        ),
    ] = None,
    calib_frames: Annotated[int, typer.Option("--calib-frames", help="Frames to quantise by.")] = 300,
    range_method: Annotated[
        str, typer.Option("--range-method", help="minmax, mse, percentile, entropy, or auto: the first three in turn.")
    ] = "auto",
    max_rank_loss: Annotated[
        float, typer.Option("--max-rank-loss", help="Rank correlation of scores that may be lost.")
    ] = 0.01,
    max_flips: Annotated[
        float, typer.Option("--max-flips", help="Share of frames that may change sides at the threshold.")
    ] = 0.01,
    labels: Annotated[
        Optional[Path], typer.Option(help="Labels of the drive, for the AUROC before and after.", show_default=False)
    ] = None,
    backend: Annotated[
        Optional[str], typer.Option(help="On a CPU: onnxruntime or openvino.", show_default="the target's")
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Make it the bundle that edgevad run uses.")] = False,
    no_replay: Annotated[
        bool, typer.Option("--no-replay", help="Leave out frames of the training recordings, which refitting needs.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    fps_hz: FpsHz = None,
    json_output: Json = False,
) -> None:
    """Write the scoring graph (ONNX), as small as it gets without changing what is found, as a bundle for a target."""
    from edgevad._allocator import keep_freed_memory
    from edgevad._extras import require
    from edgevad.targets import load_target

    for package in ("torch", "onnxscript", "safetensors", "matplotlib", "sklearn"):
        require(package, extra="train", needed_for="edgevad export")
    from edgevad.bundle import activate as activate_bundle
    from edgevad.bundle import home_directory
    from edgevad.calibration.guard import GuardLimits
    from edgevad.cli._options import absolute_sources
    from edgevad.errors import OptionError
    from edgevad.export import bundle_for_target
    from edgevad.export.options import ExportOptions
    from edgevad.report.export_progress import export_progress

    keep_freed_memory()
    options = ExportOptions(
        precision=precision,
        drives=absolute_sources(list(calib or [])),
        fps_hz=fps_hz,
        calibration_frames=calib_frames,
        range_method=range_method,
        limits=GuardLimits(max_rank_loss=max_rank_loss, max_flips=max_flips),
        labels=labels,
        backend=backend,
        replay=not no_replay,
        kept=home_directory() / "calibration",
    )
    profile = load_target(target)
    if activate and profile.backend == "tensorrt":
        raise OptionError(
            f"a bundle for {profile.name} is made active on the device, where its engine can be built",
            fix="Leave --activate out, and run there: edgevad activate BUNDLE",
        )
    with export_progress() as observer:
        bundle = bundle_for_target(model, profile, out, options=options, overwrite=overwrite, observer=observer)
    deviation = _self_test(bundle)
    slot = activate_bundle(bundle.path).path if activate else None
    _report(bundle, profile, deviation, slot, json_output)


def _self_test(bundle: Bundle) -> float:
    """By the bundle's own engine where this machine has it, else by ONNX Runtime, which stands in for it."""
    from edgevad.runtime.selftest import self_test

    stand_in = "onnxruntime" if bundle.manifest.backend == "tensorrt" else None
    return self_test(bundle, backend=stand_in)


def _report(bundle: Bundle, profile: Target, deviation: float, slot: Path | None, json_output: bool) -> None:
    import json

    manifest = bundle.manifest
    size = sum(entry.bytes for entry in manifest.files.values())
    graph = manifest.files[manifest.graphs[manifest.precision]].bytes
    following = f"edgevad run --bundle {bundle.path} --source SOURCE"
    if manifest.backend == "tensorrt":
        following = _on_the_device(bundle, profile)
    if json_output:
        value: dict[str, Any] = {
            "bundle": str(bundle.path),
            "target": manifest.target,
            "backend": manifest.backend,
            "precision": manifest.precision,
            "bytes": size,
            "graph_bytes": graph,
            "selftest_relative_deviation": deviation,
            "guard": manifest.guard,
            "active": None if slot is None else str(slot),
        }
        print(json.dumps(value))
        return
    from rich.console import Console
    from rich.table import Table

    from edgevad.report.guard_view import guard_rows

    table = Table(title=f"Bundle {bundle.path}", title_justify="left", show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("target", f"{manifest.target}, {manifest.backend}")
    if manifest.guard is not None:
        guard_rows(table, dict(manifest.guard))
    table.add_row("size", f"{size / 1e6:.1f} MB, {graph / 1e6:.1f} MB of it the graph")
    table.add_row("self-test", _self_test_text(manifest.precision, manifest.backend, deviation))
    Console().print(table)
    print(f"Active in {slot}" if slot else f"Next: {following}")


def _self_test_text(precision: str, backend: str, deviation: float) -> str:
    if precision == "fp32":
        engine = "OpenVINO" if backend == "openvino" else "ONNX Runtime"
        return f"{engine} agrees with torch within {deviation:.1e} (relative)"
    if backend == "openvino":
        return f"OpenVINO agrees with ONNX Runtime on the {precision} graph within {deviation:.1e} (relative)"
    return f"holds the scores of ONNX Runtime on the {precision} graph, for the engine that runs it"


def _on_the_device(bundle: Bundle, profile: Target) -> str:
    if not profile.runs_edgevad:
        limits = " ".join(profile.limits)
        return f"copy {bundle.path} to the device. edgevad does not run there: {limits}"
    return (
        f"copy {bundle.path} to the device and run there: edgevad build {bundle.path.name}. It builds the TensorRT "
        f"engine, once, in a few minutes, and tests it. Then: edgevad activate {bundle.path.name}, and edgevad run "
        "--camera 0"
    )
