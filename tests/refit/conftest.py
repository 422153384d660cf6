from __future__ import annotations

import pytest
from driven import replay_frames
from tiny import write_tiny_bundle

from edgevad.bundle import Bundle
from edgevad.spec import InputSpec


@pytest.fixture(scope="session")
def replaying_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle, with frames of the scene in driven.py. Copy it before changing it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "replaying", InputSpec(32, 32), replay=replay_frames())
