"""edgevad bundle: look at bundles, check them, sign them, pack them, and say whose this device runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.bundle.bundle import Bundle

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder or .edgevad file made by edgevad export.", show_default=False)
]
ActiveOrBundle = Annotated[
    Optional[Path],
    typer.Argument(
        metavar="[BUNDLE]", help="Folder or .edgevad file made by edgevad export.", show_default="the active one"
    ),
]


def register(app: typer.Typer) -> None:
    """Add `bundle` and its sub-commands to the application."""
    group = typer.Typer(help="Look at a bundle, verify, sign and pack it; choose whose this device runs.")
    group.command("show")(show)
    group.command("verify")(verify)
    group.command("pack")(pack)
    group.command("sign")(sign)
    group.command("keygen")(keygen)
    store = typer.Typer(help="The public keys whose bundles this device runs; none: it asks for no signature.")
    store.command("add")(trust_add)
    store.command("list")(trust_list)
    store.command("remove")(trust_remove)
    group.add_typer(store, name="trust", no_args_is_help=True)
    app.add_typer(group, name="bundle", no_args_is_help=True)


def show(bundle: ActiveOrBundle = None, json_output: Json = False) -> None:
    """Say what a bundle is for, what is in it and where it comes from; nothing of it is run."""
    from edgevad.bundle.trust import device_state
    from edgevad.report.bundle_view import bundle_json, bundle_table

    opened = _look_at(bundle)
    state = device_state(opened.manifest_bytes, opened.signature_bytes, opened.path)
    if json_output:
        print(json.dumps(bundle_json(opened, state)))
        return
    from rich.console import Console

    Console().print(bundle_table(opened, state))


def verify(
    bundle: ActiveOrBundle = None,
    key: Annotated[
        Optional[list[Path]],
        typer.Option("--key", help="Public key (PEM) that is to have signed it.", show_default="this device's trust"),
    ] = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="Run its self-test in its engine as well.")] = False,
    json_output: Json = False,
) -> None:
    """Check a bundle's checksums, its graphs and its signature; exit code 2 where one of them does not hold."""
    from edgevad.bundle import TrustStore
    from edgevad.bundle.signing import read_public_key

    opened = _look_at(bundle)
    opened.check()
    store = TrustStore(tuple(read_public_key(path) for path in key)) if key else TrustStore.of_device()
    store.check(opened.manifest_bytes, opened.signature_bytes, opened.path)
    state = store.state(opened.manifest_bytes, opened.signature_bytes, opened.path)
    deviation = None
    if self_test:
        from edgevad.runtime.selftest import self_test as run_self_test

        deviation = run_self_test(opened)
    if json_output:
        signature = {"key_id": state.key_id, "trusted": state.trusted, "state": state.says}
        value: dict[str, Any] = {"path": str(opened.path), "digest": opened.digest, "signature": signature}
        print(json.dumps({**value, "selftest_relative_deviation": deviation}))
        return
    files = opened.manifest.files
    print(f"Checksums: {len(files)} files, {sum(entry.bytes for entry in files.values()) / 1e6:.2f} MB, as exported")
    print(f"Signature: {state.says}" + ("" if store.keys else " (this device trusts no key, so it asks for none)"))
    if deviation is not None:
        print(f"Self-test: passed, within {deviation:.1e} (relative) of {opened.manifest.selftest_rtol:g}")


def pack(
    bundle: BundleArgument,
    out: Annotated[
        Path, typer.Option("--out", help="FILE.edgevad for one file, any other name for a folder.", show_default=False)
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")] = False,
    json_output: Json = False,
) -> None:
    """Write a bundle as one .edgevad file, or such a file as a folder; its files, and its signature, stay the same."""
    from edgevad.bundle import pack_bundle

    packed = pack_bundle(bundle, out, overwrite=overwrite)
    if json_output:
        print(json.dumps({"path": str(packed.path), "digest": packed.digest, "files": len(packed.manifest.files)}))
        return
    print(f"Packed {packed.manifest.name} ({packed.manifest.target}, {packed.manifest.precision}) into {packed.path}")


def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="Private key (PEM) of edgevad bundle keygen.", show_default=False)],
    json_output: Json = False,
) -> None:
    """Sign a bundle in place with an Ed25519 key; an older signature is replaced."""
    from edgevad.bundle import sign_bundle

    signature = sign_bundle(bundle, key)
    if json_output:
        print(json.dumps({"path": str(bundle), "key_id": signature.key_id}))
        return
    print(f"Signed {bundle} with {signature.key_id}")


def keygen(
    key: Annotated[Path, typer.Argument(metavar="KEY.pem", help="Private key to make.", show_default=False)],
    json_output: Json = False,
) -> None:
    """Make a key to sign with: KEY.pem, private, for your eyes only, and KEY.pub.pem, for the devices."""
    from edgevad.bundle.signing import make_key

    made = make_key(key)
    if json_output:
        print(json.dumps({"key_id": made.id, "private": str(made.private), "public": str(made.public)}))
        return
    print(f"Key {made.id}: {made.private} signs and stays here; {made.public} goes to the devices")
    print(f"Next: edgevad bundle sign BUNDLE --key {made.private}")
    print(f"On each device: edgevad bundle trust add {made.public.name}")


def trust_add(
    key: Annotated[Path, typer.Argument(metavar="KEY.pub.pem", help="Public key (PEM).", show_default=False)],
    json_output: Json = False,
) -> None:
    """Trust a key: from the first one on, this device runs nothing that no trusted key has signed."""
    from edgevad.bundle.trust import trust, trusted_keys

    added = trust(key)
    count = len(trusted_keys())
    if json_output:
        print(json.dumps({"key_id": added.id, "keys": count}))
        return
    print(f"Trusted: {added.id}. This device runs only what one of its {count} trusted keys has signed.")


def trust_list(json_output: Json = False) -> None:
    """List the keys this device trusts."""
    from edgevad.bundle.trust import trust_directory, trusted_keys

    keys = trusted_keys()
    if json_output:
        print(json.dumps([{"key_id": key.id, "path": str(path)} for path, key in keys]))
        return
    for path, key in keys:
        print(f"{key.id}  {path}")
    if not keys:
        print(f"No key in {trust_directory()}: this device asks for no signature.")


def trust_remove(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As edgevad bundle trust list says.")],
    json_output: Json = False,
) -> None:
    """Trust a key no longer."""
    from edgevad.bundle.trust import distrust

    left = distrust(key_id)
    if json_output:
        print(json.dumps({"key_id": key_id, "keys": left}))
        return
    print(
        f"Removed {key_id}; {left} trusted keys are left." + ("" if left else " This device asks for no signature now.")
    )


def _look_at(bundle: Path | None) -> Bundle:
    """The bundle that was named or is active, whoever signed it: it is not run."""
    from edgevad.bundle import ANYBODY, Bundle, active_bundle

    return Bundle.open(active_bundle() if bundle is None else bundle, trust=ANYBODY)
