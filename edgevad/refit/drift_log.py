"""Figures of logged drives, leg by leg; each leg is read once and remembered.

A leg's file is decoded for a second of every two or so: an hour of one camera takes some seconds, the next time none.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevad._files import atomic_file, output_errors
from edgevad.bundle.arrays import arrays_from_npz
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import leg_name
from edgevad.drives.messages import IMAGE, SCORE
from edgevad.drives.reading import messages_of, metadata_of
from edgevad.drives.rows import DriveRow, LegRow
from edgevad.errors import OutputError, StoreError
from edgevad.refit.drift_reference import SCORE_EVERY_S, DriftReference
from edgevad.refit.drift_sample import Sample, SampleBuilder
from edgevad.refit.drift_taking import IMAGE_EVERY_S, is_due
from edgevad.runtime.shrinking import shrink
from edgevad.sources.opencv import BadImageError, decode_image
from edgevad.spec import InputSpec

__all__ = ["LegReader"]

_FORMAT = 1
# Of a leg whose checksum the catalogue does not have.
_NAMELESS = ".npz"


@dataclass
class _Camera:
    builder: SampleBuilder
    score_ns: int | None = None
    image_ns: int | None = None
    stretch: int = 0


class LegReader:
    """Gives the figures of closed legs.

    Args:
        root: the folder of the drives.
        reference: says which figures.
        spec: what the model is fed.
        cache: a folder to remember them in; None remembers nothing.
    """

    def __init__(self, root: Path, reference: DriftReference, spec: InputSpec, cache: Path | None = None) -> None:
        self._root = root
        self._reference = reference
        self._size = (spec.width_px, spec.height_px)
        # What was measured with other figures, or in another memory, is of no use.
        key = json.dumps([_FORMAT, reference.digest, [figure.name for figure in reference.figures]])
        self._key = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._cache = None if cache is None else cache / "legs" / self._key

    def read(self, drive: DriveRow, leg: LegRow) -> dict[str, Sample]:
        """Of each camera, by its name. Scores by another bundle are left out: they are on another scale.

        Raises:
            StoreError: the leg cannot be read.
            MissingExtraError: the extra `drives` is not installed.
        """
        name = f"{leg.sha256[:32]}.npz"
        if (known := self._remembered(name)) is not None:
            return known
        with_scores = self.is_of_the_bundle(drive, leg)
        found = self._measured(self._root / leg.drive / leg_name(leg.number), with_scores=with_scores)
        self._remember(name, found)
        return found

    def is_of_the_bundle(self, drive: DriveRow, leg: LegRow) -> bool:
        """Whether the reference's bundle scored this leg: one may have been activated while the drive was logged."""
        digest = drive.info.get("bundle_digest")
        with suppress(StoreError, OSError):
            digest = metadata_of(self._root / leg.drive / leg_name(leg.number)).get("bundle_digest", digest)
        return digest == self._reference.digest

    def forget_others(self, catalogue: Catalogue) -> None:
        """Remove what is remembered of legs that are gone, and of other bundles."""
        if self._cache is None or not self._cache.is_dir():
            return
        names = {f"{leg.sha256[:32]}.npz" for leg in catalogue.legs()}
        with suppress(OSError):
            for folder in self._cache.parent.iterdir():
                for path in folder.iterdir():
                    if folder != self._cache or path.name not in names:
                        path.unlink()
                if folder != self._cache:
                    folder.rmdir()

    def _measured(self, path: Path, *, with_scores: bool) -> dict[str, Sample]:
        cameras: dict[str, _Camera] = {}
        figures = len(self._reference.figures)
        for kind, source_id, log_ns, data in messages_of(
            path, (SCORE, IMAGE) if self._reference.has_frames else (SCORE,)
        ):
            camera = cameras.setdefault(source_id, _Camera(SampleBuilder(figures)))
            if kind == SCORE:
                if is_due(camera.score_ns, log_ns, SCORE_EVERY_S):
                    camera.score_ns = log_ns
                    self._add_score(camera, log_ns, _document(data, path), with_scores=with_scores)
            elif is_due(camera.image_ns, log_ns, IMAGE_EVERY_S):
                camera.image_ns = log_ns
                self._add_image(camera, log_ns, data)
        return {name: camera.builder.sample() for name, camera in cameras.items()}

    def _add_score(self, camera: _Camera, log_ns: int, score: dict[str, Any], *, with_scores: bool) -> None:
        deviates = score.get("deviates")
        camera.stretch = int(score.get("segment", 0))
        faulty = score.get("state") == "fault"
        parts = len(self._reference.calibration.parts)
        known = deviates if with_scores and isinstance(deviates, list) and len(deviates) == parts else []
        camera.builder.add(log_ns, camera.stretch, values=known, faulty=faulty)

    def _add_image(self, camera: _Camera, log_ns: int, data: bytes) -> None:
        try:
            image = decode_image(data)
        except BadImageError:
            return
        camera.builder.add(
            log_ns,
            camera.stretch,
            at=self._reference.first_image_column,
            values=self._reference.figures_of(shrink(image, self._size)),
        )

    def _remembered(self, name: str) -> dict[str, Sample] | None:
        if self._cache is None or name == _NAMELESS:
            return None
        try:
            data = (self._cache / name).read_bytes()
            names = json.loads(bytes(arrays_from_npz(data, ["cameras"])["cameras"]))
            return {camera: _sample_from(data, k, len(self._reference.figures)) for k, camera in enumerate(names)}
        except (OSError, KeyError, ValueError):
            return None  # never measured, or spoilt: it is measured again

    def _remember(self, name: str, found: dict[str, Sample]) -> None:
        if self._cache is None or name == _NAMELESS:
            return
        arrays: dict[str, Any] = {"cameras": np.frombuffer(json.dumps(list(found)).encode(), np.uint8)}
        for k, sample in enumerate(found.values()):
            for key in _ARRAYS:
                array = getattr(sample, key)
                arrays[f"{key}_{k}"] = array.astype(np.uint8) if array.dtype == np.bool_ else array
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        # A disk that is full, or somebody else's: it is measured again the next time.
        with suppress(OutputError), output_errors(self._cache):
            self._cache.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._cache / name) as file:
                file.write(stream.getvalue())


_ARRAYS = ("values", "time_ns", "stretch", "faulty")


def _sample_from(data: bytes, k: int, figures: int) -> Sample:
    """Raises KeyError or ValueError where it is not what was written."""
    arrays = arrays_from_npz(data, [f"{key}_{k}" for key in _ARRAYS])
    values, time_ns, stretch, faulty = (arrays[f"{key}_{k}"] for key in _ARRAYS)
    if values.shape != (len(values), figures) or {len(time_ns), len(stretch), len(faulty)} != {len(values)}:
        raise ValueError("the arrays do not fit each other")
    return Sample(
        values.astype(np.float32), time_ns.astype(np.int64), stretch.astype(np.int64), faulty.astype(np.bool_)
    )


def _document(data: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreError("a message is no JSON object", where=path)
    return found
