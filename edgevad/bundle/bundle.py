"""Reading a bundle: a folder, or one `.edgevad` file.

manifest.json   what the rest means, and the checksums of the rest
model.onnx      the scoring graph: frames [, motion] [, bank] -> score, heatmap, latent; in float32, the reference
model.int8.onnx, model.fp16.onnx   the same in the manifest's precision, where that is another
bank.npy        what the vehicle remembers, the graph's `bank` (E, m, d + 1) float32, where the model remembers
selftest.npz    frames (n, h, w, 3) uint8 [, motion (n, h, w, M) float32] and the score (n, P) float32 they must give
scores.npz      the training recording's frame scores: score (N, P) float32, timestamp_ns int64, segment int32 (N,)
remember.onnx   frames -> coordinates (N, d) float32, what the bank keeps of a frame, where the model remembers
replay.npz      frames it learned from, in stretches (edgevad/bundle/replay.py), where they were not left out
tones.npz       tone curves of other conditions than it was trained on (edgevad/bundle/tones.py), where it met any
guard.json, guard.png   report of the accuracy guard, where one ran
signature.json  Ed25519 signature of the manifest, where it is signed

No byte is handed out before it matched its checksum, and nothing is opened to be run that this device's trust store
refuses (docs/bundles.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import input_errors
from edgevad.bundle.archive import ARCHIVE_SUFFIX, ArchiveMembers
from edgevad.bundle.arrays import arrays_from_npz
from edgevad.bundle.bank_file import bank_from_npy
from edgevad.bundle.graph_check import check_graph
from edgevad.bundle.manifest import Manifest, parse_manifest
from edgevad.bundle.members import MANIFEST_NAME, SIGNATURE_NAME, FolderMembers, Members, check_names, check_sizes
from edgevad.bundle.replay import REPLAY_ARRAYS, Replay
from edgevad.bundle.tones import TONES_ARRAYS, ToneCurves
from edgevad.bundle.trust import TrustStore
from edgevad.errors import BundleError, ChecksumMismatchError, ManifestError

__all__ = [
    "BANK_NAME",
    "REMEMBER_NAME",
    "REPLAY_NAME",
    "SCORES_NAME",
    "SELFTEST_NAME",
    "TONES_NAME",
    "Bundle",
    "TrainingScores",
]

BANK_NAME = "bank.npy"
SELFTEST_NAME = "selftest.npz"
SCORES_NAME = "scores.npz"
REMEMBER_NAME = "remember.onnx"
REPLAY_NAME = "replay.npz"
TONES_NAME = "tones.npz"

_FIX = "Export or copy the bundle again"
_A_BUNDLE = f"the folder or the {ARCHIVE_SUFFIX} file made by edgevad export"


@dataclass(frozen=True)
class TrainingScores:
    """Frame scores of the recording a model was trained on: what a threshold is calibrated from.

    Where the recording is heavily contaminated, those of its usual frames.

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
    """A bundle on disk. Everything but the manifest is read when asked for.

    Attributes:
        path: the folder or file, for messages.
        manifest: what `manifest_bytes` say.
        manifest_bytes: the manifest as it was read, and signed.
        signature_bytes: `signature.json` as it was read, None where there is none.
        proved: names of the backends whose self-test this object has passed (see `edgevad.runtime.selftest`).
    """

    path: Path
    manifest: Manifest
    manifest_bytes: bytes = field(repr=False)
    signature_bytes: bytes | None = field(repr=False)
    members: Members = field(repr=False, compare=False)
    proved: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | PathLike[str], *, verify: bool = True, trust: TrustStore | None = None) -> Bundle:
        """Read the manifest of the bundle at `path` and, unless told otherwise, every file against its checksum.

        Without `verify` a file is checked when it is read, and not before. `trust` None means what this device trusts;
        to look at a bundle that is not to be run, there is `edgevad.bundle.ANYBODY`.

        Raises:
            BundleError: there is no bundle there that can be read, a file of it is missing, or one does not belong.
            ManifestError: its manifest cannot be used.
            SignatureError: this device runs signed bundles only, and this is not one of them.
            ChecksumMismatchError: a file is not the one that was exported.
        """
        where = Path(path)
        with input_errors(where, BundleError):
            is_folder = _is_folder(where)
        members: Members = FolderMembers(where) if is_folder else ArchiveMembers(where)
        return cls.of(members, where, verify=verify, trust=trust)

    @classmethod
    def of(cls, members: Members, where: Path, *, verify: bool = True, trust: TrustStore | None = None) -> Bundle:
        """As `open`, of members that are open already; `where` is for messages."""
        check_names(members.sizes, where)
        check_sizes(members.sizes, where)
        if MANIFEST_NAME not in members.sizes:
            raise ManifestError(
                "no manifest there", where=where / MANIFEST_NAME, expected="a bundle made by edgevad export"
            )
        manifest_bytes = members.read(MANIFEST_NAME)
        signature_bytes = members.read(SIGNATURE_NAME) if SIGNATURE_NAME in members.sizes else None
        # Before a word of the manifest is believed.
        store = TrustStore.of_device() if trust is None else trust
        store.check(manifest_bytes, signature_bytes, where)
        manifest = parse_manifest(manifest_bytes, where / MANIFEST_NAME)
        bundle = cls(where, manifest, manifest_bytes, signature_bytes, members)
        bundle._check_members()
        if verify:
            bundle.verify()
        return bundle

    def verify(self) -> None:
        """Read every file against its checksum.

        Raises:
            ChecksumMismatchError: a file is not the one that was exported.
            BundleError: a file cannot be read.
        """
        for name in self.manifest.files:
            self.read(name)

    def check(self) -> None:
        """Look through everything that an engine or the runtime would be given: graphs and arrays.

        Raises:
            BundleError: one of them cannot be used; the message says which.
        """
        for precision in self.manifest.graphs:
            self.graph(precision)
        self.selftest()
        self.training_scores()
        self.bank()
        self.remember_graph()
        self.replay()
        self.tones()

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest in hexadecimal: as the manifest holds all checksums, the bundle's identity."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    def read(self, name: str) -> bytes:
        """The bytes of one file, as they were exported.

        Raises:
            ChecksumMismatchError: it is not the file that was exported.
            BundleError: it cannot be read, or the manifest does not list it.
        """
        where = self.path / name
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError("the manifest lists no such file", where=where)
        size = self.members.sizes[name]
        data = self.members.read(name) if size == entry.bytes else b""
        found = hashlib.sha256(data).hexdigest()
        if size != entry.bytes or found != entry.sha256:
            differs = size != entry.bytes
            raise ChecksumMismatchError(
                "not the file that was exported " + (f"({size} bytes)" if differs else f"(SHA-256 {found[:12]}…)"),
                where=where,
                expected=f"{entry.bytes} bytes" if differs else f"{entry.sha256[:12]}…",
                fix=f"{_FIX}; it was changed or damaged on the way",
            )
        return data

    def graph(self, precision: str | None = None) -> bytes:
        """The scoring graph as ONNX, looked through: no external data, no custom operators.

        `precision` None means the manifest's.

        Raises:
            BundleError: there is no graph of that precision, it cannot be read, or it is not one to give to an engine.
        """
        name = self.graph_name(precision)
        data = self.read(name)
        check_graph(data, self.path / name)
        return data

    def graph_name(self, precision: str | None = None) -> str:
        """Name of the file that `graph` reads. Raises BundleError where there is no graph of that precision."""
        graphs, wanted = self.manifest.graphs, self.manifest.precision if precision is None else precision
        if wanted not in graphs:
            raise BundleError(f"holds no {wanted} graph", where=self.path, expected="one of " + ", ".join(graphs))
        return graphs[wanted]

    def selftest(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays `frames`, `motion` (where the model uses it) and `score`, with one row a frame.

        Raises:
            BundleError: the file cannot be read, or its arrays do not fit the manifest.
        """
        spec = self.manifest.input
        names = ("frames", "score") if spec.motion is None else ("frames", "motion", "score")
        arrays = self._arrays(SELFTEST_NAME, names)
        count = len(arrays["score"]) if arrays["score"].ndim else 0
        expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "frames": (np.uint8, (count, spec.height_px, spec.width_px, 3)),
            "score": (np.float32, (count, len(self.manifest.calibration.parts))),
        }
        if spec.motion is not None:
            expected["motion"] = (np.float32, (count, spec.height_px, spec.width_px, spec.motion.channels))
        for name, (kind, shape) in expected.items():
            if count == 0 or arrays[name].shape != shape or arrays[name].dtype != kind:
                raise BundleError(
                    f"self-test array {name} is {arrays[name].dtype} of shape {arrays[name].shape}",
                    where=self.path / SELFTEST_NAME,
                    expected=f"{np.dtype(kind)} of shape {shape} with at least one row",
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
        where = self.path / BANK_NAME
        data = self.read(BANK_NAME)
        try:
            bank = bank_from_npy(data)
        except ValueError as error:
            raise BundleError(f"the bank cannot be read ({error})", where=where, fix=_FIX) from error
        if bank.shape != shape:
            expected = f"{shape}, as the manifest says"
            raise BundleError(f"the bank has the shape {bank.shape}", where=where, expected=expected, fix=_FIX)
        return bank

    def remember_graph(self) -> bytes | None:
        """The graph from frames to what the bank keeps of them, looked through as `graph` is; None where there is none.

        Raises:
            BundleError: it cannot be read, or is not one to give to an engine.
        """
        if REMEMBER_NAME not in self.manifest.files:
            return None
        data = self.read(REMEMBER_NAME)
        check_graph(data, self.path / REMEMBER_NAME)
        return data

    def replay(self) -> Replay | None:
        """Frames that the model learned from; None where the bundle brings none.

        Raises:
            BundleError: the file cannot be read, or its arrays do not fit the manifest.
        """
        if REPLAY_NAME not in self.manifest.files:
            return None
        spec = self.manifest.input
        channels = 0 if spec.motion is None else spec.motion.channels
        arrays = self._arrays(REPLAY_NAME, (*REPLAY_ARRAYS, "motion") if channels else REPLAY_ARRAYS)
        try:
            return Replay.from_arrays(arrays, (spec.height_px, spec.width_px), channels)
        except ValueError as error:
            where = self.path / REPLAY_NAME
            raise BundleError(f"the replay cannot be used ({error})", where=where, fix=_FIX) from error

    def tones(self) -> ToneCurves | None:
        """Tone curves by which pictures of other conditions are brought home; None where the bundle knows one alone.

        Raises:
            BundleError: the file cannot be read, or its arrays do not fit the manifest.
        """
        if TONES_NAME not in self.manifest.files:
            return None
        arrays = self._arrays(TONES_NAME, TONES_ARRAYS)
        try:
            return ToneCurves.from_arrays(arrays, len(self.manifest.calibration.parts))
        except ValueError as error:
            where = self.path / TONES_NAME
            raise BundleError(f"the tone curves cannot be used ({error})", where=where, fix=_FIX) from error

    def training_scores(self) -> TrainingScores:
        """The frame scores that the threshold was calibrated from.

        Raises:
            BundleError: the file cannot be read, or its arrays differ in length.
        """
        arrays = self._arrays(SCORES_NAME, ("score", "timestamp_ns", "segment"))
        count, parts = arrays["timestamp_ns"].size, len(self.manifest.calibration.parts)
        expected = {"score": (count, parts), "timestamp_ns": (count,), "segment": (count,)}
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != expected:
            where = self.path / SCORES_NAME
            raise BundleError(
                f"the training scores have shapes {shapes}", where=where, expected=str(expected), fix=_FIX
            )
        return TrainingScores(
            arrays["score"].astype(np.float32, copy=False),
            arrays["timestamp_ns"].astype(np.int64, copy=False),
            arrays["segment"].astype(np.int32, copy=False),
        )

    def files(self) -> Mapping[str, bytes]:
        """Every file of the bundle, checked, in the order in which they are written."""
        found = {MANIFEST_NAME: self.manifest_bytes}
        if self.signature_bytes is not None:
            found[SIGNATURE_NAME] = self.signature_bytes
        return {**found, **{name: self.read(name) for name in sorted(self.manifest.files)}}

    def _check_members(self) -> None:
        """What is listed is there, what is there is listed, and what is needed is among it."""
        manifest, there = self.manifest, self.members.sizes
        needed = (SELFTEST_NAME, SCORES_NAME, *([] if manifest.input.bank is None else [BANK_NAME]))
        for name in needed:
            if name not in manifest.files:
                raise BundleError(f"the manifest does not list {name}", where=self.path / MANIFEST_NAME, fix=_FIX)
        for name in manifest.files:
            if name not in there:
                raise BundleError(f"the bundle lacks its file {name}", where=self.path, fix=_FIX)
        for name in there:
            if name not in manifest.files and name not in (MANIFEST_NAME, SIGNATURE_NAME):
                fix = "Take it out, or export or copy the bundle again"
                raise BundleError(f"holds {name}, which its manifest does not list", where=self.path, fix=fix)

    def _arrays(self, name: str, arrays: Collection[str]) -> dict[str, npt.NDArray[Any]]:
        data = self.read(name)
        try:
            return arrays_from_npz(data, arrays)
        except KeyError as error:
            raise BundleError(f"an array is missing ({error})", where=self.path / name, fix=_FIX) from error
        except ValueError as error:
            raise BundleError(f"the arrays cannot be read ({error})", where=self.path / name, fix=_FIX) from error


def _is_folder(path: Path) -> bool:
    """Whether the bundle at `path` is a folder, and not one file; raises BundleError where it is neither."""
    if not path.exists():
        raise BundleError("no bundle there", where=path, expected=_A_BUNDLE)
    if path.is_dir():
        if not (path / MANIFEST_NAME).exists() and any(path.glob("*.safetensors")):
            raise BundleError(
                "this is a model, not a bundle",
                where=path,
                fix=f"Make one with: edgevad export {path} --target cpu --out BUNDLE",
            )
        return True
    if not path.is_file() or path.suffix != ARCHIVE_SUFFIX:
        raise BundleError("this is a file" if path.is_file() else "this is no file", where=path, expected=_A_BUNDLE)
    return False
