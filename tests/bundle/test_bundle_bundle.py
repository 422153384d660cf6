from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

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
    assert len(scores.score) == 600


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
        ({"schema_version": 99}, "schema 99"),
        ({"calibration": {"median": "x"}}, "lacks the field|does not hold together"),
        ({"files": {"../model.onnx": "0"}}, "out of the bundle"),
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


def test_pickled_arrays_are_refused(copy: Path) -> None:
    np.savez(copy / "scores.npz", score=np.array([{}], dtype=object), timestamp_ns=np.zeros(1), segment=np.zeros(1))
    with pytest.raises(BundleError, match=r"scores\.npz: the arrays cannot be read"):
        Bundle.open(copy, verify=False).training_scores()


@pytest.mark.parametrize("broken", [{"score": np.zeros(3, np.float32)}, {"frames": np.zeros((4, 32, 31, 3), np.uint8)}])
def test_a_bundle_that_does_not_hold_together_is_not_written(
    tiny_bundle: Path, copy: Path, broken: dict[str, np.ndarray]
) -> None:
    bundle = Bundle.open(tiny_bundle)
    manifest = bundle.manifest
    scores = bundle.training_scores()

    with pytest.raises(BundleError, match="self-test array"):
        write_bundle(
            copy,
            name="other",
            target=manifest.target,
            precision=manifest.precision,
            input=manifest.input,
            score=manifest.score,
            calibration=manifest.calibration,
            provenance={},
            onnx_bytes=b"",
            selftest={**bundle.selftest(), **broken},
            scores={"score": scores.score, "timestamp_ns": scores.timestamp_ns, "segment": scores.segment},
        )
    assert Bundle.open(copy).manifest.name == "tiny"
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]


def test_a_name_that_cannot_be_looked_at_is_one_error(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"x: cannot be read \(File name too long\)"):
        Bundle.open(copy / ("x" * 300))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["y" * 300] = "0"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"y: cannot be read"):
        Bundle.open(copy)


def test_a_folder_that_may_not_be_searched_is_one_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(BundleError, match=r"bundle: cannot be read \(Permission denied\)"):
        Bundle.open(copy)
