"""edgevad export: from a model folder to a bundle for one target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgevad.cli._options import Json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `export` to the application."""
    app.command("export")(export)


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder made by edgevad train.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the bundle.", show_default=False)],
    target: Annotated[str, typer.Option(help="Device profile.")] = "cpu",
    activate: Annotated[bool, typer.Option("--activate", help="Make it the bundle that edgevad run uses.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    json_output: Json = False,
) -> None:
    """Write the scoring graph (ONNX), its manifest and a self-test as a bundle for a target."""
    import json

    from edgevad._extras import require
    from edgevad.targets import load_target

    for package in ("torch", "onnx", "onnxscript"):
        require(package, extra="train", needed_for="edgevad export")
    from edgevad.bundle.slots import activate as activate_bundle
    from edgevad.export import bundle_for_target
    from edgevad.runtime.selftest import self_test

    bundle = bundle_for_target(model, load_target(target), out, overwrite=overwrite)
    deviation = self_test(bundle)
    slot = activate_bundle(bundle.path).path if activate else None
    manifest, size = bundle.manifest, sum(entry.bytes for entry in bundle.manifest.files.values())
    if json_output:
        value = {
            "bundle": str(bundle.path),
            "target": manifest.target,
            "precision": manifest.precision,
            "bytes": size,
            "selftest_relative_deviation": deviation,
            "active": None if slot is None else str(slot),
        }
        print(json.dumps(value))
        return
    print(f"Bundle {bundle.path}: {manifest.target}, {manifest.precision}, {size / 1e6:.1f} MB")
    print(f"Self-test: ONNX Runtime agrees with torch within {deviation:.1e} (relative)")
    print(f"Active in {slot}" if slot else f"Next: edgevad run --bundle {bundle.path} --source SOURCE")
