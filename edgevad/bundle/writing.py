"""Writing bundles: from their parts, from one form to the other, and with a signature."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._files import atomic_directory, atomic_file, output_errors
from edgevad.bundle.archive import ARCHIVE_MAGIC, ARCHIVE_SUFFIX, write_archive
from edgevad.bundle.bundle import BANK_NAME, REMEMBER_NAME, REPLAY_NAME, SCORES_NAME, SELFTEST_NAME, TONES_NAME, Bundle
from edgevad.bundle.calibration import Calibration
from edgevad.bundle.manifest import SCHEMA_VERSION, FileEntry, Manifest, graph_name
from edgevad.bundle.members import MANIFEST_NAME, MAX_MANIFEST_BYTES, SIGNATURE_NAME, HeldMembers
from edgevad.bundle.replay import Replay
from edgevad.bundle.signing import Signature, read_private_key, sign_manifest
from edgevad.bundle.tones import ToneCurves
from edgevad.bundle.trust import ANYBODY
from edgevad.errors import BundleError, OutputError
from edgevad.spec import InputSpec
from edgevad.targets import Target

__all__ = ["pack_bundle", "require_place", "sign_bundle", "write_bundle"]

# Those that no manifest need list.
_NAMES = {MANIFEST_NAME, SIGNATURE_NAME}
_LEFT_OF_SIGNING = re.compile(rf"\.{re.escape(SIGNATURE_NAME)}\..*\.part")
_NAME_AT = 30  # where the first member's name begins in an archive


def write_bundle(
    path: str | PathLike[str],
    *,
    name: str,
    target: Target,
    backend: str,
    precision: str,
    graphs: Mapping[str, bytes],
    input: InputSpec,
    score: str,
    calibration: Calibration,
    provenance: Mapping[str, Any],
    selftest: Mapping[str, npt.NDArray[Any]],
    selftest_rtol: float,
    scores: Mapping[str, npt.NDArray[Any]],
    bank: npt.NDArray[np.float32] | None = None,
    remember: bytes | None = None,
    replay: Replay | None = None,
    tones: ToneCurves | None = None,
    guard: Mapping[str, Any] | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and open it again. An older bundle at `path` is replaced.

    A `path` that ends in `.edgevad` becomes one file, any other a folder. Most fields are the manifest's; the shape of
    `bank`, the checksums and the time of creation are filled in.

    Args:
        graphs: ONNX by precision; "fp32" and `precision` are needed.
        selftest, scores, bank: the arrays that `edgevad.bundle.bundle` describes.
        remember: ONNX, from frames to what the bank keeps of them.
        replay: frames that the model learned from.
        tones: tone curves of conditions that the network was not trained on.
        guard: summary of what the accuracy guard found.
        extra: further files by name, such as the guard's report.

    Raises:
        OutputError: the folder or file cannot be written.
        BundleError: the parts do not hold together; nothing was written.
    """
    where = Path(path)
    files = {
        **{graph_name(key): graph for key, graph in graphs.items()},
        SELFTEST_NAME: _npz(selftest),
        SCORES_NAME: _npz(scores),
        **(extra or {}),
    }
    if bank is not None:
        buffer = io.BytesIO()
        np.save(buffer, bank)
        files[BANK_NAME] = buffer.getvalue()
        input = input.with_bank(bank.shape)
    if remember is not None:
        files[REMEMBER_NAME] = remember
    if replay is not None:
        files[REPLAY_NAME] = _npz(replay.arrays())
    if tones is not None:
        files[TONES_NAME] = _npz(tones.arrays())
    manifest = Manifest(
        name=name,
        target=target.name,
        profile=target.to_json(),
        backend=backend,
        precision=precision,
        graphs={key: graph_name(key) for key in graphs},
        selftest_rtol=selftest_rtol,
        input=input,
        score=score,
        calibration=calibration,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        files={file: FileEntry(hashlib.sha256(files[file]).hexdigest(), len(files[file])) for file in sorted(files)},
        guard=None if guard is None else dict(guard),
        provenance=dict(provenance),
    )
    try:
        text = json.dumps(manifest.to_json(), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f"its manifest cannot be written as JSON ({error})", where=where) from error
    return _write(where, {MANIFEST_NAME: (text + "\n").encode(), **files})


def pack_bundle(path: str | PathLike[str], out: str | PathLike[str], *, overwrite: bool = False) -> Bundle:
    """Write the bundle at `path` again, as one file where `out` ends in `.edgevad`, else as a folder.

    The files themselves stay the same to the byte, and so do manifest and signature; from the same files comes the same
    archive.

    Raises:
        BundleError: the bundle is missing or broken.
        OutputError: `out` is there already and `overwrite` is off, is no bundle, or cannot be written.
    """
    bundle, out = Bundle.open(path, trust=ANYBODY), Path(out)
    require_place(out, overwrite=overwrite)
    return _write(out, bundle.files())


def sign_bundle(path: str | PathLike[str], key: str | PathLike[str]) -> Signature:
    """Sign the bundle at `path`, in place, with the private key in the file `key`; an older signature is replaced.

    Raises:
        BundleError: the bundle is missing or broken: what is not whole is not signed.
        OptionError: `key` is no Ed25519 private key.
        OutputError: the bundle cannot be written.
        MissingExtraError: the package `cryptography` is not installed.
    """
    private = read_private_key(key)
    bundle = Bundle.open(path, trust=ANYBODY)
    bundle.check()
    signature = sign_manifest(bundle.manifest_bytes, private)
    if bundle.path.is_dir():
        with atomic_file(bundle.path / SIGNATURE_NAME) as stream:
            stream.write(signature.to_bytes())
    else:
        _write(bundle.path, {**bundle.files(), SIGNATURE_NAME: signature.to_bytes()})
    return signature


def require_place(path: str | PathLike[str], *, overwrite: bool) -> None:
    """See to it that a bundle may be put at `path`, and that nothing is lost there which is not a bundle's.

    Raises:
        OutputError: something is there and `overwrite` is off, or it is more, or something else, than one bundle.
    """
    where = Path(path)
    with output_errors(where):
        if not where.exists():
            return
        if not overwrite:
            raise OutputError(
                "is there already", where=where, fix="Choose another --out, or replace it with --overwrite"
            )
        what = _foreign(where) if where.is_dir() else None if _is_archive(where) else "is no bundle"
    if what is not None:
        raise OutputError(
            f"{what}, so --overwrite does not replace it", where=where, fix="Choose another --out, or move it away"
        )


def _is_archive(path: Path) -> bool:
    """Whether the file is a bundle, as far as its first bytes tell: the manifest is an archive's first member."""
    name = MANIFEST_NAME.encode()
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_NAME_AT + len(name))
    return head.startswith(ARCHIVE_MAGIC) and head[_NAME_AT:] == name


def _foreign(folder: Path) -> str | None:
    """What in this folder is not of a bundle of ours, whole or broken; None where all is."""
    entries = sorted(folder.iterdir())
    if not entries:
        return None
    path = folder / MANIFEST_NAME
    if not path.is_file() or path.stat().st_size > MAX_MANIFEST_BYTES:
        return "is no bundle"
    try:
        manifest = json.loads(path.read_bytes())
        version, listed = manifest["schema_version"], set(manifest["files"])
    except (KeyError, RecursionError, TypeError, ValueError):
        return "is no bundle"
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        return "is no bundle of this edgevad"
    for entry in entries:
        known = entry.name in listed | _NAMES or _LEFT_OF_SIGNING.fullmatch(entry.name)
        if not known or entry.is_dir() or entry.is_symlink():
            return f"holds {entry.name}, which is no part of a bundle"
    return None


def _write(path: Path, files: Mapping[str, bytes]) -> Bundle:
    """Put a bundle in place that holds together, and nothing else."""
    Bundle.of(HeldMembers(files), path, trust=ANYBODY).check()
    first = [name for name in (MANIFEST_NAME, SIGNATURE_NAME) if name in files]
    names = first + sorted(set(files) - set(first))
    if path.suffix == ARCHIVE_SUFFIX:
        with atomic_file(path) as stream:
            write_archive(stream, {name: files[name] for name in names})
    else:
        with atomic_directory(path) as directory:
            for name in names:
                (directory / name).write_bytes(files[name])
    return Bundle.open(path, trust=ANYBODY)


def _npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
