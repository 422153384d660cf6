"""Whose bundles this device runs: the public keys in $EDGEVAD_HOME/trust.

An empty store, or none, asks for no signature. From the first key on only what one of the keys has signed is run, and a
store that cannot be read, or that holds a `.pem` file which is no key, lets nothing through.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from edgevad._files import atomic_file, output_errors
from edgevad.bundle.home import home_directory
from edgevad.bundle.signing import PublicKey, Signature, read_public_key
from edgevad.errors import EdgevadError, MissingExtraError, OptionError, SignatureError

__all__ = [
    "ANYBODY",
    "SignatureState",
    "TrustStore",
    "device_state",
    "distrust",
    "trust",
    "trust_directory",
    "trusted_keys",
]

_KEY_SUFFIX = ".pem"


@dataclass(frozen=True)
class SignatureState:
    """What is to be said of a bundle's signature.

    Attributes:
        key_id: of the key that the signature names, None where there is no signature that can be read.
        trusted: one of the store's keys made it, over this very manifest.
        says: the same in a few words.
        problem: why a store that holds keys refuses the bundle, None where it does not.
    """

    key_id: str | None
    trusted: bool
    says: str
    problem: SignatureError | None = None


@dataclass(frozen=True)
class TrustStore:
    """Keys whose signature is enough; no key asks for none."""

    keys: tuple[PublicKey, ...] = ()

    @classmethod
    def of_device(cls) -> TrustStore:
        """The keys this device trusts.

        Raises:
            SignatureError: the store is there and cannot be read, whole.
            MissingExtraError: it holds keys, and the package `cryptography` is not installed.
        """
        return cls(tuple(key for _, key in trusted_keys()))

    def state(self, manifest: bytes, signature: bytes | None, where: Path) -> SignatureState:
        """Look at the bytes of `signature.json`, None where there is none, for those of `manifest.json`."""
        expected = f"a signature of one of this device's {len(self.keys)} trusted keys"
        if signature is None:
            fix = "Sign it where the private key is: edgevad bundle sign BUNDLE --key KEY"
            problem = SignatureError("the bundle is not signed", where=where, expected=expected, fix=fix)
            return SignatureState(None, False, "not signed", problem)
        try:
            parsed = Signature.parse(signature, where)
        except SignatureError as error:
            return SignatureState(None, False, "a signature that cannot be read", error)
        key = next((key for key in self.keys if key.id == parsed.key_id), None)
        if key is None:
            what = f"the bundle is signed by {parsed.key_id}, which this device does not trust"
            fix = "If you know whose it is: edgevad bundle trust add KEY.pub.pem"
            problem = SignatureError(what, where=where, expected=expected, fix=fix)
            return SignatureState(parsed.key_id, False, f"by {parsed.key_id}, not checked: no trusted key", problem)
        if not key.matches(parsed, manifest):
            problem = SignatureError(
                f"the signature of {key.id} is not of this manifest",
                where=where,
                expected="the manifest that was signed",
                fix="Do not run it: it was changed after it was signed. Copy it again from where it was signed",
            )
            return SignatureState(key.id, False, f"not by {key.id}, whom it names: altered", problem)
        return SignatureState(key.id, True, f"by {key.id}, trusted")

    def check(self, manifest: bytes, signature: bytes | None, where: Path) -> None:
        """Raises SignatureError where the store holds keys and none of them signed these bytes of a manifest."""
        if not self.keys:
            return
        problem = self.state(manifest, signature, where).problem
        if problem is not None:
            raise problem


def device_state(manifest: bytes, signature: bytes | None, where: Path) -> SignatureState:
    """As `TrustStore.state` with this device's store, for looking only: a store that cannot be read trusts nobody."""
    try:
        store = TrustStore.of_device()
    except (MissingExtraError, SignatureError) as error:
        problem = error if isinstance(error, SignatureError) else SignatureError(error.what, fix=error.fix)
        return SignatureState(None, False, f"not checked: {error.what}", problem)
    return store.state(manifest, signature, where)


# For looking at bundles without running them, and for those that were just made here.
ANYBODY = TrustStore()


def trust_directory() -> Path:
    """$EDGEVAD_HOME/trust."""
    return home_directory() / "trust"


def trusted_keys() -> list[tuple[Path, PublicKey]]:
    """The files of the device's store and the key in each.

    Raises:
        SignatureError: the store is there and cannot be read, or one of its `.pem` files is no public key.
        MissingExtraError: it holds keys, and the package `cryptography` is not installed.
    """
    folder = trust_directory()
    try:
        try:
            folder.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return []  # not even a link: nobody ever put a key there
        files = sorted(path for path in folder.iterdir() if path.name.endswith(_KEY_SUFFIX))
    except OSError as error:
        raise _unreadable(folder, error.strerror or str(error)) from error
    found = []
    for path in files:
        try:
            found.append((path, read_public_key(path)))
        except MissingExtraError:
            raise
        except EdgevadError as error:
            raise _unreadable(path, error.what) from error
    return found


def trust(path: str | PathLike[str]) -> PublicKey:
    """Add the public key in the file `path` to the device's store.

    Raises:
        OptionError: there is no Ed25519 public key.
        SignatureError, OutputError: the store cannot be read or written.
        MissingExtraError: the package `cryptography` is not installed.
    """
    key = read_public_key(path)
    trusted_keys()  # a broken store is mended first, not added to
    with atomic_file(trust_directory() / f"{key.id}{_KEY_SUFFIX}") as stream:
        stream.write(key.pem)
    return key


def distrust(key_id: str) -> int:
    """Take a key out of the device's store; return how many are left.

    Raises:
        OptionError: it is not there.
        SignatureError, OutputError: the store cannot be read or written.
    """
    keys = trusted_keys()
    gone = [path for path, key in keys if key.id == key_id.lower()]
    if not gone:
        known = ", ".join(key.id for _, key in keys) or "an empty store"
        raise OptionError(f"no key {key_id!r}", where=trust_directory(), expected=f"one of {known}")
    for path in gone:
        with output_errors(path):
            path.unlink()
    return len(keys) - len(gone)


def _unreadable(where: Path, why: str) -> SignatureError:
    return SignatureError(
        f"what this device trusts cannot be read ({why}), so it runs no bundle",
        where=where,
        expected="a folder of public keys in PEM",
        fix="Mend or remove it",
    )
