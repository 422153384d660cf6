"""What tests of exporting share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trained import with_outlier_channels

from edgevad.calibration.frames import CalibrationFrames, Drives, choose_frames, read_drives
from edgevad.export.loaded_model import LoadedModel, load_model


@pytest.fixture(scope="session")
def outlier_model(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, computing the same, with a channel in it that 8 bits cannot hold beside the others."""
    copy = tmp_path_factory.mktemp("outlier") / "model"
    shutil.copytree(trained_model, copy)
    with_outlier_channels(copy)
    return copy


@pytest.fixture(scope="session")
def loaded(trained_model: Path) -> LoadedModel:
    """The model as an export for any batch size reads it."""
    return load_model(trained_model, batch=None)


@pytest.fixture(scope="session")
def loaded_static(trained_model: Path) -> LoadedModel:
    """The same for one frame a call."""
    return load_model(trained_model, batch=1)


@pytest.fixture(scope="session")
def drives(trained_model: Path, loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Drives:
    """The frames the model was fitted to."""
    return read_drives(loaded.recipe.sources, loaded.spec, tmp_path_factory.mktemp("drives"))


@pytest.fixture(scope="session")
def frames(loaded: LoadedModel, drives: Drives) -> CalibrationFrames:
    return choose_frames(drives.cache, loaded.backend(loaded.graph), loaded.calibration, 64)
