from __future__ import annotations

import errno
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import file_entry, put_file

from edgevad.bundle import Bundle, write_bundle
from edgevad.errors import BundleError, ChecksumMismatchError, ManifestError


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_what_was_written_is_read_again(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)

    assert bundle.manifest.name == "tiny"
    assert set(bundle.manifest.files) == {"model.onnx", "selftest.npz", "scores.npz"}
    assert bundle.manifest.created.endswith("+00:00")
    selftest = bundle.selftest()
    assert selftest["frames"].shape == (4, 32, 32, 3)
    assert selftest["frames"].dtype == np.uint8
    assert "motion" not in selftest
    scores = bundle.training_scores()
    assert (scores.score.dtype, scores.timestamp_ns.dtype, scores.segment.dtype) == (np.float32, np.int64, np.int32)
    assert scores.score.shape == (600, 1)
    assert bundle.manifest.calibration.names == ("patch",)
    assert bundle.bank() is None


def test_a_bundle_with_motion_holds_motion_in_its_selftest(tiny_motion_bundle: Path) -> None:
    assert Bundle.open(tiny_motion_bundle).selftest()["motion"].shape == (4, 32, 32, 1)


@pytest.mark.parametrize("name", ["model.onnx", "selftest.npz", "scores.npz"])
def test_one_flipped_byte_is_noticed_and_the_file_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)

    with pytest.raises(ChecksumMismatchError, match=rf"{name}: not the file that was exported.*Export or copy"):
        Bundle.open(copy)
    assert Bundle.open(copy, verify=False).path == copy


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "scores.npz").unlink()
    with pytest.raises(BundleError, match=r"lacks its file scores\.npz"):
        Bundle.open(copy)


def test_a_file_that_the_manifest_does_not_vouch_for_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["model.onnx"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"does not list model\.onnx"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema 99, made by a newer edgevad; expected schema version 3. Update edgevad here"),
        ({"schema_version": 2}, "schema 2, of an older edgevad; expected schema version 3. Export the bundle again"),
        ({"schema_version": "3"}, "states no schema version; expected schema version 3"),
        ({"schema_version": True}, "states no schema version"),
        ({"calibration": {"threshold": "x"}}, "lacks the field|does not hold together"),
        ({"input": {"height_px": 32, "width_px": 32, "color_order": "bgr", "motion": None}}, "lacks the field 'bank'"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_error(copy: Path, change: dict[str, object], message: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ManifestError, match=message):
        Bundle.open(copy)


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle there"):
        Bundle.open(tmp_path / "nothing")
    with pytest.raises(ManifestError, match="no manifest there"):
        Bundle.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="this is a file"):
        Bundle.open(tmp_path / "file")
    (tmp_path / "weights.safetensors").write_text("x")
    with pytest.raises(BundleError, match=r"this is a model, not a bundle\. Make one with: edgevad export"):
        Bundle.open(tmp_path)


BANK = np.arange(5 * 3 * 4, dtype=np.float32).reshape(5, 3, 4)


def rewrite(bundle: Bundle, path: Path, **changes: Any) -> Bundle:
    """Write the bundle at `path` again, with these fields changed."""
    manifest = bundle.manifest
    fields: dict[str, Any] = {
        "name": manifest.name,
        "target": manifest.device(),
        "backend": manifest.backend,
        "precision": manifest.precision,
        "graphs": {precision: bundle.graph(precision) for precision in manifest.graphs},
        "input": manifest.input,
        "score": manifest.score,
        "calibration": manifest.calibration,
        "provenance": {},
        "selftest": bundle.selftest(),
        "selftest_rtol": manifest.selftest_rtol,
        "scores": bundle.training_scores().arrays(),
    }
    return write_bundle(path, **{**fields, **changes})


@pytest.fixture
def remembering(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with a bank beside its graph (which does not ask for one)."""
    return rewrite(Bundle.open(tiny_bundle), tmp_path / "remembering", bank=BANK).path


def put_bank(bundle: Path, content: np.ndarray | bytes | None, *, listed: bool = True) -> None:
    """Replace the bank and, where there is one, let the manifest vouch for it."""
    path = bundle / "bank.npy"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    if not listed:
        del manifest["files"]["bank.npy"]
    elif content is not None:
        manifest["files"]["bank.npy"] = file_entry(path.read_bytes())
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_remembered_is_read_again(remembering: Path) -> None:
    bundle = Bundle.open(remembering)
    assert bundle.manifest.input.bank == (5, 3, 4)
    assert "bank.npy" in bundle.manifest.files
    bank = bundle.bank()
    assert bank is not None
    assert (bank.dtype, bank.tolist()) == (np.float32, BANK.tolist())
    assert bank.flags.c_contiguous


def test_a_bank_that_is_missing_unlisted_or_changed_is_noticed_when_the_bundle_is_opened(remembering: Path) -> None:
    data = bytearray((remembering / "bank.npy").read_bytes())
    data[-3] ^= 1
    (remembering / "bank.npy").write_bytes(data)
    with pytest.raises(ChecksumMismatchError, match=r"bank\.npy: not the file that was exported.*Export or copy"):
        Bundle.open(remembering)
    put_bank(remembering, None)
    with pytest.raises(BundleError, match=r"lacks its file bank\.npy.*Export or copy"):
        Bundle.open(remembering)
    (remembering / "bank.npy").touch()
    put_bank(remembering, BANK, listed=False)
    with pytest.raises(BundleError, match=r"does not list bank\.npy.*Export or copy"):
        Bundle.open(remembering)


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, bank=BANK)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, BANK)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BANK[:4], r"the bank cannot be read \(float32 of shape \(4, 3, 4\) is no bank of at least 5 episodes"),
        (BANK[..., :3], r"the bank has the shape \(5, 3, 3\); expected \(5, 3, 4\), as the manifest says"),
        (np.zeros((5, 0, 4), np.float32), r"the bank has the shape \(5, 0, 4\)"),
        (npy().replace(b"(5, 3, 4)", b"(5, 3000000000, 4)")[:4096], "the bank cannot be read"),
        (BANK.astype(np.float64), r"the bank cannot be read \(float64"),
        (np.where(BANK == 7, np.nan, BANK).astype(np.float32), "the bank cannot be read .*numbers"),
        (np.where(BANK == 7, np.inf, BANK).astype(np.float32), "the bank cannot be read .*numbers"),
        (npy()[:-5], "the bank cannot be read"),
        (b"", "the bank cannot be read"),
        (archive(), "the bank cannot be read"),
    ],
)
def test_a_bank_that_does_not_fit_is_one_clear_error(
    remembering: Path, content: np.ndarray | bytes, message: str
) -> None:
    put_bank(remembering, content)
    bundle = Bundle.open(remembering)
    with pytest.raises(BundleError, match=rf"bank\.npy: {message}.*Export or copy the bundle again") as caught:
        bundle.bank()
    assert "\n" not in str(caught.value)


def test_a_pickled_bank_is_refused(remembering: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.full((5, 3, 4), {}, dtype=object))
    put_bank(remembering, buffer.getvalue())
    with pytest.raises(BundleError, match="the bank cannot be read"):
        Bundle.open(remembering).bank()


def test_a_bank_that_is_no_number_is_not_written(remembering: Path) -> None:
    before = {path.name: path.read_bytes() for path in remembering.iterdir()}
    with pytest.raises(BundleError, match="not all of it are numbers"):
        rewrite(Bundle.open(remembering), remembering, bank=np.full((5, 3, 4), np.nan, np.float32))
    assert {path.name: path.read_bytes() for path in remembering.iterdir()} == before


@pytest.mark.parametrize("score", [np.zeros(600, np.float32), np.zeros((600, 2), np.float32)])
def test_training_scores_of_other_parts_are_refused(copy: Path, score: np.ndarray) -> None:
    scores = {**Bundle.open(copy).training_scores().arrays(), "score": score}
    with pytest.raises(BundleError, match=r"scores\.npz: the training scores have shapes .* expected .*\(600, 1\)"):
        rewrite(Bundle.open(copy), copy, scores=scores)


def test_pickled_arrays_are_refused(copy: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, score=np.array([{}], dtype=object), timestamp_ns=np.zeros(1), segment=np.zeros(1))
    put_file(copy, "scores.npz", buffer.getvalue())
    with pytest.raises(BundleError, match=r"scores\.npz: the arrays cannot be read"):
        Bundle.open(copy).training_scores()


@pytest.mark.parametrize(
    "broken",
    [
        {"score": np.zeros(4, np.float32)},
        {"score": np.zeros((3, 1), np.float32)},
        {"frames": np.zeros((4, 32, 31, 3), np.uint8)},
    ],
)
def test_a_bundle_that_does_not_hold_together_is_not_written(
    tiny_bundle: Path, copy: Path, broken: dict[str, np.ndarray]
) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(BundleError, match="self-test array"):
        rewrite(bundle, copy, name="other", selftest={**bundle.selftest(), **broken})
    assert Bundle.open(copy).manifest.name == "tiny"
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]


def test_a_name_that_cannot_be_looked_at_is_one_error(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"x: cannot be read \(File name too long\)"):
        Bundle.open(copy / ("x" * 300))


def test_a_folder_that_may_not_be_searched_is_one_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(BundleError, match=r"bundle: cannot be read \(Permission denied\)"):
        Bundle.open(copy)
