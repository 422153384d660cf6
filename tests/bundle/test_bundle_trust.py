from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import edit_manifest

from edgevad.bundle import ANYBODY, Bundle, activate, active_bundle, pack_bundle, sign_bundle
from edgevad.bundle.signing import NewKey, make_key
from edgevad.bundle.trust import TrustStore, device_state, distrust, trust, trusted_keys
from edgevad.errors import EdgevadError, MissingExtraError, OptionError, SignatureError
from edgevad.evaluation.opening import open_scorer
from edgevad.runtime.scorer import Scorer


@pytest.fixture
def key(tmp_path: Path) -> NewKey:
    return make_key(tmp_path / "fleet.pem")


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path, key: NewKey) -> Path:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "signed"))
    sign_bundle(copy, key.private)
    return copy


USES: tuple[Callable[[Path], object], ...] = (Bundle.open, activate, Scorer.from_bundle, open_scorer)


def refused(path: Path, message: str, kind: type[EdgevadError] = SignatureError) -> None:
    """Whatever runs a bundle refuses this one, in one line."""
    for use in USES:
        with pytest.raises(kind, match=message) as caught:
            use(path)
        assert "\n" not in str(caught.value)


def taken(path: Path) -> None:
    for use in USES:
        use(path)


def test_an_empty_store_asks_for_nothing(edgevad_home: Path, tiny_bundle: Path, signed: Path) -> None:
    taken(tiny_bundle)
    taken(signed)
    (edgevad_home / "trust").mkdir()
    (edgevad_home / "trust" / "README").write_text("no key")
    taken(tiny_bundle)
    # A signature that is none does not matter either, and a bundle may come from somebody unknown.
    (signed / "signature.json").write_text("{}")
    taken(signed)


def test_from_the_first_key_on_only_what_is_signed_runs(
    edgevad_home: Path, tiny_bundle: Path, signed: Path, key: NewKey, tmp_path: Path
) -> None:
    trust(key.public)
    refused(tiny_bundle, "the bundle is not signed; expected a signature of one of this device's 1 trusted keys")
    assert not (edgevad_home / "current").exists()
    taken(signed)
    taken(pack_bundle(signed, tmp_path / "signed.edgevad").path)
    refused(pack_bundle(tiny_bundle, tmp_path / "unsigned.edgevad").path, "the bundle is not signed")


def test_a_signer_whom_nobody_here_knows_is_refused(
    edgevad_home: Path, signed: Path, tmp_path: Path, key: NewKey
) -> None:
    other = make_key(tmp_path / "other.pem")
    trust(other.public)
    refused(signed, f"signed by {key.id}, which this device does not trust")
    trust(key.public)
    taken(signed)
    # Whoever claims to be a trusted key has to have signed as it.
    sign_bundle(signed, make_key(tmp_path / "third.pem").private)
    value = json.loads((signed / "signature.json").read_text())
    (signed / "signature.json").write_text(json.dumps({**value, "key_id": key.id}))
    refused(signed, f"the signature of {key.id} is not of this manifest")


def test_what_was_altered_after_it_was_signed_is_refused(
    edgevad_home: Path, signed: Path, key: NewKey, tiny_motion_bundle: Path
) -> None:
    trust(key.public)
    whole = (signed / "manifest.json").read_bytes()
    edit_manifest(signed, selftest_rtol=1.0)
    refused(signed, f"the signature of {key.id} is not of this manifest")
    (signed / "manifest.json").write_bytes(whole + b" ")  # not even a space
    refused(signed, "is not of this manifest")
    # Another bundle's manifest and files, under this one's signature.
    for path in tiny_motion_bundle.iterdir():
        shutil.copy(path, signed / path.name)
    refused(signed, "is not of this manifest")
    (signed / "signature.json").write_text("{}")
    refused(signed, "the signature cannot be read")


def test_files_are_vouched_for_by_the_signed_manifest(edgevad_home: Path, signed: Path, key: NewKey) -> None:
    trust(key.public)
    graph = bytearray((signed / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (signed / "model.onnx").write_bytes(graph)
    refused(signed, r"model\.onnx: not the file that was exported", EdgevadError)


def test_the_signature_is_checked_before_the_manifest_is_believed(
    edgevad_home: Path, signed: Path, key: NewKey
) -> None:
    trust(key.public)
    (signed / "manifest.json").write_bytes(b"[" * 1000)
    refused(signed, "is not of this manifest")


def test_the_active_bundle_is_checked_again_whenever_it_is_opened(
    edgevad_home: Path, tiny_bundle: Path, signed: Path, key: NewKey
) -> None:
    activate(tiny_bundle)  # before anybody was trusted
    trust(key.public)
    refused(active_bundle(), "the bundle is not signed")
    activate(signed)
    assert (active_bundle() / "signature.json").read_bytes() == (signed / "signature.json").read_bytes()
    taken(active_bundle())
    distrust(key.id)
    taken(tiny_bundle)


def test_looking_is_free(edgevad_home: Path, tiny_bundle: Path, signed: Path, key: NewKey, tmp_path: Path) -> None:
    def state(path: Path) -> str:
        bundle = Bundle.open(path, trust=ANYBODY)
        return device_state(bundle.manifest_bytes, bundle.signature_bytes, path).says

    assert state(tiny_bundle) == "not signed"
    assert state(signed) == f"by {key.id}, not checked: no trusted key"
    trust(key.public)
    assert state(signed) == f"by {key.id}, trusted"
    assert state(tiny_bundle) == "not signed"
    edit_manifest(signed, name="other")
    assert state(signed) == f"not by {key.id}, whom it names: altered"
    (edgevad_home / "trust" / "broken.pem").write_text("x")
    assert state(signed).startswith("not checked: what this device trusts cannot be read")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is no public key"),
        (b"hello", "this is no public key"),
        ("folder", "Is a directory"),
        ("link", "No such file"),
        ("private", "this is a private key"),
    ],
)
def test_a_store_that_cannot_be_read_lets_nothing_through(
    edgevad_home: Path, tiny_bundle: Path, signed: Path, key: NewKey, content: str | bytes, message: str
) -> None:
    broken = edgevad_home / "trust" / "broken.pem"
    broken.parent.mkdir(parents=True)
    if content == "folder":
        broken.mkdir()
    elif content == "link":
        broken.symlink_to("nowhere")
    else:
        broken.write_bytes(key.private.read_bytes() if isinstance(content, str) else content)
    expected = rf"broken\.pem: what this device trusts cannot be read \(.*{message}.*\), so it runs no bundle"
    refused(tiny_bundle, expected)
    refused(signed, expected)
    for change in (lambda: trust(key.public), lambda: distrust(key.id)):
        with pytest.raises(SignatureError, match=expected):
            change()
    assert [path.name for path in broken.parent.iterdir()] == ["broken.pem"]


def test_a_store_that_is_no_folder_or_may_not_be_read_lets_nothing_through(
    edgevad_home: Path, tiny_bundle: Path, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgevad_home.mkdir()
    (edgevad_home / "trust").write_text("a file")
    refused(tiny_bundle, r"trust: what this device trusts cannot be read \(Not a directory\), so it runs no bundle")
    (edgevad_home / "trust").unlink()
    (edgevad_home / "trust").symlink_to("nowhere")
    refused(tiny_bundle, r"cannot be read \(No such file or directory\), so it runs no bundle")
    (edgevad_home / "trust").unlink()
    trust(key.public)

    def forbidden(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    refused(tiny_bundle, r"cannot be read \(Permission denied\), so it runs no bundle")


def test_no_home_is_no_way_around_the_store(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVAD_HOME", "~nobody-of-this-name/edgevad")
    refused(tiny_bundle, "there is no home folder .*Set EDGEVAD_HOME to a folder", OptionError)


def test_keys_come_and_go(edgevad_home: Path, tmp_path: Path, key: NewKey) -> None:
    assert trusted_keys() == []
    other = make_key(tmp_path / "other.pem")
    trust(key.public)
    trust(key.public)
    trust(other.public)
    shutil.copy(other.public, edgevad_home / "trust" / "copied-by-hand.pem")
    assert {known.id for _, known in trusted_keys()} == {key.id, other.id}
    assert len(trusted_keys()) == 3
    assert distrust(other.id.upper()) == 1
    with pytest.raises(OptionError, match=f"no key '{other.id}'; expected one of {key.id}"):
        distrust(other.id)
    assert distrust(key.id) == 0
    assert trusted_keys() == []


def test_a_private_key_does_not_come_into_the_store(edgevad_home: Path, key: NewKey) -> None:
    with pytest.raises(OptionError, match="this is a private key"):
        trust(key.private)
    assert not edgevad_home.exists()


def test_a_device_that_trusts_keys_and_cannot_check_runs_nothing(
    edgevad_home: Path, signed: Path, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(key.public)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    refused(signed, r"checking a signature needs .* pip install 'edgevad\[sign\]'", MissingExtraError)


def test_a_store_of_ones_own_is_used_in_the_devices_place(
    edgevad_home: Path, tiny_bundle: Path, signed: Path, key: NewKey
) -> None:
    from edgevad.bundle.signing import read_public_key

    mine = TrustStore((read_public_key(key.public),))
    assert np.isfinite(Bundle.open(signed, trust=mine).manifest.calibration.threshold)
    with pytest.raises(SignatureError, match="not signed"):
        Bundle.open(tiny_bundle, trust=mine)
