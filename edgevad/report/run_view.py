"""What a person sees while `edgevad run` runs, and when it has ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.sink import Sink
from edgevad.runtime.latency import LatencyHistogram

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary
    from edgevad.sources.source import Source

__all__ = ["LinesView", "LiveView", "summary_table"]

_REFRESH_S = 0.25
_LINE_EVERY_S = 10.0
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_COUNT = 60
_BAR_COUNT = 40
_SUMMARY_EVENTS = 10
_UNIX_NS = 10**18  # the year 2001; no recording lasts that long
_STYLES = {"anomaly": "bold red", "normal": "green", "warm-up": "yellow", "fault": "magenta"}


class _Meter(Sink):
    """Counts what both views show; `draw` is called every `every_s` seconds, not on every frame."""

    def __init__(self, sources: Sequence[Source], threshold: float, *, every_s: float) -> None:
        self._sources = sources
        self._threshold = threshold
        self._every_s = every_s
        self._latency = LatencyHistogram()
        self._frames = self._drawn_frames = 0
        self._peak: float | None = None
        self._started_s = self._drawn_s = time.monotonic()
        self._fps_hz = 0.0

    def push(self, result: Result) -> None:
        self._frames += 1
        score = result.anomaly_score
        if score is not None:
            self._latency.push(result.latency_s)
            if self._peak is None or score > self._peak:
                self._peak = score
        now_s = time.monotonic()
        if now_s - self._drawn_s >= self._every_s:
            self._fps_hz = (self._frames - self._drawn_frames) / (now_s - self._drawn_s)
            self._drawn_s, self._drawn_frames = now_s, self._frames
            self.draw(result)
            self._peak = None

    def draw(self, result: Result) -> None:
        raise NotImplementedError

    def _counts(self) -> str:
        totals = [source.frame_count_hint for source in self._sources]
        of_total = f" of {sum(filter(None, totals))}" if all(totals) else ""
        skipped = sum(source.skipped for source in self._sources)
        dropped = sum(source.dropped for source in self._sources)
        lost = (f", {skipped} skipped" if skipped else "") + (f", {dropped} dropped" if dropped else "")
        return f"{self._frames}{of_total} frames{lost}"

    def _speed(self) -> str:
        p50, p95 = (1e3 * self._latency.percentile_s(percent) for percent in (50, 95))
        return f"{self._fps_hz:.0f} fps, latency p50 {p50:.1f} ms, p95 {p95:.1f} ms"


class LinesView(_Meter):
    """For logs and pipes: a line every ten seconds, and one for each event."""

    def __init__(self, console: Console, sources: Sequence[Source], threshold: float) -> None:
        super().__init__(sources, threshold, every_s=_LINE_EVERY_S)
        self._console = console

    def draw(self, result: Result) -> None:
        score = "no score" if result.anomaly_score is None else f"score {result.anomaly_score:.2f}"
        camera = f"{result.frame.source_id}: " if len(self._sources) > 1 else ""
        self._print(f"{self._counts()}, {self._speed()}, {camera}{score}, {result.fault or result.state}")

    def event(self, event: Event) -> None:
        self._print(event_line(event))

    def incident(self, incident: Incident) -> None:
        self._print(incident_line(incident))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveView(_Meter):
    """For terminals: a panel that is redrawn four times a second, and gone when the run has ended."""

    def __init__(self, console: Console, sources: Sequence[Source], threshold: float) -> None:
        super().__init__(sources, threshold, every_s=_REFRESH_S)
        self._recent: deque[float] = deque(maxlen=_SPARK_COUNT)
        self._lines: deque[tuple[str, Text]] = deque(maxlen=3)
        self._latest: dict[str, Result] = {}
        self._live = Live(Text("waiting for the first frames"), console=console, auto_refresh=False, transient=True)
        self._live.start(refresh=True)

    def push(self, result: Result) -> None:
        name = result.frame.source_id
        if name not in self._latest and len(self._latest) >= len(self._sources):
            self._latest.clear()  # one source may give the frames of many clips
        self._latest[name] = result
        super().push(result)

    def event(self, event: Event) -> None:
        self._lines.append(("event", Text(event_line(event), style="red")))

    def incident(self, incident: Incident) -> None:
        self._lines.append((incident.kind, Text(incident_line(incident), style="magenta")))
        # A camera that is lost, or waited for, gives no frame to draw at.
        if self._latest:
            self.draw(next(reversed(self._latest.values())))
        else:
            self._live.update(Group(*(line for _, line in self._lines)), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def draw(self, result: Result) -> None:
        if self._peak is not None:
            self._recent.append(self._peak)
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column()
        rows.add_row("source", Text(", ".join(source.name for source in self._sources)))
        rows.add_row("frames", self._counts())
        rows.add_row("speed", self._speed())
        for name, latest in self._latest.items():
            if len(self._sources) > 1:
                rows.add_row("camera", Text(name))
            rows.add_row("score", score_bar(latest.anomaly_score, self._threshold))
            rows.add_row("state", Text(latest.fault or latest.state, style=_STYLES[latest.state]))
        rows.add_row("recent", sparkline(self._recent, self._threshold))
        for label, line in self._lines:
            rows.add_row(label, line)
        self._live.update(Group(rows), refresh=True)


def score_bar(score: float | None, threshold: float) -> Text:
    """A bar whose middle is the threshold, and the two numbers."""
    if score is None:
        return Text("no score", style="yellow")
    middle = _BAR_COUNT // 2
    filled = min(max(round(middle * score / threshold) if threshold > 0 else 0, 0), _BAR_COUNT)
    text = Text()
    for cell in range(_BAR_COUNT):
        if cell == middle:
            text.append("|", style="bold")
        if cell < filled:
            text.append("█", style="red" if cell >= middle else "green")
        else:
            text.append("·", style="dim")
    text.append(f" {score:6.2f} / {threshold:.2f}", style="bold red" if score >= threshold else "")
    return text


def sparkline(scores: deque[float], threshold: float) -> Text:
    """One block a value, from 0 to one and a half thresholds; red from the threshold on."""
    top = 1.5 * threshold if threshold > 0 else 1.0
    text = Text()
    for score in scores:
        level = min(max(int(score / top * len(_SPARKS)), 0), len(_SPARKS) - 1)
        text.append(_SPARKS[level], style="red" if score >= threshold else "green")
    return text


def event_line(event: Event) -> str:
    """One event in words."""
    return (
        f"event {event.id}: frames {event.start_frame} to {event.end_frame} "
        f"({event.duration_s:.1f} s from {_moment(event.start_ns)}), "
        f"peak score {event.peak_score:.1f} ({event.cause})"
    )


def _moment(timestamp_ns: int) -> str:
    """A camera's frame has a time of day; a recording's, the seconds since its beginning."""
    if timestamp_ns < _UNIX_NS:
        return f"{timestamp_ns / 1e9:.1f} s"
    return time.strftime("%H:%M:%S", time.localtime(timestamp_ns / 1e9))


def incident_line(incident: Incident) -> str:
    """One incident in words."""
    about = f"{incident.source_id}: " if incident.source_id else ""
    if incident.end_ns is None or incident.is_new:
        return f"{incident.kind}: {about}{incident.detail}"
    return f"{incident.kind}: {about}{incident.detail} (over, {(incident.end_ns - incident.start_ns) / 1e9:.1f} s)"


def summary_table(summary: RunSummary, files: list[str]) -> Table:
    """What a run came to."""
    table = Table(show_header=False, title="edgevad run" + (" (interrupted)" if summary.interrupted else ""))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    run = summary.run
    table.add_row("bundle", Text(run.bundle))
    if run.engine:
        table.add_row("engine", Text(run.engine))
    table.add_row("source", Text(", ".join(run.sources)))
    lost = f"; {summary.faulty} show nothing" if summary.faulty else ""
    lost += f"; {summary.skipped} skipped" if summary.skipped else ""
    lost += f"; {summary.dropped} dropped" if summary.dropped else ""
    table.add_row("frames", f"{summary.frames}, {summary.scored} scored{lost}")
    for reason, count in list(summary.skip_reasons.items())[:3]:
        table.add_row("", Text(f"skipped {count}: {reason}"))
    table.add_row("recorded", f"{summary.duration_s:.1f} s")
    table.add_row("took", f"{summary.elapsed_s:.1f} s, {summary.fps_hz:.0f} frames/s")
    latency = summary.latency.to_json()
    table.add_row("latency", ", ".join(f"{name} {value:.2f} ms" for name, value in latency.items()))
    budget, plural = summary.alarms_per_hour, "" if summary.alarms_per_hour == 1 else "s"
    reason = "given" if budget is None else f"for {budget:g} false alarm{plural} an hour"
    table.add_row("threshold", f"{run.threshold:.2f} ({reason})")
    table.add_row("events", str(summary.event_count), style="bold red" if summary.event_count else None)
    for event in list(summary.events)[:_SUMMARY_EVENTS]:
        table.add_row("", Text(event_line(event)))
    if summary.event_count > _SUMMARY_EVENTS:
        table.add_row("", f"and {summary.event_count - _SUMMARY_EVENTS} more")
    if summary.incident_counts:
        counts = ", ".join(f"{count} {kind}" for kind, count in summary.incident_counts.most_common())
        table.add_row("incidents", Text(counts))
    for index, file in enumerate(files):
        table.add_row("" if index else "written", Text(file))
    return table
