"""Device profiles on the terminal: all of them as a table, one with everything it says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.targets import Target

__all__ = ["target_view", "targets_table"]


def targets_table(targets: Sequence[Target]) -> RenderableType:
    """A row for each profile; what does not run `edgevad run` says so."""
    table = Table(box=None, pad_edge=False)
    for column in ("target", "engine", "precisions", "GPU", "memory", "runs edgevad"):
        table.add_column(column, no_wrap=column in ("target", "precisions"))
    for target in targets:
        table.add_row(
            Text(target.name),
            target.backend,
            ", ".join(target.precisions),
            target.compute_capability or "-",
            _memory(target) or "-",
            "yes" if target.runs_edgevad else "no: export only",
        )
    return Group(table, Text("\nMore of one: edgevad targets show NAME"))


def target_view(target: Target) -> RenderableType:
    """Every field of a profile, then its limits, then the source of each figure."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(target):
        facts.add_row(label, Text(value))
    parts: list[RenderableType] = [Text(f"{target.name}: {target.description}\n"), facts]
    if target.limits:
        parts.append(Text("\nWhat it cannot do, and what to know"))
        parts += [_hanging("-", limit) for limit in target.limits]
    if target.sources:
        parts.append(Text("\nWhere the figures come from"))
        parts += [_hanging(f"{name}:", source) for name, source in target.sources.items()]
    return Group(*parts)


def _facts(target: Target) -> list[tuple[str, str]]:
    rows = [
        ("engine", target.backend),
        ("runs edgevad", "yes" if target.runs_edgevad else "no: bundles are made for it, other programs run them"),
        ("precisions", ", ".join(target.precisions) + (" (first preferred)" if len(target.precisions) > 1 else "")),
        ("batch size", "fixed" if target.static_batch else "any"),
        ("ONNX opset", f"up to {target.opset_max}"),
        ("compute capability", target.compute_capability or "-"),
        ("DLA cores", f"{target.dla_cores}" + (f"; {target.dla_condition}" if target.dla_condition else "")),
        ("memory", _memory(target) or "-"),
        ("builder workspace", f"at most {target.workspace_mib} MiB" if target.workspace_mib else "-"),
        ("latency budget", f"{target.latency_budget_ms:g} ms a frame"),
        ("power modes", ", ".join(target.power_modes) or "-"),
    ]
    for versions in target.software:
        named = {"JetPack": versions.jetpack, "TensorRT": versions.tensorrt, "CUDA": versions.cuda}
        named["Python"] = versions.python
        rows.append(("software", ", ".join(f"{name} {version}" for name, version in named.items() if version) or "-"))
    return rows


def _memory(target: Target) -> str:
    return "/".join(f"{size:g}" for size in target.memory_gb) + " GB" if target.memory_gb else ""


def _hanging(mark: str, text: str) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(Text(mark), Text(text))
    return row
