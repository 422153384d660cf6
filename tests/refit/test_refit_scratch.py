from __future__ import annotations

from pathlib import Path

import pytest

from edgevad.refit.scratch import scratch_folder


def test_it_is_gone_however_it_ends_and_others_are_left_alone(tmp_path: Path) -> None:
    left = tmp_path / ".judging-killed"
    left.mkdir()
    (left / "lock").touch()
    with scratch_folder(tmp_path) as first:
        assert not left.exists()
        with scratch_folder(tmp_path) as second:
            assert first.parent.exists()
            assert second.parent != first.parent
    with pytest.raises(ValueError, match="no"), scratch_folder(tmp_path):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())
