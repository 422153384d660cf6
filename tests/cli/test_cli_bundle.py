from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import edit_manifest

from edgevad.bundle import Bundle
from edgevad.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(edgevad_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `edgevad` with these words; exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevad", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return call


def good(outcome: tuple[int, str, str]) -> str:
    code, out, err = outcome
    assert (code, err) == (0, ""), err
    return out


def refused(outcome: tuple[int, str, str], message: str) -> None:
    code, out, err = outcome
    assert code == 2
    assert out == ""
    assert err.startswith("edgevad: ")
    assert err.count("\n") == 1
    assert message in err


def test_show_says_what_it_is_for_and_what_is_in_it(run: Run, tiny_motion_bundle: Path) -> None:
    out = good(run("bundle", "show", tiny_motion_bundle))
    for words in (
        f"Bundle tiny: {tiny_motion_bundle}",
        "cpu (onnxruntime)",
        "fp32, self-test within 0.001",
        "fp32  model.onnx  0.8 kB",
        "32x32 px; difference over 100 ms",
        "1 alarms an hour; mean over 0.5 s; parts patch",
        "none ran",
        "not signed",
        Bundle.open(tiny_motion_bundle).digest,
    ):
        assert words in out
    assert "Provenance" in out
    assert "seed" in out


def test_show_as_json(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    good(run("bundle", "pack", tiny_bundle, "--out", tmp_path / "x.edgevad"))
    folder = json.loads(good(run("bundle", "show", tiny_bundle, "--json")))
    file = json.loads(good(run("bundle", "show", tmp_path / "x.edgevad", "--json")))
    assert folder["manifest"] == json.loads((tiny_bundle / "manifest.json").read_text())
    assert folder["signature"] == {"key_id": None, "trusted": False, "state": "not signed"}
    assert {**folder, "path": None} == {**file, "path": None}


def test_show_and_verify_without_a_bundle_take_the_active_one(run: Run, tiny_bundle: Path, edgevad_home: Path) -> None:
    for command in ("show", "verify"):
        refused(run("bundle", command), "no bundle is active")
    good(run("activate", tiny_bundle))
    assert json.loads(good(run("bundle", "show", "--json")))["path"] == str(edgevad_home / "slots" / "a")
    assert "Checksums: 3 files" in good(run("bundle", "verify"))


def test_what_a_hostile_provenance_holds_does_not_reach_the_terminal(
    run: Run, tiny_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    edit_manifest(
        copy,
        provenance={"\x1b[2J": "\x1b]0;x\x07", "[red]": ["\ud800", "ü"], "long": "x" * 10_000},
        guard={"a": "\x9b"},
    )
    out = good(run("bundle", "show", copy))
    assert not set(out) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
    assert "[red]" in out
    assert len(out) < 4000
    good(run("bundle", "show", copy, "--json"))


def test_the_way_of_a_signed_bundle(run: Run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    made = json.loads(good(run("bundle", "keygen", tmp_path / "fleet.pem", "--json")))
    assert stat.S_IMODE(Path(made["private"]).stat().st_mode) == 0o600
    bundle = tmp_path / "x.edgevad"
    good(run("bundle", "pack", tiny_bundle, "--out", bundle))
    assert f"Signed {bundle} with {made['key_id']}" in good(run("bundle", "sign", bundle, "--key", made["private"]))
    assert "not checked: no trusted key (this device trusts no key" in good(run("bundle", "verify", bundle))
    assert "trusted" in good(run("bundle", "verify", bundle, "--key", made["public"], "--self-test"))
    refused(run("bundle", "verify", tiny_bundle, "--key", made["public"]), "the bundle is not signed")

    assert "this device asks for no signature" in good(run("bundle", "trust", "list"))
    out = good(run("bundle", "trust", "add", made["public"]))
    assert f"Trusted: {made['key_id']}. This device runs only what one of its 1 trusted keys has signed." in out
    assert made["key_id"] in good(run("bundle", "trust", "list"))
    verified = json.loads(good(run("bundle", "verify", bundle, "--self-test", "--json")))
    assert verified["signature"] == {
        "key_id": made["key_id"],
        "trusted": True,
        "state": f"by {made['key_id']}, trusted",
    }
    assert verified["selftest_relative_deviation"] < 1e-5
    refused(run("bundle", "verify", tiny_bundle), "the bundle is not signed")
    for command in (
        ("run", "--source", tiny_video, "--quiet", "--bundle"),
        ("activate",),
    ):
        refused(run(*command, tiny_bundle), "the bundle is not signed")
    good(run("activate", bundle))
    summary = json.loads(run("run", "--source", tiny_video, "--quiet", "--json")[1])
    assert summary["frames"] == 120
    # Looking is free.
    assert "not signed" in good(run("bundle", "show", tiny_bundle))

    out = good(run("bundle", "trust", "remove", made["key_id"]))
    assert "0 trusted keys are left. This device asks for no signature now." in out
    good(run("activate", tiny_bundle))


def test_evaluate_asks_for_the_signature_too(run: Run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path) -> None:
    good(run("bundle", "keygen", tmp_path / "fleet.pem"))
    good(run("bundle", "trust", "add", tmp_path / "fleet.pub.pem"))
    (tmp_path / "labels.csv").write_text("first,last,level\n60,79,2\n")
    refused(run("evaluate", tiny_bundle, tiny_video, "--labels", tmp_path / "labels.csv"), "the bundle is not signed")


def test_a_file_evaluates_and_runs_as_its_folder_does(
    run: Run, tiny_bundle: Path, tiny_video: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("first,last,level\n60,79,2\n")
    good(run("bundle", "pack", tiny_bundle, "--out", tmp_path / "x.edgevad"))
    values = []
    for path in (tiny_bundle, tmp_path / "x.edgevad"):
        value = json.loads(run("evaluate", path, tiny_video, "--labels", tmp_path / "labels.csv", "--json")[1])
        values.append({**value, "path": None, "bundle": None, "fps_hz": None, "model": None})
    assert values[0] == values[1]
    assert values[0]["auroc"] > 0.9


def test_pack_both_ways(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    packed = json.loads(good(run("bundle", "pack", tiny_bundle, "--out", tmp_path / "x.edgevad", "--json")))
    assert packed == {"path": str(tmp_path / "x.edgevad"), "digest": Bundle.open(tiny_bundle).digest, "files": 3}
    assert "Packed tiny (cpu, fp32)" in good(run("bundle", "pack", packed["path"], "--out", tmp_path / "folder"))
    for out in ("x.edgevad", "folder"):
        refused(run("bundle", "pack", tiny_bundle, "--out", tmp_path / out), "is there already")
        good(run("bundle", "pack", tiny_bundle, "--out", tmp_path / out, "--overwrite"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    refused(
        run("bundle", "pack", tiny_bundle, "--out", tmp_path / "mine", "--overwrite"), "is no bundle, so --overwrite"
    )
    (tmp_path / "mine.edgevad").write_text("a diary")
    refused(run("bundle", "pack", tiny_bundle, "--out", tmp_path / "mine.edgevad", "--overwrite"), "is no bundle")
    assert (tmp_path / "mine.edgevad").read_text() == "a diary"


def test_bad_input_is_one_line(run: Run, tiny_bundle: Path, tmp_path: Path, edgevad_home: Path) -> None:
    text = tmp_path / "x.edgevad"
    text.write_text("this is a text\n")
    not_a_key = tmp_path / "no.pem"
    not_a_key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    missing = tmp_path / "missing.edgevad"
    for command in ("show", "verify"):
        refused(run("bundle", command, missing), "no bundle there")
        refused(run("bundle", command, text), "this is no .edgevad file")
        refused(run("bundle", command, not_a_key), "this is a file")
    refused(run("bundle", "pack", text, "--out", tmp_path / "out"), "this is no .edgevad file")
    refused(run("activate", text), "this is no .edgevad file")
    refused(run("bundle", "sign", tiny_bundle, "--key", not_a_key), "this is no private key")
    refused(run("bundle", "sign", tiny_bundle, "--key", missing), "the key cannot be read (No such file")
    refused(run("bundle", "trust", "add", not_a_key), "this is a private key")
    refused(run("bundle", "trust", "add", text), "this is no public key")
    refused(run("bundle", "trust", "remove", "0" * 16), "expected one of an empty store")
    refused(run("bundle", "verify", tiny_bundle, "--key", text), "this is no public key")
    good(run("bundle", "keygen", tmp_path / "k.pem"))
    refused(run("bundle", "keygen", tmp_path / "k.pem"), "is there already")
    refused(run("bundle", "keygen", tmp_path / "k.pem" / "x.pem"), "a file is in the way")
    assert not edgevad_home.exists()


def test_a_store_that_cannot_be_read_is_one_line(
    run: Run, tiny_bundle: Path, tiny_video: Path, edgevad_home: Path
) -> None:
    edgevad_home.mkdir()
    (edgevad_home / "trust").write_text("in the way")
    message = "what this device trusts cannot be read (Not a directory), so it runs no bundle"
    for words in (
        ("run", "--source", tiny_video, "--bundle", tiny_bundle),
        ("activate", tiny_bundle),
        ("bundle", "verify", tiny_bundle),
        ("bundle", "trust", "list"),
        ("bundle", "trust", "remove", "x"),
    ):
        refused(run(*words), message)
    assert "not checked: what this device trusts cannot be read" in good(run("bundle", "show", tiny_bundle))
