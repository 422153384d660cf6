"""edgevad build: the TensorRT engine of a bundle, for this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.runtime.engines.cache import EngineCache, EngineEntry
    from edgevad.runtime.engines.obtaining import ObtainedEngine

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `build` to the application."""
    app.command("build")(build)


def build(
    bundle: Annotated[
        Optional[Path],
        typer.Argument(
            metavar="[BUNDLE]", help="Folder or file made by edgevad export.", show_default="the active one"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build it, even where there is one.")] = False,
    list_engines: Annotated[
        bool, typer.Option("--list", help="List the engines that are kept, build nothing.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete engines but for those last used and those in use, build nothing.")
    ] = False,
    keep: Annotated[
        Optional[int], typer.Option(min=0, help="How many engines --prune leaves.", show_default="4")
    ] = None,
    json_output: Json = False,
) -> None:
    """Build the TensorRT engine of BUNDLE on the machine that will run it; edgevad run does it at its first start."""
    from edgevad.errors import OptionError
    from edgevad.runtime.engines.obtaining import KEPT_ENGINES, engine_cache

    if list_engines + prune + force > 1 or ((list_engines or prune) and bundle is not None):
        raise OptionError("--force, --list and --prune do not go together, nor --list and --prune with a bundle")
    if keep is not None and not prune:
        raise OptionError("--keep goes with --prune")
    cache = engine_cache()
    if list_engines:
        _list(cache, json_output)
    elif prune:
        _prune(cache, KEPT_ENGINES if keep is None else keep, json_output)
    else:
        _build(bundle, force, json_output)


def _build(path: Path | None, force: bool, json_output: bool) -> None:
    from edgevad.bundle import Bundle, active_bundle
    from edgevad.errors import OptionError
    from edgevad.report.build_progress import build_progress
    from edgevad.runtime.engines.opening import open_engine

    opened = Bundle.open(active_bundle() if path is None else path)
    manifest = opened.manifest
    if manifest.backend != "tensorrt":
        raise OptionError(
            f"a bundle for {manifest.target}, run by {manifest.backend}: there is no engine to build",
            where=opened.path,
            fix="It runs as it is; for a GPU: edgevad export MODEL --target cuda",
        )
    with build_progress() as progress:
        backend, obtained = open_engine(opened, force=force, must_keep=True, on_build=progress)
    backend.close()  # it has proved itself: what is kept is known to run
    if json_output:
        print(json.dumps(_json(obtained)))
        return
    name, key, size_mb = opened.manifest.name, obtained.key, len(obtained.plan) / 1e6
    if obtained.made == "found":
        print(f"There already: the engine of {name} for this machine, {size_mb:.1f} MB. --force builds it anew.")
    else:
        made = {
            "built": "Built",
            "refitted": "Put new weights into an earlier engine",
            "adopted": "Took the engine of an earlier bundle with the same graph",
        }[obtained.made]
        print(f"{made}: {name}, {size_mb:.1f} MB in {obtained.seconds:.1f} s, since {obtained.why}")
    print(f"For {key.gpu} ({key.compute_capability}), TensorRT {key.tensorrt}, driver {key.driver}, {key.precision}")
    print(f"Key {key.name}" + (f", power mode {key.power_mode}" if key.power_mode != "none" else ""))


def _json(obtained: ObtainedEngine) -> dict[str, Any]:
    return {
        "made": obtained.made,
        "why": obtained.why,
        "seconds": round(obtained.seconds, 3),
        "bytes": len(obtained.plan),
        "key": {"name": obtained.key.name, **obtained.key.to_json()},
        "path": None if obtained.entry is None else str(obtained.entry.path),
    }


def _list(cache: EngineCache, json_output: bool) -> None:
    entries = cache.entries()
    if json_output:
        print(json.dumps({"folder": str(cache.folder), "engines": [entry.to_json() for entry in entries]}))
        return
    _print_entries(entries)
    print(f"{len(entries)} in {cache.folder}, {sum(entry.bytes for entry in entries) / 1e6:.1f} MB")


def _prune(cache: EngineCache, keep: int, json_output: bool) -> None:
    from edgevad.report.build_progress import build_progress
    from edgevad.runtime.engines.obtaining import waiting

    with build_progress() as progress, cache.building(waiting(progress)):
        gone = cache.prune(keep=keep)
    left = cache.entries()
    if json_output:
        print(json.dumps({"deleted": [entry.to_json() for entry in gone], "kept": len(left)}))
        return
    _print_entries(gone)
    print(f"Deleted {len(gone)} ({sum(entry.bytes for entry in gone) / 1e6:.1f} MB), kept {len(left)}.")


def _print_entries(entries: list[EngineEntry]) -> None:
    for entry in entries:
        key, facts = entry.key, entry.facts
        what = f"{facts.name} {key.bundle[:12]}, {key.precision}, {entry.bytes / 1e6:.1f} MB"
        print(f"{key.name[:12]}  {what}: {key.gpu}, TensorRT {key.tensorrt}, {facts.made} {facts.created}")
