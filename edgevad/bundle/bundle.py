"""Reading and writing the folder that a bundle is.

manifest.json   what the rest means, and the checksums of the rest
model.onnx      the scoring graph: frames [, motion] [, bank] -> score, heatmap, latent
bank.npy        what the vehicle remembers, the graph's `bank` (E, m, d + 1) float32, where the model remembers
selftest.npz    frames (n, h, w, 3) uint8 [, motion (n, h, w, M) float32] and the score (n, P) float32 they must give
scores.npz      the training recording's frame scores: score (N, P) float32, timestamp_ns int64, segment int32 (N,)
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import atomic_directory, input_errors, sha256_of
from edgevad.bundle.bank_file import read_bank_file
from edgevad.bundle.manifest import MANIFEST_NAME, Calibration, Manifest, read_manifest
from edgevad.errors import BundleError, ChecksumMismatchError
from edgevad.spec import InputSpec

__all__ = ["BANK_NAME", "MODEL_NAME", "SCORES_NAME", "SELFTEST_NAME", "Bundle", "TrainingScores", "write_bundle"]

MODEL_NAME = "model.onnx"
BANK_NAME = "bank.npy"
SELFTEST_NAME = "selftest.npz"
SCORES_NAME = "scores.npz"

_FIX = "Export or copy the bundle again"


@dataclass(frozen=True)
class TrainingScores:
    """Frame scores of the recording a model was trained on: what a threshold is calibrated from.

    Attributes:
        score: (N, P) float32 frame scores, a column for each part.
        timestamp_ns: (N,) int64.
        segment: (N,) int32.
    """

    score: npt.NDArray[np.float32]
    timestamp_ns: npt.NDArray[np.int64]
    segment: npt.NDArray[np.int32]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays under the names they have on disk."""
        return {"score": self.score, "timestamp_ns": self.timestamp_ns, "segment": self.segment}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. Arrays are read when asked for."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | PathLike[str], *, verify: bool = True) -> Bundle:
        """Read the manifest of the bundle at `path` and, unless told otherwise, every file against its checksum.

        Raises:
            BundleError: there is no bundle there that can be read, or a file of it is missing.
            ManifestError: its manifest cannot be used.
            ChecksumMismatchError: a file is not the one that was exported.
        """
        directory = Path(path)
        with input_errors(directory, BundleError):
            _refuse_what_is_no_bundle(directory)
        manifest = read_manifest(directory / MANIFEST_NAME)
        bundle = cls(directory, manifest)
        needed = (MODEL_NAME, SELFTEST_NAME, SCORES_NAME, *([] if manifest.input.bank is None else [BANK_NAME]))
        for name in needed:
            if name not in manifest.files:
                raise BundleError(f"the manifest does not list {name}", where=directory / MANIFEST_NAME, fix=_FIX)
        for name in manifest.files:
            with input_errors(directory / name, BundleError):
                is_there = (directory / name).is_file()
            if not is_there:
                raise BundleError(f"the bundle lacks its file {name}", where=directory, fix=_FIX)
        if verify:
            bundle.verify()
        return bundle

    def verify(self) -> None:
        """Hash every file.

        Raises:
            ChecksumMismatchError: a file is not the one that was exported.
            BundleError: a file cannot be read.
        """
        for name, expected in self.manifest.files.items():
            file = self.path / name
            try:
                found = sha256_of(file)
            except OSError as error:
                raise BundleError(f"cannot be read ({error.strerror or error})", where=file, fix=_FIX) from error
            if found != expected:
                raise ChecksumMismatchError(
                    f"not the file that was exported (SHA-256 {found[:12]}…)",
                    where=file,
                    expected=f"{expected[:12]}…",
                    fix=f"{_FIX}; it was changed or damaged on the way",
                )

    @property
    def model_path(self) -> Path:
        return self.path / MODEL_NAME

    def selftest(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays `frames`, `motion` (where the model uses it) and `score`, with one row a frame.

        Raises:
            BundleError: the file cannot be read, or its arrays do not fit the manifest.
        """
        spec = self.manifest.input
        path = self.path / SELFTEST_NAME
        names = ("frames", "score") if spec.motion is None else ("frames", "motion", "score")
        arrays = _load_arrays(path, names)
        count = len(arrays["score"])
        expected: dict[str, tuple[int, ...]] = {
            "frames": (count, spec.height_px, spec.width_px, 3),
            "score": (count, len(self.manifest.calibration.parts)),
        }
        if spec.motion is not None:
            expected["motion"] = (count, spec.height_px, spec.width_px, spec.motion.channels)
        for name, shape in expected.items():
            if count == 0 or arrays[name].shape != shape:
                raise BundleError(
                    f"self-test array {name} has shape {arrays[name].shape}",
                    where=path,
                    expected=f"{shape} with at least one row",
                    fix=_FIX,
                )
        return arrays

    def bank(self) -> npt.NDArray[np.float32] | None:
        """What the vehicle remembers: (E, m, d + 1) float32, or None where the model remembers nothing.

        Raises:
            BundleError: the file cannot be read, or does not fit the manifest.
        """
        shape = self.manifest.input.bank
        if shape is None:
            return None
        path = self.path / BANK_NAME
        try:
            bank = read_bank_file(path)
        except (OSError, ValueError) as error:
            raise BundleError(f"the bank cannot be read ({error})", where=path, fix=_FIX) from error
        if bank.shape != shape:
            raise BundleError(
                f"the bank has the shape {bank.shape}",
                where=path,
                expected=f"{shape}, as the manifest says",
                fix=_FIX,
            )
        return bank

    def training_scores(self) -> TrainingScores:
        """The frame scores that the threshold was calibrated from.

        Raises:
            BundleError: the file cannot be read, or its arrays differ in length.
        """
        path = self.path / SCORES_NAME
        arrays = _load_arrays(path, ("score", "timestamp_ns", "segment"))
        count, parts = len(arrays["timestamp_ns"]), len(self.manifest.calibration.parts)
        expected = {"score": (count, parts), "timestamp_ns": (count,), "segment": (count,)}
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != expected:
            raise BundleError(f"the training scores have shapes {shapes}", where=path, expected=str(expected), fix=_FIX)
        return TrainingScores(
            arrays["score"].astype(np.float32, copy=False),
            arrays["timestamp_ns"].astype(np.int64, copy=False),
            arrays["segment"].astype(np.int32, copy=False),
        )


def write_bundle(
    path: str | PathLike[str],
    *,
    name: str,
    target: str,
    precision: str,
    input: InputSpec,
    score: str,
    calibration: Calibration,
    provenance: Mapping[str, Any],
    onnx_bytes: bytes,
    selftest: Mapping[str, npt.NDArray[Any]],
    scores: Mapping[str, npt.NDArray[Any]],
    bank: npt.NDArray[np.float32] | None = None,
) -> Bundle:
    """Write a bundle folder, whole or not at all, and open it again. An older bundle at `path` is replaced.

    The first seven fields are the manifest's, but for the shape of `bank`, which is filled in with checksums and the
    time of creation; `selftest`, `scores` and `bank` are the arrays that the module describes.

    Raises:
        OutputError: the folder cannot be written.
        BundleError: what was written does not hold together.
    """
    with atomic_directory(path) as directory:
        (directory / MODEL_NAME).write_bytes(onnx_bytes)
        np.savez(directory / SELFTEST_NAME, **selftest)  # type: ignore[arg-type]
        np.savez(directory / SCORES_NAME, **scores)  # type: ignore[arg-type]
        names = [MODEL_NAME, SELFTEST_NAME, SCORES_NAME]
        if bank is not None:
            np.save(directory / BANK_NAME, bank)
            names.append(BANK_NAME)
            episodes, entries, values = bank.shape
            input = replace(input, bank=(episodes, entries, values))
        manifest = Manifest(
            name=name,
            target=target,
            precision=precision,
            input=input,
            score=score,
            calibration=calibration,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            files={file: sha256_of(directory / file) for file in names},
            provenance=dict(provenance),
        )
        text = json.dumps(manifest.to_json(), indent=2, allow_nan=False)
        (directory / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
        written = Bundle.open(directory)
        written.selftest()
        written.training_scores()
        written.bank()
    return Bundle.open(path)


def _refuse_what_is_no_bundle(directory: Path) -> None:
    if not directory.exists():
        raise BundleError("no bundle there", where=directory, expected="a folder made by edgevad export")
    if not directory.is_dir():
        raise BundleError("this is a file", where=directory, expected="the folder made by edgevad export")
    if not (directory / MANIFEST_NAME).exists() and any(directory.glob("*.safetensors")):
        raise BundleError(
            "this is a model, not a bundle",
            where=directory,
            fix=f"Make one with: edgevad export {directory} --target cpu --out BUNDLE",
        )


def _load_arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except KeyError as error:
        raise BundleError(f"an array is missing ({error})", where=path, fix=_FIX) from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"the arrays cannot be read ({error})", where=path, fix=_FIX) from error
