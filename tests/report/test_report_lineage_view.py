"""Where a model comes from, whatever stands in a manifest."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny import edit_manifest

from edgevad.bundle import ANYBODY, Bundle
from edgevad.bundle.trust import device_state
from edgevad.report.bundle_view import bundle_table
from edgevad.report.lineage_view import lineage_rows

MADE: dict[str, Any] = {
    "depth": "refit",
    "parent": "ab" * 32,
    "drives": [{"name": "20261124", "frames": 812, "legs": {"a.mcap": "0", "b.mcap": "1"}}],
    "lineage": [
        {"model_sha256": "cd" * 32, "name": "car", "depth": "train", "sources": ["/rec/monday"]},
        {"model_sha256": "ab" * 32, "name": "car", "depth": "adapt", "drives": [{"name": "20261101"}]},
    ],
}


def test_drives_and_ancestors_back_to_the_first() -> None:
    rows = dict(lineage_rows(MADE))
    assert rows["made by"] == "refit"
    assert rows["drives"] == "20261124: 812 frames, 2 files by their SHA-256"
    assert rows["ancestors"].splitlines() == [f"adapt {'ab' * 6}…: 20261101", f"train {'cd' * 6}…: /rec/monday"]


def test_of_many_the_first_and_the_last_are_shown() -> None:
    drives = [{"name": str(k), "frames": k} for k in range(50)]
    lines = dict(lineage_rows({"depth": "adapt", "drives": drives}))["drives"].splitlines()
    assert lines[0] == "0: 0 frames"
    assert lines[-1] == "49: 49 frames"
    assert lines[-2] == "… 38 more …"


@pytest.mark.parametrize(
    "made",
    [None, 1, "refit", [], {}, {"drives": 3, "lineage": "x"}, {"drives": [1, {"name": "\x1b[2J"}], "lineage": [{}]}],
)
def test_whatever_stands_there_is_no_traceback(made: object) -> None:
    for label, text in lineage_rows(made):
        assert "\x1b" not in label + text


def test_the_bundle_shows_it(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    edit_manifest(folder, provenance={"seed": 1, "refit": MADE})
    bundle = Bundle.open(folder, trust=ANYBODY)
    out = io.StringIO()
    Console(width=120, file=out).print(bundle_table(bundle, device_state(bundle.manifest_bytes, None, folder)))
    text = out.getvalue()
    assert "20261124: 812 frames" in text
    assert "/rec/monday" in text
