"""A challenger beside the champion: the same frames, compared; and nothing of it ever reaches the one that watches."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_frames

from edgevad.bundle import Bundle
from edgevad.errors import BackendError, RefitError
from edgevad.refit import shadow as shadow_module
from edgevad.refit.place import RefitHome
from edgevad.refit.shadow import ShadowReport, poisson_limit, run_shadow
from edgevad.runtime.backends import Scores
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.shadow import SHADOW_SOCKET, ShadowFeed, socket_address
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources import Frame, Source


class Slow(Source):
    """The tiny frames, a few hundred a second, so that somebody who listens keeps up."""

    def __init__(self, count: int) -> None:
        super().__init__("front", kind="camera")
        self._count = count

    def _frames(self) -> Iterator[Frame]:
        for frame in tiny_frames(self._count, anomalies=range(40, 60)):
            time.sleep(0.004)
            yield replace(frame, source_id="front")


@pytest.fixture
def home(tmp_path: Path) -> RefitHome:
    return RefitHome(tmp_path / "refit")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgevad.runtime.shadow._LOOK_S", 0.02)
    monkeypatch.setattr(shadow_module, "_POLL_S", 0.05)


class Trying(threading.Thread):
    """`run_shadow` beside the run."""

    def __init__(self, bundle: Bundle, home: RefitHome, frames: int, champion: str = "") -> None:
        super().__init__(daemon=True)
        self.report: ShadowReport | None = None
        self.error: Exception | None = None
        self._work: Callable[[], ShadowReport] = lambda: run_shadow(
            bundle, champion or bundle.digest, frames, home=home, kept=home.path / "shadow.json", longest_wait_s=20.0
        )

    def run(self) -> None:
        try:
            self.report = self._work()
        except Exception as error:
            self.error = error


def _drive(bundle: Bundle, home: RefitHome, frames: int) -> int:
    """Run the champion over a drive, and give what it does to whoever listens; how many verdicts there were."""
    feed = ShadowFeed(home.path, lambda: bundle.digest)
    feed.start()
    seen = 0
    with Scorer.from_bundle(bundle) as scorer, Pipeline(scorer, Slow(frames), hysteresis=Hysteresis(4.0)) as pipeline:
        pipeline.on_scored = feed.push
        for _ in pipeline:
            seen += 1
    feed.close()
    return seen


@pytest.mark.usefixtures("quick")
def test_the_same_bundle_says_the_same(tiny_bundle: Path, home: RefitHome) -> None:
    bundle = Bundle.open(tiny_bundle)
    trying = Trying(bundle, home, frames=60)
    trying.start()
    assert _drive(bundle, home, 400) == 400
    trying.join(10)
    report = trying.report
    assert report is not None, trying.error
    assert (report.frames, report.wanted) == (60, 60)
    assert report.failure is None
    assert report.champion_only == report.challenger_only == 0 or report.champion_events > 0
    assert report.passed
    assert not (home.path / SHADOW_SOCKET).exists()
    kept = json.loads((home.path / "shadow.json").read_text())
    assert kept["frames"] == 60
    assert kept["passed"]


@pytest.mark.usefixtures("quick")
def test_a_challenger_that_fails_is_told_and_the_run_goes_on(
    tiny_bundle: Path, home: RefitHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_bundle)
    opened = Scorer.from_bundle

    class Broken:
        batch = None

        def score(self, frames: object, motion: object = None) -> Scores:
            raise BackendError("the engine fell over")

        def close(self) -> None:
            pass

    monkeypatch.setattr(shadow_module.Scorer, "from_bundle", lambda *a, **k: replace(opened(*a, **k), backend=Broken()))
    trying = Trying(bundle, home, frames=60)
    trying.start()
    time.sleep(0.3)  # it has its scorer; the champion gets a sound one
    monkeypatch.undo()
    monkeypatch.setattr("edgevad.runtime.shadow._LOOK_S", 0.02)
    assert _drive(bundle, home, 100) == 100
    trying.join(10)
    assert trying.report is not None
    assert "fell over" in str(trying.report.failure)
    assert not trying.report.passed


@pytest.mark.usefixtures("quick")
def test_another_champion_is_not_compared_with(tiny_bundle: Path, home: RefitHome) -> None:
    bundle = Bundle.open(tiny_bundle)
    trying = Trying(bundle, home, frames=60, champion="f" * 64)
    trying.start()
    _drive(bundle, home, 100)
    trying.join(10)
    assert isinstance(trying.error, RefitError)
    assert "another bundle" in str(trying.error)


@pytest.mark.usefixtures("quick")
def test_one_who_takes_nothing_costs_frames_and_no_time(tiny_bundle: Path, home: RefitHome) -> None:
    bundle = Bundle.open(tiny_bundle)
    home.path.mkdir(parents=True)
    feed = ShadowFeed(home.path, lambda: bundle.digest)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
        socket_address(home.path / SHADOW_SOCKET) as address,
    ):
        listener.bind(address)
        listener.listen(1)
        feed.start()
        with Scorer.from_bundle(bundle) as scorer, Pipeline(scorer, Slow(300)) as pipeline:
            pipeline.on_scored = feed.push
            heard = [feed.is_heard for _ in pipeline]
        assert len(heard) == 300
        assert any(heard), "nobody was there at all"
        assert feed._queue.qsize() <= 6
    feed.close()


def test_nobody_who_listens_in_time(tiny_bundle: Path, home: RefitHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "_POLL_S", 0.02)
    with pytest.raises(RefitError, match="no camera's frames came"):
        run_shadow(Bundle.open(tiny_bundle), "0", 10, home=home, kept=home.path / "shadow.json", longest_wait_s=0.1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("garbage", [b"", b"\xff" * 100, b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x04nope"])
def test_nonsense_ends_a_connection_only(tiny_bundle: Path, home: RefitHome, garbage: bytes) -> None:
    bundle = Bundle.open(tiny_bundle)
    trying = Trying(bundle, home, frames=20)
    trying.start()
    for _ in range(200):
        if (home.path / SHADOW_SOCKET).exists():
            break
        time.sleep(0.02)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link, socket_address(home.path / SHADOW_SOCKET) as to:
        link.connect(to)
        link.sendall(garbage)
    _drive(bundle, home, 200)
    trying.join(10)
    assert trying.report is not None, trying.error
    assert trying.report.frames == 20


def test_what_was_counted_goes_on(tmp_path: Path) -> None:
    report = ShadowReport(100, frames=40, seconds=20.0, champion_events=1)
    (tmp_path / "shadow.json").write_text(json.dumps(report.to_json()))
    assert ShadowReport.load(tmp_path / "shadow.json", 100) == report
    (tmp_path / "shadow.json").write_text("{}")
    assert ShadowReport.load(tmp_path / "shadow.json", 50) == ShadowReport(50)


def test_alarms_that_chance_explains_are_let_pass() -> None:
    assert poisson_limit(0.0, 0.995) == 1
    counts = np.random.default_rng(0).poisson(4.0, 20_000)
    assert np.mean(counts <= poisson_limit(4.0, 0.995)) >= 0.993
    calm = ShadowReport(10, frames=10, seconds=3600.0, champion_events=0, challenger_events=4)
    assert calm.passed
    assert not replace(calm, challenger_events=6).passed
    assert not replace(calm, failure="it fell over").passed
