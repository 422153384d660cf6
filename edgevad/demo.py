"""The whole way on a drive that edgevad makes itself: synth, train, export, run, evaluate, pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgevad._files import writable_directory
from edgevad.bundle.bundle import Bundle
from edgevad.errors import OptionError
from edgevad.evaluation.evaluate import Evaluation, evaluate
from edgevad.evaluation.labels import read_labels
from edgevad.events.jsonl import JsonlSink
from edgevad.export import bundle_for_target
from edgevad.model.folder import Recipe
from edgevad.model.trainer import TrainConfig
from edgevad.model.training import Observer, Training
from edgevad.report.annotated_video import VideoSink
from edgevad.report.demo_page import write_demo_page
from edgevad.report.evaluation_files import write_evaluation
from edgevad.report.overlay import Annotator
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.session import RunSummary, run_session
from edgevad.sources import open_source
from edgevad.synth import SynthConfig, WrittenDrive, write_drive
from edgevad.targets import load_target

__all__ = ["STAGES", "DemoResult", "DemoView", "Stage", "run_demo"]

# Says that a folder is a demo's, and that the next one may replace what is in it.
_MARKER = ".edgevad-demo"

Stage = Literal["synth", "train", "export", "run", "evaluate"]
STAGES: tuple[Stage, ...] = ("synth", "train", "export", "run", "evaluate")


class DemoView(Protocol):
    """Somebody who watches the demo."""

    def begins(self, stage: Stage) -> None: ...

    def ended(self, stage: Stage, seconds: float, sentence: str) -> None: ...

    def broke_off(self) -> None: ...

    def rendered(self, done: int, total: int) -> None: ...

    def training(self) -> Any:
        """A context manager that gives an `Observer`."""
        ...


@dataclass(frozen=True)
class DemoResult:
    """
    Attributes:
        out: the folder that holds everything.
        page: the HTML page to open.
        drive, bundle, run, evaluation: what the stages left.
        stage_s: seconds each stage took.
    """

    out: Path
    page: Path
    drive: WrittenDrive
    bundle: Bundle
    run: RunSummary
    evaluation: Evaluation
    stage_s: dict[Stage, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "page": str(self.page),
            "stage_s": {stage: round(seconds, 1) for stage, seconds in self.stage_s.items()},
            "run": self.run.to_json(),
            "evaluation": self.evaluation.to_json(),
        }


def run_demo(out: Path, config: SynthConfig, view: DemoView, train: TrainConfig | None = None) -> DemoResult:
    """Run every stage into sub-folders of `out`; what an earlier demo left there is replaced. None: shipped defaults.

    Raises:
        OptionError: `out` holds something that no demo left.
        OutputError: `out` cannot be written.
        MissingExtraError: a package of the extra `train` is not installed.
    """
    writable_directory(out)
    marker = out / _MARKER
    if any(out.iterdir()) and not marker.exists():
        raise OptionError("is not empty, and no demo was there before", where=out, fix="Choose another --out")
    marker.touch()
    stage_s: dict[Stage, float] = {}

    @contextmanager
    def stage(name: Stage) -> Iterator[list[str]]:
        view.begins(name)
        start = time.perf_counter()
        sentence: list[str] = []
        try:
            yield sentence
        except BaseException:
            view.broke_off()
            raise
        stage_s[name] = time.perf_counter() - start
        view.ended(name, stage_s[name], sentence[0])

    with stage("synth") as say:
        drive = write_drive(config, out / "drive", view.rendered)
        facts = drive.summary
        say.append(f"{facts['frames']} frames, {facts['anomalous_frames']} of them anomalous; labels kept aside")
    with stage("train") as say, view.training() as observer:
        say.append(_train(drive.video, out / "model", train or TrainConfig(), observer))
    with stage("export") as say:
        bundle = bundle_for_target(out / "model", load_target("cpu"), out / "bundle", overwrite=True)
        say.append(f"ONNX graph and manifest in {bundle.path}")
    with stage("run") as say:
        summary = _run(bundle, drive.video, out / "run")
        say.append(f"{summary.frames} frames at {summary.fps_hz:.0f} frames a second, {summary.event_count} events")
    with stage("evaluate") as say:
        evaluation = _evaluate(bundle, drive, out / "evaluation")
        say.append(f"frame AUROC {evaluation.auroc:.3f}")
    page = write_demo_page(out, evaluation, summary)
    return DemoResult(out, page, drive, bundle, summary, evaluation, stage_s)


def _train(video: Path, out: Path, train: TrainConfig, observer: Observer) -> str:
    recipe = Recipe((str(video.absolute()),), train=train, name="demo")
    facts = Training.start(recipe, out, overwrite=True).run(observer).provenance
    return f"{facts['steps']} steps without a label; {facts['stopped_because']}"


def _run(bundle: Bundle, video: Path, out: Path) -> RunSummary:
    with ExitStack() as stack:
        scorer = stack.enter_context(Scorer.from_bundle(bundle))
        source = stack.enter_context(open_source(video))
        sinks = [
            stack.enter_context(JsonlSink(out)),
            stack.enter_context(
                VideoSink(
                    out / "annotated.mp4",
                    Annotator(scorer.calibration.threshold),
                    fps_hz=source.fps_hint_hz or 10.0,
                )
            ),
        ]
        pipeline = stack.enter_context(Pipeline(scorer, source))
        budget = scorer.calibration.alarms_per_hour
        return run_session(pipeline, sinks, sources=[str(video)], alarms_per_hour=budget)


def _evaluate(bundle: Bundle, drive: WrittenDrive, out: Path) -> Evaluation:
    with Scorer.from_bundle(bundle) as scorer, open_source(drive.video) as source:
        evaluation = evaluate(scorer, source, read_labels(drive.labels))
    write_evaluation(evaluation, out)
    return evaluation
