"""What learning slowly added to a bundle, on the disk: one small file for each bundle, by its digest."""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgevad._files import atomic_file
from edgevad.bundle.arrays import arrays_from_npz
from edgevad.errors import OutputError
from edgevad.refit.coreset import Episode

__all__ = ["Learned"]

_log = logging.getLogger(__name__)
_NAMES = ("coordinates", "episode", "stretches", "day", "today")
# Of this bundle, of the one in the other slot, and of some before: whoever goes back finds what was learnt.
_KEPT_FILES = 4


@dataclass
class Learned:
    """
    Attributes:
        episodes: what was remembered at run time, oldest first; all of it is from another time than what comes.
        day: the number of the day (UTC, since 1970) of the last frame that was remembered.
        today: how many were remembered on that day.
    """

    episodes: list[Episode] = field(default_factory=list)
    day: int = 0
    today: int = 0

    @property
    def entries(self) -> int:
        """How many frames there are."""
        return sum(map(len, self.episodes))

    def save(self, path: Path) -> None:
        """Write it, whole or not at all, and remove the oldest of the other bundles' files where there are many.

        Raises:
            OutputError: it cannot be written.
        """
        buffer = io.BytesIO()
        number = np.repeat(np.arange(len(self.episodes)), [len(one) for one in self.episodes])
        np.savez(
            buffer,
            coordinates=np.concatenate([one.coordinates for one in self.episodes]).astype(np.float32),
            episode=number.astype(np.int64),
            stretches=np.array([one.stretches for one in self.episodes], np.int64),
            day=np.array([self.day], np.int64),
            today=np.array([self.today], np.int64),
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder cannot be made ({error.strerror})", where=path.parent) from error
        with atomic_file(path) as stream:
            stream.write(buffer.getvalue())
        with suppress(OSError):
            others = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
            for file in others[_KEPT_FILES:]:
                file.unlink()

    @classmethod
    def load(cls, path: Path, values: int) -> Learned:
        """What `save` wrote, of `values` coordinates each; nothing learnt where it is not there, or broken."""
        try:
            data = path.read_bytes()
            arrays = arrays_from_npz(data, _NAMES)
            return _checked(arrays, values)
        except FileNotFoundError:
            return cls()
        except (OSError, KeyError, ValueError) as error:
            _log.warning("what was learnt slowly cannot be read (%s), and is learnt anew: %s", error, path)
            return cls()


def _checked(arrays: dict[str, np.ndarray], values: int) -> Learned:
    """Raises ValueError where the arrays are not what `Learned.save` wrote."""
    coordinates, number, stretches = arrays["coordinates"], arrays["episode"], arrays["stretches"]
    count = len(stretches)
    if coordinates.ndim != 2 or coordinates.shape[1] != values or coordinates.dtype != np.float32:
        raise ValueError(f"coordinates are {coordinates.dtype} of shape {coordinates.shape}")
    if number.shape != (len(coordinates),) or not np.array_equal(np.unique(number), np.arange(count)):
        raise ValueError("its episodes are not numbered")
    if not np.isfinite(coordinates).all() or (stretches < 1).any() or (np.diff(number) < 0).any():
        raise ValueError("not all of it are numbers, or they are out of order")
    episodes = []
    for k in range(count):
        rows = np.ascontiguousarray(coordinates[number == k])
        episodes.append(Episode(rows, np.full(len(rows), np.inf), int(stretches[k])))
    return Learned(episodes, int(arrays["day"][0]), int(arrays["today"][0]))
