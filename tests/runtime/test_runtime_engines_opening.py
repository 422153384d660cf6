"""From a bundle to events, on the fake GPU: all of it but what only a GPU can do."""

from __future__ import annotations

import gc
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu.bundles import BANK, write_engine_bundle
from tiny import edit_manifest, tiny_frames

from edgevad.bundle import Bundle, activate, write_bundle
from edgevad.bundle.tones import LOOKS, ToneCurves
from edgevad.errors import BundleError, ChecksumMismatchError
from edgevad.runtime.backends.opening import cpu_engine, open_backend
from edgevad.runtime.backends.tensorrt import TensorRtBackend
from edgevad.runtime.engines.cache import CachedEngine
from edgevad.runtime.engines.obtaining import ObtainedEngine, engine_cache, obtain_engine, wish_for
from edgevad.runtime.engines.options import BuildStep
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.selftest import prove
from edgevad.runtime.toning import TonedBackend, looks
from edgevad.sources import Source
from edgevad.spec import InputSpec, MotionSpec


class TinySource(Source):
    def __init__(self) -> None:
        super().__init__("tiny", kind="list")

    def _frames(self) -> Any:
        yield from tiny_frames(60, anomalies=range(30, 45), seed=5)


def results(scorer: Scorer) -> list[Result]:
    with TinySource() as source, Pipeline(scorer, source) as pipeline:
        return list(pipeline)


def same(found: list[Result], wanted: list[Result]) -> None:
    assert len(found) == len(wanted) == 60
    assert any(result.is_anomaly for result in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.state, one.parts, one.anomaly_score) == (other.state, other.parts, other.anomaly_score)
        np.testing.assert_array_equal(one.heatmap, other.heatmap)


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("spec", [InputSpec(32, 32), InputSpec(32, 32, MotionSpec("difference", (100,)), BANK)])
def test_a_recording_scores_as_in_onnx_runtime(
    fake_gpu: Any, tmp_path: Path, spec: InputSpec, batch: int, integrated: bool
) -> None:
    fake_gpu.reset(integrated=integrated)
    bundle = write_engine_bundle(tmp_path / "bundle", spec, batch=batch)
    with Scorer.from_bundle(bundle) as scorer:
        assert isinstance(scorer.backend, TensorRtBackend)
        found = results(scorer)
    assert len(fake_gpu.threads) == 1
    assert threading.get_ident() not in fake_gpu.threads
    assert fake_gpu.memory == {}
    with Scorer.from_bundle(bundle, backend="onnxruntime") as scorer:
        same(found, results(scorer))


def test_the_second_start_builds_nothing(fake_gpu: Any, tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle.edgevad")
    for expected in (True, False):
        steps: list[BuildStep] = []
        Scorer.from_bundle(bundle.path, on_build=steps.append).close()
        assert bool(steps) is expected


def test_an_engine_that_runs_is_not_pruned_and_afterwards_it_is(fake_gpu: Any, tmp_path: Path) -> None:
    backend = open_backend(write_engine_bundle(tmp_path / "bundle"))
    assert engine_cache().prune(keep=0) == []
    backend.close()
    assert len(engine_cache().prune(keep=0)) == 1


def test_an_engine_that_tensorrt_refuses_is_built_anew(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update that changed TensorRT and left its version number."""
    bundle = write_engine_bundle(tmp_path / "bundle")
    monkeypatch.setenv("FAKE_TENSORRT", "10.3.1")
    open_backend_built_by(bundle, "10.3.1", monkeypatch).close()
    monkeypatch.setenv("FAKE_TENSORRT", "10.3.0")
    steps: list[BuildStep] = []
    backend = open_backend(bundle, on_build=steps.append)
    backend.close()
    assert any("building the engine anew" in step.phase for step in steps)
    assert any("Version tag does not match" in step.phase for step in steps)


def open_backend_built_by(bundle: Bundle, version: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import sys

    sys.modules.pop("tensorrt", None)
    backend = open_backend(bundle)
    sys.modules.pop("tensorrt", None)
    return backend


def test_new_weights_that_score_wrong_are_not_run(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_backend(write_engine_bundle(tmp_path / "bundle")).close()
    retrained = write_engine_bundle(tmp_path / "other", gray=0.55)
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "wrong weights")
    steps: list[BuildStep] = []
    backend = open_backend(retrained, on_build=steps.append)
    assert any("building the engine anew: self-test frame" in step.phase for step in steps)
    arrays = retrained.selftest()
    assert backend.score(arrays["frames"][:1], None).score == pytest.approx(arrays["score"][:1])
    backend.close()
    (entry,) = [one for one in engine_cache().entries() if one.key.bundle == retrained.digest]
    assert entry.facts.made == "built"


def test_new_weights_that_score_wrong_are_not_run_whoever_put_them_in(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a process that was killed before it had loaded what it had kept."""
    obtain_engine(wish_for(write_engine_bundle(tmp_path / "bundle"))).release()
    retrained = write_engine_bundle(tmp_path / "other", gray=0.55)
    monkeypatch.setenv("FAKE_TENSORRT_FAILS", "wrong weights")
    kept = obtain_engine(wish_for(retrained))
    kept.release()
    assert kept.made == "refitted"
    Scorer.from_bundle(retrained.path).close()
    (entry,) = [one for one in engine_cache().entries() if one.key.bundle == retrained.digest]
    assert entry.facts.made == "built"
    assert engine_cache().prune(keep=0) != []  # nothing is held any more


def test_an_engine_that_was_built_and_scores_wrong_is_not_built_at_every_start(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    monkeypatch.setattr(TensorRtBackend, "score", scores_double(TensorRtBackend.score))
    steps: list[BuildStep] = []
    with pytest.raises(BundleError, match=r"self-test frame .*Export the bundle again for this machine"):
        Scorer.from_bundle(bundle.path, on_build=steps.append)
    assert steps
    steps.clear()
    with pytest.raises(BundleError, match=r"self-test frame .*edgevad build --force"):
        Scorer.from_bundle(bundle.path, on_build=steps.append)
    assert steps == []
    assert len(engine_cache().prune(keep=0)) == 1


def test_what_is_wrong_with_the_bundle_builds_nothing_and_holds_nothing(fake_gpu: Any, tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle", InputSpec(32, 32, bank=BANK))
    open_backend(bundle).close()
    for name in ("bank.npy", "selftest.npz"):
        whole = (bundle.path / name).read_bytes()
        (bundle.path / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        steps: list[BuildStep] = []
        with pytest.raises(ChecksumMismatchError, match=name):
            open_backend(bundle, on_build=steps.append)
        assert steps == []
        (bundle.path / name).write_bytes(whole)
    assert len(engine_cache().prune(keep=0)) == 1


def test_the_engines_bytes_are_not_kept_while_it_runs(fake_gpu: Any, tmp_path: Path) -> None:
    backend = open_backend(write_engine_bundle(tmp_path / "bundle"))
    gc.collect()
    assert [one for one in gc.get_objects() if type(one) in (ObtainedEngine, CachedEngine)] == []
    assert engine_cache().prune(keep=0) == []
    backend.close()


def test_a_bundle_made_for_another_engine_says_what_tensorrt_computes_in(fake_gpu: Any, tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle", precision="int8")
    with Scorer.from_bundle(bundle.path) as scorer:
        assert scorer.engine == "tensorrt, int8"
    edit_manifest(bundle.path, backend="onnxruntime")
    for name, engine in ((None, "onnxruntime, int8"), ("tensorrt", "tensorrt, fp32")):
        with Scorer.from_bundle(bundle.path, backend=name) as scorer:
            assert scorer.engine == engine


def test_what_is_not_kept_is_said(
    fake_gpu: Any, tmp_path: Path, edgevad_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    edgevad_home.mkdir()
    (edgevad_home / "engines").write_text("a file in the way")
    open_backend(bundle).close()
    assert "will be built again at the next start" in caplog.text


def test_a_bundle_proves_itself_on_the_gpu_when_it_is_activated(fake_gpu: Any, tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    steps: list[BuildStep] = []
    active = activate(bundle.path, on_build=steps.append)
    assert steps
    assert "enqueueV3" in fake_gpu.calls
    fake_gpu.reset()
    Scorer.from_bundle(active, on_build=steps.append).close()
    assert "enqueueV3" in fake_gpu.calls


def test_a_bundle_whose_engine_scores_otherwise_is_not_activated(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = write_engine_bundle(tmp_path / "fine")
    activate(fine.path)
    other = write_engine_bundle(tmp_path / "other", InputSpec(32, 36))
    monkeypatch.setattr(TensorRtBackend, "score", scores_double(TensorRtBackend.score))
    with pytest.raises(BundleError, match="self-test frame"):
        activate(other.path)


def scores_double(score: Any) -> Any:
    from dataclasses import replace

    def doubled(self: Any, frames: Any, motion: Any) -> Any:
        found = score(self, frames, motion)
        return replace(found, score=2 * found.score)

    return doubled


def test_an_engine_opened_by_another_thread_takes_over_between_two_frames(fake_gpu: Any, tmp_path: Path) -> None:
    """As in a service: the new one is opened, built and proved aside, and each keeps the thread that owns its CUDA."""
    old = Scorer.from_bundle(write_engine_bundle(tmp_path / "old"))
    newer = write_engine_bundle(tmp_path / "new", gray=0.5)
    opened: list[Scorer] = []
    with TinySource() as source, Pipeline(old, source) as pipeline:
        found = []
        for result in pipeline:
            found.append(result)
            if len(found) == 10:
                thread = threading.Thread(target=lambda: opened.append(Scorer.from_bundle(newer)))
                thread.start()
                thread.join()
                pipeline.replace(opened[0], pipeline.hysteresis, done=old.close)
    assert len(fake_gpu.threads) == 2
    assert threading.get_ident() not in fake_gpu.threads
    opened[0].close()
    assert fake_gpu.memory == {}
    with Scorer.from_bundle(newer, backend="onnxruntime") as scorer:
        wanted = results(scorer)
    assert [one.frame.index for one in found] == list(range(60))
    last = [(one.parts, other.parts) for one, other in zip(found, wanted, strict=True)][-10:]
    assert all(one == pytest.approx(other) for one, other in last)


def toned_bundle(plain: Bundle, path: Path) -> Bundle:
    """`plain` that knows one light more, which the second frame of its self-test is of."""
    frames = plain.selftest()["frames"].copy()
    frames[1] //= 2
    seen = looks(frames)
    curve = np.repeat(np.minimum(2 * np.arange(256), 255).astype(np.uint8)[:, None], 3, axis=1)
    tones = ToneCurves(
        curve[None],
        np.stack([seen[[0, 2, 3]].mean(axis=0), seen[1]]),
        1e3 * np.eye(LOOKS, dtype=np.float32),
        np.full((1, 1), 2.0, np.float32),
        np.full((1, 1), 0.5, np.float32),
    )
    manifest = plain.manifest
    fields: dict[str, Any] = {
        "name": manifest.name,
        "target": manifest.device(),
        "backend": manifest.backend,
        "precision": manifest.precision,
        "graphs": {"fp32": plain.graph()},
        "input": manifest.input,
        "score": manifest.score,
        "calibration": manifest.calibration,
        "provenance": {},
        "selftest_rtol": manifest.selftest_rtol,
        "scores": plain.training_scores().arrays(),
        "bank": plain.bank(),
        "tones": tones,
    }
    first = write_bundle(path.with_name("unproved"), selftest={**plain.selftest(), "frames": frames}, **fields)
    with closing(cpu_engine(first, "fp32", "onnxruntime")) as engine:
        size = engine.batch or 1
        score = np.concatenate([engine.score(frames[[k] * size], None).score[:1] for k in range(len(frames))])
    return write_bundle(path, selftest={"frames": frames, "score": score}, **fields)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_engine_of_another_light_is_built_and_proves_itself_through_tone_curves(
    fake_gpu: Any, tmp_path: Path, batch: int
) -> None:
    plain = write_engine_bundle(tmp_path / "plain", batch=batch)
    open_backend(plain).close()
    bundle = toned_bundle(plain, tmp_path / "toned")
    steps: list[BuildStep] = []
    # Made of the earlier bundle's engine, it is asked all of the self-test.
    with Scorer.from_bundle(bundle.path, on_build=steps.append) as scorer:
        assert isinstance(scorer.backend, TonedBackend)
        assert prove(bundle, scorer.backend) < 1e-3
        with pytest.raises(BundleError, match="self-test frame 1"):
            prove(bundle, scorer.backend.bare)
    assert not any("anew" in step.phase for step in steps)
    assert fake_gpu.memory == {}


def test_tone_curves_that_cannot_be_read_are_found_before_an_engine_is_opened(
    fake_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")

    def broken(self: Bundle) -> None:
        raise BundleError("the tone curves cannot be used")

    monkeypatch.setattr(Bundle, "tones", broken)
    for name in (None, "onnxruntime"):
        with pytest.raises(BundleError, match="tone curves"):
            open_backend(bundle, name)
    assert fake_gpu.memory == {}
    assert engine_cache().entries() == []
