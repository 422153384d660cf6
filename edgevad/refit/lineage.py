"""From which models and drives a model came, back to the first: what a bundle carries as its provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from edgevad.refit.selection import ChosenDrive

__all__ = ["MOST_ANCESTORS", "lineage_of", "one_more"]

# A model that is refitted weekly has this many ancestors in two years; of the oldest only the first is kept then.
MOST_ANCESTORS = 100


def lineage_of(model_sha256: str, name: str, provenance: dict[str, Any], sources: tuple[str, ...]) -> list[Any]:
    """The ancestors of a model that is made from this one, oldest first; JSON values.

    model_sha256: of the weights; provenance: the model's own, whose ancestors go before it; sources: recordings it was
    trained on, where it was not refitted.
    """
    made = provenance.get("refit")
    entry: dict[str, Any] = {"model_sha256": model_sha256, "name": name}
    if isinstance(made, dict):
        drives = [ChosenDrive.from_json(drive) for drive in made["drives"]]
        entry |= {"depth": made["depth"], "drives": [_in_brief(drive) for drive in drives]}
    else:
        entry |= {"depth": "train", "sources": list(sources)}
    return one_more(made["lineage"] if isinstance(made, dict) else [], entry)


def one_more(lineage: Sequence[Any], entry: dict[str, Any]) -> list[Any]:
    """The ancestors with the next one behind; of more than MOST_ANCESTORS the first says where it began."""
    found = [*lineage, entry]
    return found if len(found) <= MOST_ANCESTORS else [found[0], *found[1 - MOST_ANCESTORS :]]


def _in_brief(drive: ChosenDrive) -> dict[str, Any]:
    """A drive by one hash of all its files: ancestors would fill the manifest with theirs."""
    legs = json.dumps(sorted(drive.legs.items())).encode()
    digest = hashlib.sha256(legs).hexdigest()
    return {"name": drive.name, "cameras": list(drive.cameras), "frames": drive.frames, "legs_sha256": digest}
