"""How an engine is to be built, and what is heard of it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgevad.errors import OptionError

__all__ = ["BuildProgress", "BuildStep", "EngineOptions"]

_PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class EngineOptions:
    """How to build an engine.

    Attributes:
        precision: of the graph: "fp32", "fp16" or "int8". Where networks are strongly typed the graph itself says it.
        workspace_mib: most memory the builder may use for one layer, in MiB; 0 leaves it to TensorRT.
        refittable: keep weights apart from code, so that other weights can be put in without a rebuild.
        dla_core: deep learning accelerator that takes what it can, the GPU takes the rest; None: the GPU takes all.
    """

    precision: str = "fp32"
    workspace_mib: int = 1024
    refittable: bool = True
    dla_core: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise OptionError(f"precision {self.precision!r}", expected="one of " + ", ".join(_PRECISIONS))
        if self.workspace_mib < 0:
            raise OptionError(f"a workspace of {self.workspace_mib} MiB", expected="0 or more")
        if self.dla_core is not None and (self.dla_core < 0 or self.precision != "fp16"):
            raise OptionError(
                f"DLA core {self.dla_core} for {self.precision}",
                expected="a core from 0 on, and an fp16 graph: the DLA takes nothing else here",
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> EngineOptions:
        return cls(**value)

    def __str__(self) -> str:
        """In a few words, for the cache key: whatever changes the engine changes them."""
        device = "GPU" if self.dla_core is None else f"DLA {self.dla_core}"
        return f"{device}, workspace {self.workspace_mib} MiB, {'refittable' if self.refittable else 'not refittable'}"


@dataclass(frozen=True)
class BuildStep:
    """A sign of life from a build.

    Attributes:
        phase: what is being done, in TensorRT's words or ours.
        parent: the phase that this one is a part of, None where it is none's.
        done, total: steps of the phase; total 0 where nobody knows.
    """

    phase: str
    parent: str | None = None
    done: int = 0
    total: int = 0


# Called now and then while an engine is built or waited for; an exception from it ends the build.
BuildProgress = Callable[[BuildStep], None]
