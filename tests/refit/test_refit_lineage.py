"""From which models and drives a model came."""

from __future__ import annotations

from typing import Any

from edgevad.refit.lineage import MOST_ANCESTORS, lineage_of
from edgevad.refit.selection import ChosenDrive


def drive(name: str, **legs: str) -> dict[str, Any]:
    return ChosenDrive(name, f"/drives/{name}", ("front",), legs, 0, 0, 7, float("nan"), "new views").to_json()


def test_a_trained_model_has_itself_and_its_recordings() -> None:
    (entry,) = lineage_of("ab", "car", {"frames": 10}, ("drive.mp4",))
    assert entry == {"model_sha256": "ab", "name": "car", "depth": "train", "sources": ["drive.mp4"]}


def test_each_refit_adds_one_with_its_drives_in_brief() -> None:
    first = lineage_of("ab", "car", {}, ("drive.mp4",))
    made = {"refit": {"depth": "adapt", "drives": [drive("monday", a="01", b="02")], "lineage": first}}
    second = lineage_of("cd", "car", made, ("/drives/monday",))
    assert second[0] == first[0]
    assert second[1]["depth"] == "adapt"
    (brief,) = second[1]["drives"]
    assert (brief["name"], brief["frames"], len(brief["legs_sha256"])) == ("monday", 7, 64)
    other = {"refit": {**made["refit"], "drives": [drive("monday", a="01", b="03")]}}
    assert lineage_of("cd", "car", other, ())[1]["drives"][0]["legs_sha256"] != brief["legs_sha256"]


def test_years_of_refits_stay_bounded_and_the_first_is_kept() -> None:
    lineage: list[Any] = lineage_of("0", "car", {}, ("drive.mp4",))
    for k in range(1, MOST_ANCESTORS + 20):
        lineage = lineage_of(str(k), "car", {"refit": {"depth": "refit", "drives": [], "lineage": lineage}}, ())
    assert len(lineage) == MOST_ANCESTORS
    assert lineage[0]["model_sha256"] == "0"
    assert lineage[-1]["model_sha256"] == str(MOST_ANCESTORS + 19)
