from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edgevad.bundle import ANYBODY, Bundle, pack_bundle, sign_bundle
from edgevad.bundle.signing import Signature, make_key, read_private_key, read_public_key, sign_manifest
from edgevad.errors import BundleError, MissingExtraError, OptionError, OutputError, SignatureError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "fleet.pem").private


def private_pem(key: object, password: bytes | None = None) -> bytes:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)  # type: ignore[attr-defined]


def public_pem(key: object) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)  # type: ignore[attr-defined]


def test_a_new_key_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        made = make_key(tmp_path / "keys" / "fleet.pem")
    finally:
        os.umask(umask)
    assert (made.private.name, made.public.name) == ("fleet.pem", "fleet.pub.pem")
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert read_public_key(made.public).id == made.id
    assert len(made.id) == 16
    before = made.private.read_bytes(), made.public.read_bytes()
    with pytest.raises(OutputError, match=r"fleet\.pem: "):
        make_key(made.private)
    assert (made.private.read_bytes(), made.public.read_bytes()) == before
    # Nor is half a pair left where only the public file is there.
    made.private.unlink()
    with pytest.raises(OutputError, match=r"fleet\.pub\.pem: "):
        make_key(made.private)
    assert not made.private.exists()


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "fleet.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        make_key(tmp_path / "fleet.pem")
    assert not (tmp_path / "elsewhere").exists()


def test_the_signature_is_of_the_exact_bytes_and_of_nothing_else(key: Path) -> None:
    private, public = read_private_key(key), read_public_key(key.with_name("fleet.pub.pem"))
    signature = sign_manifest(b"{}", private)
    assert signature.key_id == public.id
    assert public.matches(signature, b"{}")
    assert not public.matches(signature, b"{} ")
    # What the key signed for something else is no signature of a bundle, whatever the bytes are.
    assert not public.matches(Signature(public.id, private.sign(b"{}")), b"{}")


@pytest.mark.parametrize("form", ["folder", "file"])
def test_signing_adds_a_file_and_changes_nothing_else(tiny_bundle: Path, tmp_path: Path, key: Path, form: str) -> None:
    out = tmp_path / ("signed" if form == "folder" else "signed.edgevad")
    before = pack_bundle(tiny_bundle, out)
    unsigned = dict(before.files())
    signature = sign_bundle(out, key)
    after = Bundle.open(out)
    assert after.digest == before.digest
    files = dict(after.files())
    assert Signature.parse(files.pop("signature.json"), out) == signature
    assert files == unsigned
    # Signed anew, by another: the newer signature replaces the older.
    other = make_key(tmp_path / "other.pem")
    assert sign_bundle(out, other.private).key_id == other.id
    assert Bundle.open(out).signature_bytes != after.signature_bytes
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {out.name, "fleet.pem", "fleet.pub.pem", "other.pem", "other.pub.pem"}


def test_a_signature_travels_when_a_bundle_is_packed(tiny_bundle: Path, tmp_path: Path, key: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "folder"))
    sign_bundle(folder, key)
    file = pack_bundle(folder, tmp_path / "one.edgevad")
    back = pack_bundle(file.path, tmp_path / "back")
    assert file.signature_bytes == back.signature_bytes == (folder / "signature.json").read_bytes()
    sign_bundle(pack_bundle(tiny_bundle, tmp_path / "two.edgevad").path, key)
    assert (tmp_path / "two.edgevad").read_bytes() == (tmp_path / "one.edgevad").read_bytes()


def test_what_is_not_whole_is_not_signed(tiny_bundle: Path, tmp_path: Path, key: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="not the file that was exported"):
        sign_bundle(copy, key)
    assert not (copy / "signature.json").exists()


def test_what_is_no_private_key_is_one_error(tiny_bundle: Path, tmp_path: Path, key: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    locked = private_pem(ed25519.Ed25519PrivateKey.generate(), b"secret")
    (tmp_path / "folder").mkdir()
    for content, message in (
        (None, "the key cannot be read .No such file"),
        ("folder", "the key cannot be read .Is a directory"),
        (b"", "this is no private key"),
        (b"hello", "this is no private key"),
        (b"\x00\xff" * 50, "this is no private key"),
        (b"x" * (1 << 20), "too large to be a key"),
        (key.with_name("fleet.pub.pem").read_bytes(), "this is no private key"),
        (private_pem(curve), "a private key of another kind"),
        (locked, "the key is locked with a passphrase"),
    ):
        path = tmp_path / (content if isinstance(content, str) else "key")
        if isinstance(content, bytes):
            path.write_bytes(content)
        with pytest.raises(OptionError, match=f"{message}.*expected an Ed25519 private key in PEM") as caught:
            sign_bundle(tiny_bundle, path)
        assert "\n" not in str(caught.value)
    assert Bundle.open(tiny_bundle).signature_bytes is None


def test_what_is_no_public_key_is_one_error(tmp_path: Path, key: Path) -> None:
    for content, message in (
        (b"hello", "this is no public key"),
        (key.read_bytes(), r"this is a private key.*Give the file that ends in \.pub\.pem"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "a public key of another kind"),
    ):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(OptionError, match=message):
            read_public_key(tmp_path / "key")


GOOD = {"algorithm": "ed25519", "key_id": "0" * 16, "signature": base64.b64encode(bytes(64)).decode()}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"[" * 4000,
        b"\xff",
        json.dumps({**GOOD, "algorithm": "rot13"}).encode(),
        json.dumps({**GOOD, "key_id": "0" * 15}).encode(),
        json.dumps({**GOOD, "key_id": "\u001b[31m"}).encode(),
        json.dumps({**GOOD, "key_id": 5}).encode(),
        json.dumps({**GOOD, "signature": "AAAA"}).encode(),
        json.dumps({**GOOD, "signature": "*" * 88}).encode(),
        json.dumps({**GOOD, "signature": None}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "key_id"}).encode(),
    ],
)
def test_a_signature_that_is_none_is_one_error(data: bytes, tmp_path: Path) -> None:
    assert Signature.parse(json.dumps(GOOD).encode(), tmp_path) == Signature("0" * 16, bytes(64))
    with pytest.raises(SignatureError, match="the signature cannot be read") as caught:
        Signature.parse(data, tmp_path)
    assert "\x1b" not in str(caught.value)


def test_without_the_extra_the_pip_line_is_printed(
    tiny_bundle: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.serialization", None)
    for use in (lambda: sign_bundle(tiny_bundle, key), lambda: make_key(tmp_path / "new.pem")):
        with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[sign\]'"):
            use()
    assert not (tmp_path / "new.pem").exists()
    assert Bundle.open(tiny_bundle, trust=ANYBODY).manifest.name == "tiny"
