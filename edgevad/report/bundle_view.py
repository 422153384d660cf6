"""A bundle as a table on the terminal, and as JSON."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.bundle.bundle import TONES_NAME, Bundle
from edgevad.bundle.manifest import Manifest
from edgevad.bundle.trust import SignatureState
from edgevad.report.lineage_view import lineage_rows

__all__ = ["bundle_json", "bundle_table"]

# Longer values of what is free form are for --json.
_MAX_VALUE = 160


def bundle_json(bundle: Bundle, state: SignatureState) -> dict[str, Any]:
    """The manifest, and what is known of the bundle besides."""
    return {
        "path": str(bundle.path),
        "digest": bundle.digest,
        "signature": {"key_id": state.key_id, "trusted": state.trusted, "state": state.says},
        "manifest": bundle.manifest.to_json(),
    }


def bundle_table(bundle: Bundle, state: SignatureState) -> RenderableType:
    """What a bundle is for and what is in it; then where its model comes from."""
    manifest = bundle.manifest
    table = _grid()
    total = sum(entry.bytes for entry in manifest.files.values())
    rows = {
        "target": f"{manifest.target} ({manifest.backend})",
        "precision": f"{manifest.precision}, self-test within {manifest.selftest_rtol:g}",
        "graphs": "\n".join(_graph(manifest, precision) for precision in manifest.graphs),
        "files": f"{len(manifest.files)}, {_size(total)}",
        "input": _input(manifest),
        "threshold": _threshold(manifest),
        "guard": "none ran" if manifest.guard is None else _free(manifest.guard.get("why", manifest.guard)),
        "created": manifest.created,
        "digest": bundle.digest,
        "signature": state.says,
    }
    for label, value in rows.items():
        table.add_row(label, Text(value))
    title = Text(f"Bundle {manifest.name}: {bundle.path}", style="bold")
    if not manifest.provenance:
        return Group(title, table)
    provenance = _grid()
    made = list(lineage_rows(manifest.provenance.get("refit")))
    for label, text in made:
        provenance.add_row(label, Text(text))
    for label, entry in manifest.provenance.items():
        if label == "refit" and made:
            continue
        provenance.add_row(Text(_free(label).strip('"')), Text(_free(entry)))
    return Group(title, table, Text("Provenance", style="bold"), provenance)


def _grid() -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _graph(manifest: Manifest, precision: str) -> str:
    name = manifest.graphs[precision]
    note = "" if precision == manifest.precision else "  (reference)"
    return f"{precision}  {name}  {_size(manifest.files[name].bytes)}{note}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _input(manifest: Manifest) -> str:
    spec = manifest.input
    words = [f"{spec.width_px}x{spec.height_px} px"]
    if spec.motion is not None:
        words.append(f"{spec.motion.kind} over " + ", ".join(f"{lag} ms" for lag in spec.motion.lags_ms))
    if spec.bank is not None:
        words.append(f"bank of {spec.bank[0]} episodes x {spec.bank[1]} entries")
    if TONES_NAME in manifest.files:
        words.append("tone curves of other conditions")
    return "; ".join(words)


def _threshold(manifest: Manifest) -> str:
    calibration = manifest.calibration
    window = f"{calibration.window.kind} over {calibration.window.length_s:g} s"
    parts = ", ".join(calibration.names)
    return f"{calibration.threshold:.3f}, {calibration.alarms_per_hour:g} alarms an hour; {window}; parts {parts}"


def _free(value: object) -> str:
    """What is free form may hold anything: as JSON, whose escapes leave no control character for the terminal."""
    text = value if isinstance(value, str) and value.isascii() and value.isprintable() else json.dumps(value)
    return text if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + " …"
