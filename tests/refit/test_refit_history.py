from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgevad.errors import OptionError
from edgevad.refit import history
from edgevad.refit.history import decisions, new_id, page_of, remember, verdict_of
from edgevad.refit.place import RefitHome
from edgevad.refit.ranking import Interval
from edgevad.refit.verdict import Check, Evidence, Verdict

KINDS = {"champion_blur": 0.5, "challenger_blur": 0.6}


def verdict(*, passed: bool = True, evidence: bool = True) -> Verdict:
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    found = Evidence(
        {name: (random.normal(size=300), random.normal(size=300)) for name in ("recent", "replay")},
        (3.0, 4.0),
        random.normal(size=300) + 3,
        np.zeros(300, np.int32),
        picture,
        picture,
        {"blur": picture},
    )
    checks = (
        Check("sight", True, "100% of the recent frames <show> the world.", 0.0, None, 0.2),
        Check("probes, recent", passed, "As before.", 0.8, 0.8, -0.05, Interval(0.0, -0.01, 0.01), KINDS),
        Check("events", None, "Nothing stood out.", float("nan")),
    )
    return Verdict(
        checks, "a" * 64, "b" * 64, ("old", "new"), "onnxruntime, fp32", {"recent": 300}, ("monday",), 1.5,
        found if evidence else None,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> RefitHome:
    return RefitHome(tmp_path / "refit")


def test_a_decision_is_a_line_and_a_page_that_fetches_nothing(home: RefitHome) -> None:
    page = remember(home, "one", outcome="passed", sentence="It holds.", depth="adapt", verdict=verdict())
    assert page is not None
    text = page.read_text()
    assert "&lt;show&gt;" in text
    assert text.count("<svg") == 3
    assert "data:image/png;base64," in text
    assert 'src="http' not in text
    assert "href" not in text
    (decision,) = decisions(home)
    assert (decision.id, decision.outcome, decision.depth, decision.drives) == ("one", "passed", "adapt", ("monday",))
    kept = verdict_of(home, "one")
    assert kept is not None
    assert kept.checks[2].challenger is None  # JSON knows no NaN
    assert kept.passed
    json.loads((home.history / "one" / "verdict.json").read_text(), parse_constant=pytest.fail)


def test_the_later_of_two_with_one_id_counts_and_the_page_stays(home: RefitHome) -> None:
    page = remember(home, "run", outcome="passed", sentence="It holds.", verdict=verdict())
    assert page is not None
    before = page.read_text()
    remember(home, "other", outcome="nothing", sentence="No drift.")
    remember(home, "run", outcome="activated", sentence="It holds.", verdict=verdict(evidence=False))
    assert [(one.id, one.outcome) for one in decisions(home)] == [("other", "nothing"), ("run", "activated")]
    assert page.read_text() == before
    assert page_of(home, "other") is None
    assert verdict_of(home, "other") is None


def test_a_line_that_was_cut_off_is_passed_over(home: RefitHome) -> None:
    remember(home, "one", outcome="refused", sentence="No.")
    with home.history_lines.open("ab") as stream:
        stream.write(b'{"id": "two", "ti')
    remember(home, "three", outcome="refused", sentence="No.")
    assert [one.id for one in decisions(home)] == ["one", "three"]


def test_old_pages_and_lines_go(home: RefitHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_PAGES", 2)
    monkeypatch.setattr(history, "MOST_LINES", 4)
    for number in range(5):
        remember(home, f"n{number}", outcome="refused", sentence="No.", verdict=verdict(passed=False))
    assert sorted(path.name for path in home.history.iterdir()) == ["n3", "n4"]
    assert [one.id for one in decisions(home)] == ["n3", "n4"]


def test_no_name_leads_elsewhere(home: RefitHome) -> None:
    with pytest.raises(OptionError):
        remember(home, "../elsewhere", outcome="refused", sentence="No.")
    assert verdict_of(home, "../elsewhere") is None
    assert new_id().startswith("gate-2")


def test_why_says_what_failed() -> None:
    assert verdict(passed=False).why == "As before."
    assert "sight, probes, recent" in verdict().why
    assert not Verdict((), "", "", ("", ""), "", {}).passed
