"""Moments as people type them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from edgevad.errors import OptionError
from edgevad.events.when import parse_when

NOW_NS = 1_800_000_000 * 10**9


@pytest.mark.parametrize(
    ("text", "ago_s"), [("30s", 30), ("1.5h", 5400), ("90m", 5400), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_so_long_ago(text: str, ago_s: int) -> None:
    assert parse_when(text, option="--since", now_ns=NOW_NS) == NOW_NS - ago_s * 10**9


def test_dates_are_local_unless_they_say() -> None:
    moment = datetime(2026, 11, 24, 8, 30, tzinfo=timezone.utc)
    for text in ("2026-11-24T08:30Z", "2026-11-24T09:30+01:00"):
        assert parse_when(text, option="--since") == round(moment.timestamp() * 1e9)
    assert parse_when("2026-11-24", option="--since") == round(datetime(2026, 11, 24).timestamp() * 1e9)


@pytest.mark.parametrize("text", ["999999999w", "9999-12-31", "0001-01-02T00:00Z"])
def test_what_is_too_far_away_is_as_far_as_the_store_can_say(text: str) -> None:
    assert abs(parse_when(text, option="--since")) == 2**63 - 1


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "2026-13-01", "0001-01-01T00:00Z ago", "1e9d"])
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--until"):
        parse_when(text, option="--until")
