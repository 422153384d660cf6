"""Ed25519 signatures over a bundle's manifest, which vouches for every other file by its checksum.

signature.json   algorithm ("ed25519"), key_id (first 16 hexadecimal digits of the SHA-256 of the public key's 32 bytes)
                 and signature (base64), over a fixed prefix and the exact bytes of manifest.json

Keys are PEM files as other tools write them: PKCS #8 for the private one, SubjectPublicKeyInfo for the public one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevad._extras import require
from edgevad._files import output_errors
from edgevad.errors import OptionError, OutputError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "NewKey",
    "PublicKey",
    "Signature",
    "make_key",
    "read_private_key",
    "read_public_key",
    "sign_manifest",
]

_ALGORITHM = "ed25519"
# So that a signature of ours is never one of anything else that the same key may sign, and the other way round.
_PREFIX = b"edgevad bundle manifest\x00"
_MAX_KEY_BYTES = 16 << 10
_PUBLIC_SUFFIX = ".pub.pem"


@dataclass(frozen=True)
class Signature:
    """What `signature.json` holds.

    Attributes:
        key_id: which key is said to have signed; a hint for people and for finding the key, nothing more.
        value: the 64 bytes of the signature.
    """

    key_id: str
    value: bytes

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        text = base64.b64encode(self.value).decode()
        value = {"algorithm": _ALGORITHM, "key_id": self.key_id, "signature": text}
        return (json.dumps(value, indent=2) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes, where: Path) -> Signature:
        """Raises SignatureError where `data` is not what `to_bytes` gave."""
        try:
            value = json.loads(data)
            if value["algorithm"] != _ALGORITHM:
                raise ValueError(f"algorithm {str(value['algorithm'])[:40]!r}")
            key_id, signature = value["key_id"], base64.b64decode(value["signature"], validate=True)
            if not isinstance(key_id, str) or len(bytes.fromhex(key_id)) != 8 or len(signature) != 64:
                raise ValueError("a key or a signature of another length")
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise SignatureError(
                f"the signature cannot be read ({str(error)[:100]})",
                where=where,
                expected="an Ed25519 signature made by edgevad bundle sign",
                fix="Sign the bundle again",
            ) from error
        return cls(key_id.lower(), signature)


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with.

    Attributes:
        id: short name of the key, 16 hexadecimal digits.
        pem: its file's bytes, as PEM.
    """

    id: str
    pem: bytes
    _key: Ed25519PublicKey

    def matches(self, signature: Signature, manifest: bytes) -> bool:
        """Whether this key made `signature` over the bytes of `manifest`."""
        exceptions = require("cryptography.exceptions", extra="sign", needed_for="checking a signature")
        try:
            self._key.verify(signature.value, _PREFIX + manifest)
        except exceptions.InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class NewKey:
    """A pair of key files that was just made."""

    id: str
    private: Path
    public: Path


def sign_manifest(manifest: bytes, key: Ed25519PrivateKey) -> Signature:
    """Sign the exact bytes of a manifest."""
    return Signature(_public(key.public_key()).id, key.sign(_PREFIX + manifest))


def read_private_key(path: str | PathLike[str]) -> Ed25519PrivateKey:
    """Raises OptionError where there is no Ed25519 private key, MissingExtraError where `cryptography` is not there."""
    serialization, ed25519 = _cryptography("signing a bundle")
    expected = "an Ed25519 private key in PEM, as edgevad bundle keygen makes it"
    data = _key_bytes(Path(path), expected)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise OptionError("the key is locked with a passphrase", where=path, expected=expected) from error
    except Exception as error:  # cryptography raises of many kinds for what it cannot read
        raise OptionError("this is no private key", where=path, expected=expected) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise OptionError("a private key of another kind", where=path, expected=expected)
    return key  # type: ignore[no-any-return]


def read_public_key(path: str | PathLike[str]) -> PublicKey:
    """Raises OptionError where there is no Ed25519 public key, MissingExtraError where `cryptography` is not there."""
    serialization, ed25519 = _cryptography("checking a signature")
    expected = "an Ed25519 public key in PEM, as edgevad bundle keygen makes it"
    data = _key_bytes(Path(path), expected)
    if b"PRIVATE KEY" in data:
        fix = f"Give the file that ends in {_PUBLIC_SUFFIX}; the private key stays where bundles are signed"
        raise OptionError("this is a private key", where=path, expected=expected, fix=fix)
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as error:  # as above
        raise OptionError("this is no public key", where=path, expected=expected) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise OptionError("a public key of another kind", where=path, expected=expected)
    return _public(key)


def make_key(path: str | PathLike[str]) -> NewKey:
    """Make a pair of keys: the private one at `path`, for its owner only, the public one beside it as `.pub.pem`.

    Raises:
        OutputError: one of the files is there already, or cannot be written; then neither is left.
        MissingExtraError: the package `cryptography` is not installed.
    """
    serialization, ed25519 = _cryptography("making a key")
    private_path = Path(path)
    public_path = private_path.with_name(private_path.name.removesuffix(".pem") + _PUBLIC_SUFFIX)
    key = ed25519.Ed25519PrivateKey.generate()
    public = _public(key.public_key())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_new(private_path, pem, 0o600)
    try:
        _write_new(public_path, public.pem, 0o644)
    except BaseException:
        private_path.unlink()
        raise
    return NewKey(public.id, private_path, public_path)


def _public(key: Ed25519PublicKey) -> PublicKey:
    serialization, _ = _cryptography("checking a signature")
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(raw).hexdigest()[:16], pem, key)


def _cryptography(needed_for: str) -> tuple[Any, Any]:
    base = "cryptography.hazmat.primitives"
    serialization = require(f"{base}.serialization", extra="sign", needed_for=needed_for)
    return serialization, require(f"{base}.asymmetric.ed25519", extra="sign", needed_for=needed_for)


def _key_bytes(path: Path, expected: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        what = f"the key cannot be read ({error.strerror or error})"
        raise OptionError(what, where=path, expected=expected) from error
    if len(data) > _MAX_KEY_BYTES:
        raise OptionError("this is too large to be a key", where=path, expected=expected)
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there; whole or not at all."""
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError as error:
            what = "is there already, and a key is never written over"
            raise OutputError(what, where=path, fix="Choose another name") from error
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(handle)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
