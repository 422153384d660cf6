from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgevad.errors import BackendError, MissingExtraError, OptionError
from edgevad.export import onnx_from_model
from edgevad.export.precision import quick_int8
from edgevad.export.qdq_from_onnx import QdqStyle
from edgevad.model.cache import CacheKey, FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.recording_scores import score_recording
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.runtime.backends.openvino import OpenVinoBackend
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.sources import Frame
from edgevad.spec import InputSpec, MotionSpec

SPEC = InputSpec(32, 32)
WHERE = Path("some.edgevad/model.onnx")
GRAY = 102  # the tiny graph's normal gray level, 0.4


@pytest.fixture
def tiny(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / "model.onnx").read_bytes()


def gray_frames(count: int) -> np.ndarray:
    return np.full((count, 32, 32, 3), GRAY, np.uint8)


def test_it_computes_the_graph_for_any_number_of_frames(tiny: bytes) -> None:
    backend = OpenVinoBackend(tiny, SPEC, where=WHERE)
    frames = gray_frames(3)
    frames[1, 8:16, 8:16] = 255

    scores = backend.score(frames, None)

    assert backend.batch is None
    assert scores.score.shape == (3, 1)
    assert scores.score[:, 0] == pytest.approx([0.0, 0.36, 0.0], abs=1e-6)
    assert scores.heatmap.shape == (3, 1, 7, 7)
    assert np.unravel_index(scores.heatmap[1, 0].argmax(), (7, 7)) == (2, 2)
    assert scores.latent.shape == (3, 3)
    assert {a.dtype for a in (scores.score, scores.heatmap, scores.latent)} == {np.dtype(np.float32)}


def test_calls_of_many_sizes_give_what_onnx_runtime_gives(tiny: bytes) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    expected = OnnxRuntimeBackend(tiny, SPEC, where=WHERE).score(frames, None)
    backend = OpenVinoBackend(tiny, SPEC, where=WHERE)
    for count in (8, 1, 3, 8, 7):
        scores = backend.score(frames[:count], None)
        for name in ("score", "heatmap", "latent"):
            np.testing.assert_allclose(getattr(scores, name), getattr(expected, name)[:count], rtol=1e-5, atol=1e-6)


def test_calls_are_filled_up_to_a_few_sizes_and_never_go_frame_by_frame(
    tiny_motion_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of a recording with motion has fifteen frames, all others sixteen, and the last what is left."""
    graph, spec = (tiny_motion_bundle / "model.onnx").read_bytes(), InputSpec(32, 32, MotionSpec("difference", (100,)))
    expected, backend = (kind(graph, spec, where=WHERE) for kind in (OnnxRuntimeBackend, OpenVinoBackend))
    asked: list[int] = []
    infer = OpenVinoBackend._infer
    monkeypatch.setattr(OpenVinoBackend, "_infer", lambda *a: asked.append(a[3]) or infer(*a))  # type: ignore[func-returns-value]
    rng = np.random.default_rng(0)
    for count, sizes in ((15, [16]), (16, [16]), (16, [16]), (5, [8]), (3, [4]), (1, [1]), (35, [16, 16, 16])):
        frames = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        motion = rng.random((count, 32, 32, 1), dtype=np.float32) * 50
        asked.clear()
        scores, wanted = backend.score(frames, motion), expected.score(frames, motion)
        assert asked == sizes
        for name in ("score", "heatmap", "latent"):
            np.testing.assert_allclose(getattr(scores, name), getattr(wanted, name), rtol=1e-5, atol=1e-6)
    assert len(backend._requests) == 4


@pytest.mark.parametrize("count", [1, 2])
def test_scores_are_the_callers_and_not_the_engines(tiny: bytes, count: int) -> None:
    backend = OpenVinoBackend(tiny, SPEC, where=WHERE)
    frames = gray_frames(count)
    frames[:, 8:16, 8:16] = 255
    first = backend.score(frames, None)
    before = first.score.copy(), first.heatmap.copy(), first.latent.copy()
    frames[:] = 0  # neither does the engine look at the caller's frames later on
    second = backend.score(frames, None)
    for old, now in zip(before, (first.score, first.heatmap, first.latent), strict=True):
        assert np.array_equal(old, now)
    assert not np.array_equal(first.score, second.score)
    first.score[:] = 7.0  # the caller may write into them
    assert backend.score(frames, None).score == pytest.approx(second.score)


def test_motion_is_asked_for_where_the_graph_needs_it(tiny_motion_bundle: Path) -> None:
    graph = (tiny_motion_bundle / "model.onnx").read_bytes()
    backend = OpenVinoBackend(graph, InputSpec(32, 32, MotionSpec("difference", (100,))), where=WHERE)
    motion = np.full((2, 32, 32, 1), 51, np.float32)
    motion[1] = 102
    assert backend.score(gray_frames(2), motion).score[:, 0] == pytest.approx([0.2, 0.4], abs=1e-6)
    with pytest.raises(BackendError, match="needs motion"):
        backend.score(gray_frames(1), None)
    with pytest.raises(BackendError, match=r"motion of shape \(1, 32, 32, 1\).*expected \(2, 32, 32, 1\), float32"):
        backend.score(gray_frames(2), motion[:1])


@pytest.mark.parametrize("graph", [b"\x00" * 100, b"<net name='x' version='11'></net>"])
def test_what_is_no_graph_is_one_line(graph: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendError, match=r"^some\.edgevad/model\.onnx: OpenVINO .* refuses the graph \(") as caught:
        OpenVinoBackend(graph, SPEC, where=WHERE)
    assert "\n" not in str(caught.value)
    assert "Exception from" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_operator_is_refused_when_the_graph_is_loaded(tiny: bytes) -> None:
    model = onnx.load_from_string(tiny)
    model.graph.node[4].op_type = "Fabricate"
    with pytest.raises(BackendError, match="refuses the graph"):
        OpenVinoBackend(model.SerializeToString(), SPEC, where=WHERE)


@pytest.mark.parametrize(
    "spec", [InputSpec(32, 64), InputSpec(32, 32, MotionSpec("difference")), InputSpec(32, 32, bank=(5, 2, 4))]
)
def test_a_graph_of_another_contract_is_refused(tiny: bytes, spec: InputSpec) -> None:
    with pytest.raises(BackendError, match="the graph's inputs are"):
        OpenVinoBackend(tiny, spec, where=WHERE, bank=np.zeros((5, 2, 4), np.float32))


def made(outputs: dict[str, list[int]], *, bank: list[int] | None = None, batch: int | str = 1) -> bytes:
    """frames [, bank] -> ones of these shapes, plus the first frame's first value, times the sum of the bank."""
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, 32, 32, 3])]
    nodes = [
        helper.make_node("Cast", ["frames"], ["colors"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["colors", "from", "to"], ["corner"]),
        helper.make_node("ReduceSum", ["corner"], ["level"], keepdims=0),
    ]
    constants = [
        helper.make_tensor("from", TensorProto.INT64, [4], [0, 0, 0, 0]),
        helper.make_tensor("to", TensorProto.INT64, [4], [1, 1, 1, 1]),
    ]
    factor = "one"
    constants.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    if bank is not None:
        inputs.append(helper.make_tensor_value_info("bank", TensorProto.FLOAT, bank))
        nodes.append(helper.make_node("ReduceSum", ["bank"], ["sum"], keepdims=0))
        factor = "sum"
    for name, shape in outputs.items():
        ones = np.ones(shape, np.float32).ravel()
        constants.append(helper.make_tensor(f"{name} ones", TensorProto.FLOAT, shape, ones))
        nodes.append(helper.make_node("Add", [f"{name} ones", "level"], [f"{name} sum"]))
        nodes.append(helper.make_node("Mul", [f"{name} sum", factor], [name]))
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(nodes, "made", inputs, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


PARTS = {"score": [1, 3], "heatmap": [1, 2, 7, 7], "latent": [1, 4]}
BANKED = InputSpec(32, 32, bank=(5, 2, 5))


@pytest.mark.parametrize("read_only", [False, True])
def test_the_bank_goes_into_every_call(read_only: bool) -> None:
    graph = made(PARTS, bank=[5, 2, 5])
    for level in (1.0, 2.0):  # another bank is another memory behind the same graph
        bank = np.full((5, 2, 5), level, np.float32)
        bank.flags.writeable = not read_only
        backend = OpenVinoBackend(graph, BANKED, where=WHERE, bank=bank)
        for corner in (0, 1):
            frames = np.full((1, 32, 32, 3), corner, np.uint8)
            scores = backend.score(frames, None)
            assert (scores.score.shape, scores.heatmap.shape) == ((1, 3), (1, 2, 7, 7))
            assert scores.latent.tolist() == [[50.0 * level * (1 + corner)] * 4]


def test_the_bank_is_held_once_and_another_one_counts_from_the_next_call_on() -> None:
    bank = np.ones((5, 2, 5), np.float32)
    backend = OpenVinoBackend(made(PARTS, bank=[5, 2, 5]), BANKED, where=WHERE, bank=bank)
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    assert backend.score(frames, None).latent[0, 0] == 50.0
    bank[0, 0, 0] = 51.0
    assert backend.score(frames, None).latent[0, 0] == 50.0  # a copy: the caller's array is the caller's
    backend.remember(bank)
    assert backend.score(frames, None).latent[0, 0] == 100.0


@pytest.mark.parametrize("bank", [None, np.zeros((5, 2, 4), np.float32), np.zeros((4, 2, 5), np.float32)])
def test_a_missing_bank_or_one_of_another_shape_is_refused(bank: np.ndarray | None) -> None:
    shape = "None" if bank is None else re.escape(str(bank.shape))
    with pytest.raises(BackendError, match=rf"a bank of shape {shape}; expected \(5, 2, 5\)"):
        OpenVinoBackend(made(PARTS, bank=[5, 2, 5]), BANKED, where=WHERE, bank=bank)


@pytest.mark.parametrize("wrong", [{"score": [1]}, {"heatmap": [1, 7, 7]}, {"latent": [4]}])
def test_outputs_of_another_rank_are_refused(wrong: dict[str, list[int]]) -> None:
    with pytest.raises(BackendError, match="the graph's outputs are"):
        OpenVinoBackend(made({**PARTS, **wrong}), SPEC, where=WHERE)


def test_a_graph_of_a_fixed_batch_says_so_and_takes_nothing_else() -> None:
    backend = OpenVinoBackend(
        made({"score": [2, 3], "heatmap": [2, 2, 7, 7], "latent": [2, 4]}, batch=2), SPEC, where=WHERE
    )
    assert backend.batch == 2
    assert backend.score(np.zeros((2, 32, 32, 3), np.uint8), None).score.shape == (2, 3)
    for count in (0, 1, 3, 4):
        with pytest.raises(BackendError, match=rf"frames of shape \({count}, 32, 32, 3\)"):
            backend.score(np.zeros((count, 32, 32, 3), np.uint8), None)


def test_scores_of_another_number_of_frames_are_refused() -> None:
    backend = OpenVinoBackend(made(PARTS, batch="N"), SPEC, where=WHERE)
    with pytest.raises(BackendError, match=r"scores of shape \(1, 3\).*expected 4 of each"):
        backend.score(np.zeros((2, 32, 32, 3), np.uint8), None)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 16, 16, 3), np.uint8),
        np.zeros((1, 1, 1, 3), np.uint8),  # numpy would stretch it
        np.zeros((1, 32, 32, 3), np.float32),  # and cut this off
        np.zeros((0, 32, 32, 3), np.uint8),
    ],
)
def test_failures_while_scoring_are_ours(tiny: bytes, frames: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    backend = OpenVinoBackend(tiny, SPEC, where=WHERE)
    with pytest.raises(BackendError, match="failed while scoring"):
        backend.score(frames, None)
    assert backend.score(gray_frames(1), None).score[0, 0] == pytest.approx(0.0, abs=1e-6)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.score(gray_frames(1), None)
    assert capfd.readouterr() == ("", "")


def test_threads_below_one_or_more_than_a_machine_bears_are_refused(
    tiny: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for threads in (0, 9):
        with pytest.raises(OptionError, match=f"{threads} threads; expected 1 to 8 on this machine"):
            OpenVinoBackend(tiny, SPEC, where=WHERE, threads=threads)


def test_without_the_extra_the_pip_line_is_printed(tiny: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[openvino\]'"):
        OpenVinoBackend(tiny, SPEC, where=WHERE)


def test_nothing_is_sent_anywhere_and_nothing_left_at_home(tiny_bundle: Path, tmp_path: Path) -> None:
    """openvino by itself sends an event when it is imported, and writes an identifier into the home folder."""
    script = f"""
import socket, sys
calls = []
real = socket.socket.connect
socket.socket.connect = lambda self, address: calls.append(address)
socket.getaddrinfo = lambda *names, **_: calls.append(names) or []
from pathlib import Path
import numpy as np
from edgevad.runtime.backends.openvino import OpenVinoBackend
from edgevad.spec import InputSpec
graph = Path({str(tiny_bundle / "model.onnx")!r}).read_bytes()
OpenVinoBackend(graph, InputSpec(32, 32), where=Path("x")).score(np.zeros((1, 32, 32, 3), np.uint8), None)
print("openvino" in sys.modules, any(name.startswith("openvino_telemetry") for name in sys.modules), calls)
import openvino_telemetry  # whoever wants it still can
"""
    home = tmp_path / "home"
    work = tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=work,
        env={**environment, "HOME": str(home)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True False []\n", "")
    assert list(home.iterdir()) == list(work.iterdir()) == []


MODEL = ModelConfig(motion="none", size_px=32, width=8, depth=2, latent=8, cell_px=8, decoder="conv")


def drive(count: int = 240) -> Iterator[Frame]:
    """A pattern that comes round every four seconds, with noise."""
    rng = np.random.default_rng(0)
    ramp = np.arange(32, dtype=np.float64)
    for k in range(count):
        phase = 2 * np.pi * k / 40
        view = 120 + 60 * np.sin(ramp[:, None] / 4 + phase) + 30 * np.cos(ramp[None, :] / 5 - phase)
        image = np.clip(view[..., None] + rng.normal(0, 8, (32, 32, 3)), 0, 255).astype(np.uint8)
        yield Frame(image, k, round(k * 1e8), "made", 0)


class Trained:
    """A little convolutional autoencoder that has learnt something, as a graph, with its bank and its frames."""

    def __init__(self, folder: Path) -> None:
        cache = FrameCache.build(folder / "cache", CacheKey(("made",), MODEL.input), drive())
        train = TrainConfig(batch_size=32, learning_rate=1e-2, round_steps=60, max_rounds=6, device="cpu")
        trainer = Trainer(MODEL, train, cache)
        trainer.fit()
        keep = np.arange(len(cache)) % 4 != 0
        self.bank = score_recording(trainer.module, cache).bank(keep)
        self.graph = onnx_from_model(trainer.module, bank=self.bank)
        episodes, entries, values = self.bank.shape
        self.spec = InputSpec(32, 32, bank=(episodes, entries, values))
        self.frames = np.array(cache.images[::4])  # those that the bank does not hold

    def scores(self, kind: type[OnnxRuntimeBackend | OpenVinoBackend], graph: bytes) -> np.ndarray:
        backend = kind(graph, self.spec, where=WHERE, bank=self.bank)
        return np.concatenate([backend.score(frame[None], None).score for frame in self.frames])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.manual_seed(0)
    return Trained(tmp_path_factory.mktemp("trained"))


def deviation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b) / np.abs(b)))


def test_both_engines_score_alike_in_float(trained: Trained) -> None:
    expected = trained.scores(OnnxRuntimeBackend, trained.graph)
    assert deviation(trained.scores(OpenVinoBackend, trained.graph), expected) < 1e-4


@pytest.mark.parametrize("style", ["tensorrt", "openvino", "onnxruntime"])
def test_both_engines_score_alike_in_int8(trained: Trained, style: QdqStyle) -> None:
    """However the 8 bits are placed. A value on the edge between two levels may fall to either side of it."""
    exact = trained.scores(OnnxRuntimeBackend, trained.graph)
    graph = quick_int8(trained.graph, {"frames": trained.frames}, trained.bank, style)
    expected = trained.scores(OnnxRuntimeBackend, graph)
    assert deviation(expected, exact) > 0.05  # 8 bits do make a difference
    assert deviation(trained.scores(OpenVinoBackend, graph), expected) < 0.2 * deviation(expected, exact)
