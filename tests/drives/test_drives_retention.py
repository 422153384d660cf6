from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from logged import START_NS

from edgevad.drives import retention as retention_module
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.folder import mark
from edgevad.drives.layout import leg_name
from edgevad.drives.leg import LegFacts
from edgevad.drives.policy import LegRetention
from edgevad.drives.retention import prune
from edgevad.drives.rows import EventRow
from edgevad.errors import OptionError

SIZE = 1000
LEG_NS = 60 * 10**9
DAY_NS = 86_400 * 10**9


@pytest.fixture
def shelf(tmp_path: Path) -> Catalogue:
    """Ten legs of a minute and 1000 bytes, closed one minute after the other, the last one an hour ago; in the fifth
    there is an event. An eleventh is under way."""
    catalogue = Catalogue(tmp_path)
    catalogue.add_drive("old", START_NS, {})
    (tmp_path / "old").mkdir()
    now_ns = time.time_ns()
    for number in range(1, 11):
        start_ns = START_NS + number * LEG_NS
        (tmp_path / "old" / leg_name(number)).write_bytes(bytes(SIZE))
        facts = LegFacts(start_ns, start_ns + LEG_NS - 1, SIZE, 1, 1, ("front",), "")
        catalogue.close_leg("old", number, facts, "closed", now_ns - 3600 * 10**9 - (10 - number) * LEG_NS)
    start_ns = START_NS + 5 * LEG_NS + 30 * 10**9
    catalogue.put_event(EventRow("old", 1, "front", "detail", 3.0, start_ns, start_ns + 10**9))
    catalogue.open_leg("old", 11)
    (tmp_path / "old" / (leg_name(11) + ".part")).write_bytes(bytes(SIZE))
    return catalogue


def left(catalogue: Catalogue) -> list[int]:
    """What the catalogue and the folder agree on."""
    numbers = sorted(leg.number for leg in catalogue.legs())
    files = sorted(int(path.name[:6]) for path in (catalogue.path.parent / "old").glob("*.mcap*"))
    assert numbers == files
    return numbers


def limits(**changes: float | None) -> LegRetention:
    return LegRetention(**{"floor_bytes": 0, **changes})  # type: ignore[arg-type]


def test_nothing_goes_while_the_limits_hold(shelf: Catalogue) -> None:
    assert prune(shelf.path.parent, shelf, limits()) == []
    assert left(shelf) == list(range(1, 12))


def test_the_oldest_go_first_those_near_an_event_do_not(shelf: Catalogue) -> None:
    gone = prune(shelf.path.parent, shelf, limits(max_bytes=3 * SIZE))
    assert [(one.leg.number, one.reason) for one in gone] == [(k, "size") for k in (1, 2, 3, 4, 6, 7)]
    assert left(shelf) == [5, 8, 9, 10, 11]


def test_the_neighbourhood_of_an_event_is_as_wide_as_asked(shelf: Catalogue) -> None:
    prune(shelf.path.parent, shelf, limits(max_bytes=0, event_margin_s=60))
    assert left(shelf) == [4, 5, 6, 11]


def test_an_event_that_lasts_holds_everything_since(shelf: Catalogue) -> None:
    shelf.put_event(EventRow("old", 2, "front", "detail", 3.0, START_NS + 9 * LEG_NS, None))
    prune(shelf.path.parent, shelf, limits(max_bytes=0))
    assert left(shelf) == [5, 8, 9, 10, 11]  # 8 ends within the margin before it


def test_room_for_the_next_leg_is_made_before_it_is_needed(shelf: Catalogue) -> None:
    prune(shelf.path.parent, shelf, limits(max_bytes=4 * SIZE), reserve_bytes=2 * SIZE)
    assert left(shelf) == [5, 9, 10, 11]


def test_age(shelf: Catalogue) -> None:
    prune(shelf.path.parent, shelf, limits(max_age_days=(3600 + 3 * 60 + 30) / 86_400))
    assert left(shelf) == [5, 7, 8, 9, 10, 11]


def test_legs_near_events_have_limits_of_their_own(shelf: Catalogue) -> None:
    prune(shelf.path.parent, shelf, limits(event_max_bytes=0))
    assert left(shelf) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    prune(shelf.path.parent, shelf, limits(event_max_age_days=0.0, event_margin_s=60))
    assert left(shelf) == [1, 2, 3, 7, 8, 9, 10, 11]


def test_what_is_marked_stays_whatever_the_limits_say(shelf: Catalogue) -> None:
    root = shelf.path.parent
    mark(root, shelf, "old/2", keep=True)
    mark(root, shelf, "old/5", keep=True)
    prune(root, shelf, limits(max_bytes=0, event_max_bytes=0, max_age_days=0))
    assert left(shelf) == [2, 5, 11]
    mark(root, shelf, "old", keep=False)
    prune(root, shelf, limits(max_bytes=0, event_max_bytes=0))
    assert left(shelf) == [11]


def test_a_leg_just_closed_may_yet_lie_before_an_event(shelf: Catalogue) -> None:
    facts = LegFacts(START_NS, START_NS + 1, SIZE, 1, 1, ("front",), "")
    shelf.close_leg("old", 10, facts, "closed")
    prune(shelf.path.parent, shelf, limits(max_bytes=0))
    assert left(shelf) == [5, 10, 11]


@pytest.fixture
def clocks(tmp_path: Path) -> Callable[..., Catalogue]:
    """Legs of 1000 bytes in one drive, closed one after the other at these times."""

    def made(*closed_ns: int) -> Catalogue:
        catalogue = Catalogue(tmp_path)
        catalogue.add_drive("old", closed_ns[0], {})
        (tmp_path / "old").mkdir()
        for number, at_ns in enumerate(closed_ns, 1):
            (tmp_path / "old" / leg_name(number)).write_bytes(bytes(SIZE))
            facts = LegFacts(at_ns - LEG_NS, at_ns, SIZE, 1, 1, ("front",), "")
            catalogue.close_leg("old", number, facts, "closed", at_ns)
        return catalogue

    return made


@pytest.mark.parametrize("years", [60, 3, 1])
def test_a_clock_that_is_set_makes_nothing_old(clocks: Callable[..., Catalogue], years: int) -> None:
    wrong_ns = max(time.time_ns() - years * 365 * DAY_NS, 3600 * 10**9)
    catalogue = clocks(wrong_ns, wrong_ns + LEG_NS)
    assert prune(catalogue.path.parent, catalogue, limits()) == []


def test_a_clock_that_leaps_ahead_deletes_nothing(
    clocks: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = time.time_ns()
    catalogue = clocks(now_ns - 2 * DAY_NS, now_ns - DAY_NS)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 7168 * DAY_NS)
    assert prune(catalogue.path.parent, catalogue, limits()) == []


def test_for_room_the_first_logged_goes_first_whatever_the_clock_said(clocks: Callable[..., Catalogue]) -> None:
    now_ns = time.time_ns()
    catalogue = clocks(now_ns - DAY_NS, 3600 * 10**9, now_ns + 3000 * DAY_NS, now_ns - DAY_NS)
    assert [one.leg.number for one in prune(catalogue.path.parent, catalogue, limits(max_bytes=2 * SIZE))] == [1, 2]
    catalogue.add_drive("a later one of 1970", 60, {})
    facts = LegFacts(60, 61, SIZE, 1, 1, ("front",), "")
    catalogue.close_leg("a later one of 1970", 1, facts, "closed", 61)
    assert [one.leg.number for one in prune(catalogue.path.parent, catalogue, limits(max_bytes=2 * SIZE))] == [3]


def test_an_event_that_ends_before_it_began_is_near_where_it_began(shelf: Catalogue) -> None:
    shelf.put_event(EventRow("old", 2, "front", "detail", 3.0, START_NS + 8 * LEG_NS + LEG_NS // 2, 3600 * 10**9))
    prune(shelf.path.parent, shelf, limits(max_bytes=0))
    assert left(shelf) == [5, 8, 11]


def test_what_was_closed_in_the_future_falls_under_the_limits_too(clocks: Callable[..., Catalogue]) -> None:
    catalogue = clocks(*(time.time_ns() + 3000 * DAY_NS + k * LEG_NS for k in range(5)))
    assert len(prune(catalogue.path.parent, catalogue, limits(max_bytes=2 * SIZE))) == 3


def test_a_leg_just_closed_stays_though_the_clock_is_set_meanwhile(
    shelf: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.close_leg("old", 10, LegFacts(START_NS, START_NS + 1, SIZE, 1, 1, ("front",), ""), "closed")
    for leap_ns in (-3000 * DAY_NS, 3000 * DAY_NS):
        now_ns = time.time_ns() + leap_ns
        monkeypatch.setattr(time, "time_ns", lambda now_ns=now_ns: now_ns)
        prune(shelf.path.parent, shelf, limits(max_bytes=0))
        monkeypatch.undo()
        assert left(shelf) == [5, 10, 11]


def test_for_the_floor_ordinary_legs_go_and_no_others(shelf: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list((shelf.path.parent / "old").glob("*.mcap"))
    monkeypatch.setattr(
        retention_module, "free_bytes", lambda root: 10_000 + SIZE * sum(not file.exists() for file in files)
    )
    gone = prune(shelf.path.parent, shelf, limits(floor_bytes=10_000 + 3 * SIZE))
    assert [(one.leg.number, one.reason) for one in gone] == [(k, "disk floor") for k in (1, 2, 3)]
    prune(shelf.path.parent, shelf, limits(floor_bytes=10**9))
    assert left(shelf) == [5, 11]


def test_a_dry_run_only_says_what_would_go(shelf: Catalogue) -> None:
    gone = prune(shelf.path.parent, shelf, limits(max_bytes=0), dry_run=True)
    assert len(gone) == 9
    assert left(shelf) == list(range(1, 12))


def test_a_drive_of_which_nothing_is_left_is_forgotten(shelf: Catalogue) -> None:
    root = shelf.path.parent
    (root / "old" / (leg_name(11) + ".part")).unlink()
    shelf.remove_leg("old", 11)
    mark(root, shelf, "old", never_train=True)
    prune(root, shelf, limits(max_bytes=0, event_max_bytes=0), current="old")
    assert [drive.name for drive in shelf.drives()] == ["old"]  # it is being logged
    shelf.close_leg("old", 12, LegFacts(1, 2, SIZE, 1, 1, (), ""), "closed", 1)
    prune(root, shelf, limits(max_bytes=0, event_max_bytes=0))
    assert shelf.drives() == []
    assert not (root / "old").exists()


@pytest.mark.parametrize("bad", [{"max_bytes": -1}, {"max_age_days": float("nan")}, {"event_margin_s": -1}])
def test_limits_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        limits(**bad)
