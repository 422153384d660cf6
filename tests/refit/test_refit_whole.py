"""A whole run with all its real parts, on a small model and a rendered drive."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgevad.bundle import ANYBODY, Bundle, activate
from edgevad.bundle.slots import Slots
from edgevad.refit.cycle import run_cycle
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.known_models import find_model, keep_model
from edgevad.refit.place import RefitHome
from edgevad.refit.verdict import Verdict

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def dusk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgevad.synth import SynthConfig, write_drive

    return write_drive(
        SynthConfig(seconds=60, width_px=64, height_px=48, seed=4), tmp_path_factory.mktemp("dusk") / "drive"
    ).video


def test_on_a_host_the_model_stands_in_for_a_champion(
    trained_model: Path, dusk: Path, edgevad_home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dusk.edgevad"
    result = run_cycle(CycleOptions("recalibrate", drives=(str(dusk),), model=trained_model, out=out))
    verdict = Verdict.from_json(result.steps["gate"])
    assert verdict.passed == (result.outcome == "written"), result.sentence
    assert result.page is not None
    assert result.page.stat().st_size > 10_000
    assert not (edgevad_home / "current").exists()
    if result.outcome == "written":
        made = Bundle.open(out).manifest.provenance["refit"]
        assert [drive["path"] for drive in made["drives"]] == [str(dusk)]
        assert made["lineage"][-1]["depth"] == "train"


def test_the_model_of_a_bundle_is_found_and_kept(trained_model: Path, edgevad_home: Path, tmp_path: Path) -> None:
    from edgevad.errors import OptionError, RefitError
    from edgevad.export import bundle_for_target
    from edgevad.export.options import ExportOptions
    from edgevad.targets import load_target

    out = tmp_path / "car.edgevad"
    bundle = bundle_for_target(trained_model, load_target("cpu"), out, options=ExportOptions(precision="fp32"))
    home = RefitHome.of_device()
    assert find_model(bundle, home, None) == trained_model, "where it was exported from"
    assert find_model(bundle, home, trained_model) == trained_model
    other = tmp_path / "other"
    other.mkdir()
    (other / "weights.safetensors").write_bytes(b"of another model")
    with pytest.raises(OptionError, match="not the model"):
        find_model(bundle, home, other)
    with pytest.raises(RefitError, match="no finished model"):
        find_model(bundle, home, tmp_path)
    kept = keep_model(trained_model, home)
    assert find_model(bundle, home, other) == kept, "what was kept comes first"
    activate(out)
    active = Slots.of_device().current
    assert active is not None
    assert Bundle.open(active.path, trust=ANYBODY).manifest.provenance["model_sha256"] == kept.name
