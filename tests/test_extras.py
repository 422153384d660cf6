from __future__ import annotations

from pathlib import Path

import pytest

from edgevad._extras import require
from edgevad.errors import MissingExtraError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "'somebodys', which is not installed. Install it with: pip install 'edgevad[sign]'"),
        ("import somebodys.missing", "'somebodys', which is not installed"),
        ("import nobodys", "cannot be loaded (No module named 'nobodys')"),
        ("raise ImportError('libssl.so.3: no such file')", "cannot be loaded (libssl.so.3: no such file)"),
    ],
)
def test_what_is_missing_or_broken_is_one_line(
    content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "somebodys").mkdir()
        (tmp_path / "somebodys" / "__init__.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError) as caught:
        require("somebodys.part", extra="sign", needed_for="this")
    assert message in str(caught.value)
    assert ("--force-reinstall" in str(caught.value)) is ("cannot be loaded" in message)
