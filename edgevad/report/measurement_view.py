"""What `edgevad bench` found, for people."""

from __future__ import annotations

from os import PathLike

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad._files import atomic_file
from edgevad.report.plots import require_matplotlib
from edgevad.runtime.latency import LatencyHistogram
from edgevad.runtime.measuring import Measurement

__all__ = ["measurement_view", "plot_measurement"]

_BARS = 16
_BAR_CELLS = 40


def measurement_view(found: Measurement, target: str) -> RenderableType:
    """A table, the histogram of latencies, and the verdict."""
    table = Table(show_header=False, title="edgevad bench")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    width, height = found.size_px
    plural = "" if found.cameras == 1 else "s"
    table.add_row("bundle", Text(f"{found.bundle} ({target})"))
    table.add_row("engine", Text(found.engine))
    table.add_row("cameras", f"{found.cameras} camera{plural} of {width}x{height} at {found.camera_fps_hz:g} Hz")
    table.add_row("engine alone", _percentiles(found.engine_latency))
    table.add_row("camera to score", _percentiles(found.latency))
    table.add_row("frames", f"{found.captured} captured, {found.scored} scored, {found.dropped} dropped")
    table.add_row("at most", f"{found.most_fps_hz:.0f} frames/s")
    table.add_row("memory", f"{found.resident_bytes / 1e6:.0f} MB resident")
    rails = ", ".join(f"{rail} {watts:.1f} W" for rail, watts in sorted(found.power_w.items()))
    table.add_row("power", Text(rails or "not told by this machine"))
    if found.temperature_c is not None:
        table.add_row("temperature", f"{found.temperature_c:.0f} °C at most")
    table.add_row("budget", _verdict(found, target))
    return Group(table, Text("\ncamera to score"), _histogram(found))


def plot_measurement(found: Measurement, path: str | PathLike[str]) -> None:
    """Draw the histogram of latencies as a PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    figure = require_matplotlib().Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    bins = found.latency.bins(60)
    axis.bar(
        [1e3 * low for low, _, _ in bins],
        [count for _, _, count in bins],
        width=[1e3 * (high - low) for low, high, _ in bins],
        align="edge",
        color="#0072b2",
    )
    for percent, style in ((50, ":"), (95, "--"), (99, "-")):
        value_ms = 1e3 * found.latency.percentile_s(percent)
        axis.axvline(value_ms, color="#333333", linestyle=style, label=f"p{percent} {value_ms:.2f} ms")
    if found.budget_s is not None:
        axis.axvline(1e3 * found.budget_s, color="#d55e00", label=f"budget {1e3 * found.budget_s:g} ms")
    axis.set_xscale("log")
    axis.set(xlabel="camera to score (ms)", ylabel="frames", title=f"{found.engine}, {found.cameras} camera(s)")
    axis.legend()
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=120)


def _percentiles(latency: LatencyHistogram) -> str:
    return ", ".join(f"{name} {value:.2f} ms" for name, value in latency.to_json().items())


def _verdict(found: Measurement, target: str) -> Text:
    if found.budget_s is None:
        return Text(f"none known here for {target}", style="yellow")
    if found.is_within_budget is None:
        return Text("no frame was judged", style="bold red")
    p99_ms, budget_ms = 1e3 * found.latency.percentile_s(99), 1e3 * found.budget_s
    if found.is_within_budget:
        return Text(f"kept: p99 {p99_ms:.1f} ms of {budget_ms:g} ms", style="green")
    return Text(f"missed: p99 {p99_ms:.1f} ms, {target} allows {budget_ms:g} ms", style="bold red")


def _histogram(found: Measurement) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right", style="dim", no_wrap=True)
    rows.add_column(no_wrap=True)
    rows.add_column(justify="right", no_wrap=True)
    bins = found.latency.bins(_BARS)
    most = max((count for _, _, count in bins), default=1)
    for low, high, count in bins:
        late = found.budget_s is not None and low >= found.budget_s
        bar = "█" * round(_BAR_CELLS * count / most) or ("▏" if count else "")
        rows.add_row(f"{1e3 * low:.2f} to {1e3 * high:.2f} ms", Text(bar, style="red" if late else "green"), str(count))
    return rows
