"""What a device can do: one frozen `Target`, read from TOML here or by a user, embedded as JSON in every bundle."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

__all__ = ["Backend", "Precision", "Software", "Target"]

Backend = Literal["onnxruntime", "openvino", "tensorrt"]
Precision = Literal["int8", "fp16", "fp32"]

# Bounds of what is taken from a file that somebody else may have written.
_MAX_TEXT = 500
_MAX_ENTRIES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,2}")
_OPSETS = (7, 99)
_MAX_WORKSPACE_MIB = 1 << 20
_MAX_LATENCY_MS = 60_000.0
_MAX_MEMORY_GB = 4096.0


@dataclass(frozen=True)
class Software:
    """Versions that come together on a device, as people name them: "6.2", "11.x"; "" where there is none."""

    jetpack: str = ""
    tensorrt: str = ""
    cuda: str = ""
    python: str = ""


@dataclass(frozen=True)
class Target:
    """A device profile.

    Attributes:
        name, description: for people.
        backend: the inference engine that runs a bundle there.
        precisions: what the device computes in, the one to prefer first; "fp32" is always among them.
        static_batch: the graph's batch size must be fixed.
        opset_max: newest ONNX opset that its engine takes.
        runs_edgevad: `edgevad run` works there; else bundles are made for it and run by other programs, see `limits`.
        compute_capability: of its GPU, such as "8.7", or None where it has none or it is not known beforehand.
        dla_cores: deep-learning accelerators beside the GPU.
        dla_condition: when they can be used, in words.
        memory_gb: sizes it is sold with, in gigabytes.
        workspace_mib: most memory that TensorRT's builder may take, in MiB; 0 where nothing is built.
        latency_budget_ms: longest time for the scores of one frame, in milliseconds.
        power_modes: names of nvpmodel's modes.
        software: combinations of versions that it is used with.
        limits: what cannot run there, in sentences.
        sources: where the figures come from, by field.

    Raises:
        ValueError: a field is out of its range.
        TypeError: a field is of another type.
    """

    name: str
    description: str
    backend: Backend
    precisions: tuple[Precision, ...]
    static_batch: bool
    opset_max: int
    runs_edgevad: bool = True
    compute_capability: str | None = None
    dla_cores: int = 0
    dla_condition: str = ""
    memory_gb: tuple[float, ...] = ()
    workspace_mib: int = 0
    latency_budget_ms: float = 100.0
    power_modes: tuple[str, ...] = ()
    software: tuple[Software, ...] = ()
    limits: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_types(self)
        _check_ranges(self)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        value = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        value = {name: list(held) if isinstance(held, tuple) else held for name, held in value.items()}
        value["software"] = [vars(versions).copy() for versions in self.software]
        value["sources"] = dict(self.sources)
        return value

    @classmethod
    def from_json(cls, value: object) -> Target:
        """The profile that `to_json` or a TOML file wrote.

        Raises:
            KeyError: a field is missing.
            TypeError: a field is of another type.
            ValueError: a field is unknown or out of its range.
        """
        if not isinstance(value, dict):
            raise TypeError("a profile is a table of fields")
        known = {entry.name for entry in fields(cls)}
        for name in value:
            if name not in known:
                raise ValueError(f"unknown field {_short(name)}")
        for name in REQUIRED:
            if name not in value:
                raise KeyError(name)
        taken: dict[str, Any] = {
            name: _tuple_of(name, held) if name in _LISTS else held for name, held in value.items()
        }
        taken["software"] = tuple(_software(row) for row in taken.get("software", ()))
        for name in ("memory_gb", "latency_budget_ms"):
            if name in taken:
                taken[name] = _floats(taken[name])
        return cls(**taken)


REQUIRED = ("name", "description", "backend", "precisions", "static_batch", "opset_max")
_LISTS = {"precisions", "memory_gb", "power_modes", "software", "limits"}


def _tuple_of(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} is {_short(value)}, expected a list")
    return tuple(value)


def _floats(value: object) -> object:
    """Whole numbers as the floats they stand for; what is no number stays, and is refused with its own name."""
    if isinstance(value, tuple):
        return tuple(_floats(number) for number in value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return float(value)
    return value


def _software(row: object) -> Software:
    if isinstance(row, Software):
        return row
    if not isinstance(row, dict):
        raise TypeError(f"software has {_short(row)}, expected tables of versions")
    unknown = [name for name in row if name not in vars(Software())]
    if unknown:
        raise ValueError(f"software has the unknown field {_short(unknown[0])}")
    return Software(**row)


def _check_types(target: Target) -> None:
    kinds: dict[str, tuple[type, str]] = {
        "name": (str, "a string"),
        "description": (str, "a string"),
        "backend": (str, "a string"),
        "static_batch": (bool, "true or false"),
        "opset_max": (int, "a whole number"),
        "runs_edgevad": (bool, "true or false"),
        "dla_cores": (int, "a whole number"),
        "dla_condition": (str, "a string"),
        "workspace_mib": (int, "a whole number"),
        "latency_budget_ms": (float, "a number"),
    }
    for name, (kind, words) in kinds.items():
        _expect(name, getattr(target, name), kind, words)
    if target.compute_capability is not None:
        _expect("compute_capability", target.compute_capability, str, 'a string such as "8.7"')
    items: dict[str, tuple[type, str]] = {
        "precisions": (str, "strings"),
        "memory_gb": (float, "numbers"),
        "power_modes": (str, "strings"),
        "software": (Software, "tables of versions"),
        "limits": (str, "strings"),
    }
    for name, (kind, words) in items.items():
        _expect(name, getattr(target, name), tuple, "a list")
        for item in getattr(target, name):
            _expect(name, item, kind, f"a list of {words}")
    _expect("sources", target.sources, dict, "a table")
    texts: dict[str, object] = {f"software.{key}": value for row in target.software for key, value in vars(row).items()}
    texts |= {f"sources.{_short(key)}": value for key, value in target.sources.items()}
    for name, value in texts.items():
        _expect(name, value, str, "a string")


def _expect(name: str, value: object, kind: type, words: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} is {_short(value)}, expected {words}")


def _check_ranges(target: Target) -> None:
    def need(good: bool, name: str, expected: str) -> None:
        if not good:
            raise ValueError(f"{name} is {_short(getattr(target, name))}, expected {expected}")

    need(_NAME.fullmatch(target.name) is not None, "name", "lower-case letters, digits, dots and hyphens, at most 48")
    need(target.backend in get_args(Backend), "backend", "one of " + ", ".join(get_args(Backend)))
    known = get_args(Precision)
    named = [precision for precision in target.precisions if precision in known]
    need(
        "fp32" in named and len(set(named)) == len(target.precisions),
        "precisions",
        "fp32 and any of int8, fp16, each once, the one to prefer first",
    )
    need(_OPSETS[0] <= target.opset_max <= _OPSETS[1], "opset_max", f"{_OPSETS[0]} to {_OPSETS[1]}")
    capability = target.compute_capability
    need(capability is None or _VERSION.fullmatch(capability) is not None, "compute_capability", 'such as "8.7"')
    need(0 <= target.dla_cores <= 8, "dla_cores", "0 to 8")
    need(0 <= target.workspace_mib <= _MAX_WORKSPACE_MIB, "workspace_mib", f"0 to {_MAX_WORKSPACE_MIB}")
    need(
        math.isfinite(target.latency_budget_ms) and 0 < target.latency_budget_ms <= _MAX_LATENCY_MS,
        "latency_budget_ms",
        f"above 0, at most {_MAX_LATENCY_MS:.0f}",
    )
    need(all(0 < size <= _MAX_MEMORY_GB for size in target.memory_gb), "memory_gb", "sizes in gigabytes, above 0")
    for name in ("memory_gb", "power_modes", "software", "limits", "sources"):
        need(len(getattr(target, name)) <= _MAX_ENTRIES, name, f"at most {_MAX_ENTRIES} entries")
    texts: dict[str, Iterable[str]] = {
        "description": (target.description,),
        "dla_condition": (target.dla_condition,),
        "power_modes": target.power_modes,
        "limits": target.limits,
        "software": [text for row in target.software for text in vars(row).values()],
        "sources": [text for pair in target.sources.items() for text in pair],
    }
    for name, strings in texts.items():
        # Printable: a profile of a stranger's bundle is shown on a terminal.
        good = all(len(text) <= _MAX_TEXT and text.isprintable() for text in strings)
        need(good, name, f"lines of at most {_MAX_TEXT} printable characters")
    need(set(target.sources) <= {entry.name for entry in fields(target)}, "sources", "names of fields")


def _short(value: object) -> str:
    """What a message shows of a value: never all of a hostile one."""
    return _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
