"""An engine for a bundle on this machine: from the cache, from an earlier engine, or built."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.home import home_directory
from edgevad.errors import EngineError, GraphError, OptionError, OutputError
from edgevad.runtime.engines.building import build_engine
from edgevad.runtime.engines.cache import CachedEngine, EngineCache, EngineEntry, EngineFacts
from edgevad.runtime.engines.graph_identity import structure_of
from edgevad.runtime.engines.key import EngineKey
from edgevad.runtime.engines.machine import Machine, find_machine
from edgevad.runtime.engines.options import BuildProgress, BuildStep, EngineOptions
from edgevad.runtime.engines.tensorrt_api import version_of

__all__ = ["KEPT_ENGINES", "EngineWish", "ObtainedEngine", "engine_cache", "obtain_engine", "wish_for"]

# Two slots, an older bundle, and another power mode of the present one.
KEPT_ENGINES = 4
DLA_VARIABLE = "EDGEVAD_DLA_CORE"
_WORKSPACE_MIB = 1024


@dataclass(frozen=True)
class EngineWish:
    """What to have an engine of: a bundle's graph, and how to build it. All that is asked of a bundle is asked here.

    Attributes:
        name: of the bundle, for people; `where` for messages.
        digest: the bundle's identity.
        graph: ONNX in `options.precision`.
    """

    name: str
    where: Path
    digest: str
    graph: bytes
    options: EngineOptions


@dataclass(frozen=True)
class ObtainedEngine:
    """An engine, ready to be loaded.

    Attributes:
        plan: its bytes.
        made: "found" in the cache, "built", "refitted" or "adopted".
        why: where it was not found, the reason in one clause; None otherwise.
        seconds: how long it took to have it.
        key: what it depends on.
        entry: where it is kept; None where it could not be, and `not_kept` says why.
        hold: keeps it from being pruned until released; None where there is nothing to hold.
    """

    plan: bytes
    made: str
    why: str | None
    seconds: float
    key: EngineKey
    entry: EngineEntry | None
    not_kept: str | None = None
    hold: CachedEngine | None = None

    def release(self) -> None:
        """May be called twice."""
        if self.hold is not None:
            self.hold.release()


def engine_cache() -> EngineCache:
    """The cache in edgevad's home folder."""
    return EngineCache(home_directory() / "engines")


def wish_for(bundle: Bundle) -> EngineWish:
    """The engine that `bundle` asks for: its own precision where it was made for TensorRT, fp32 otherwise.

    Raises:
        BundleError: its graph cannot be read.
        OptionError: EDGEVAD_DLA_CORE asks for what the bundle's target does not allow.
    """
    manifest = bundle.manifest
    precision = manifest.precision if manifest.backend == "tensorrt" else "fp32"
    profile: dict[str, Any] = manifest.profile
    options = EngineOptions(
        precision=precision,
        workspace_mib=int(profile.get("workspace_mib") or _WORKSPACE_MIB),
        dla_core=_dla_core(profile, precision),
    )
    return EngineWish(manifest.name, bundle.path, bundle.digest, bundle.graph(precision), options)


def obtain_engine(
    wish: EngineWish,
    *,
    cache: EngineCache | None = None,
    machine: Machine | None = None,
    force: bool = False,
    must_keep: bool = False,
    progress: BuildProgress | None = None,
) -> ObtainedEngine:
    """The engine of `wish` for this machine: found, or made from an earlier one, or built.

    Two processes that want one at once build one: the second waits, and then finds it.

    Args:
        cache: None: `engine_cache()`.
        machine: None: `find_machine()`.
        force: build it, even where there is one.
        must_keep: raise where it cannot be written, instead of running it from memory this once.
        progress: told what is done meanwhile.

    Raises:
        EngineError: there is no GPU or no TensorRT that works, or the engine cannot be built.
        GraphError: TensorRT refuses the graph.
        MissingExtraError: pycuda is not installed.
        OutputError: it cannot be written, and `must_keep` is on.
    """
    started_s = time.monotonic()
    cache = engine_cache() if cache is None else cache
    machine = find_machine() if machine is None else machine
    key = EngineKey.of(wish.digest, machine, wish.options)

    def found(held: CachedEngine, why: str | None = None, made: str = "found") -> ObtainedEngine:
        took_s = time.monotonic() - started_s
        return ObtainedEngine(held.plan, made, why, took_s, key, held.entry, None, held)

    held = None if force else cache.find(key)
    if held is not None:
        return found(held)
    with cache.building(_waiting(progress)):
        # Whoever had the lock may have built just this one.
        held = None if force else cache.find(key)
        if held is not None:
            return found(held)
        why = "it was asked for" if force else cache.why_not
        plan, made = _make(wish, key, cache, machine, force, progress)
        facts = EngineFacts(
            name=wish.name,
            made=made,
            seconds=round(time.monotonic() - started_s, 3),
            graph_sha256=hashlib.sha256(wish.graph).hexdigest(),
            structure=_structure(wish.graph),
            refittable=wish.options.refittable and version_of(machine.tensorrt) >= (10,),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        try:
            entry = cache.store(key, plan, facts)
        except OutputError as error:
            if must_keep:
                raise
            return ObtainedEngine(plan, made, why, facts.seconds, key, None, str(error))
        held = cache.load(entry)
        _prune(cache, key)
    if held is None:
        return ObtainedEngine(plan, made, why, facts.seconds, key, None, "it was gone as soon as it was written")
    return found(held, why, made)


def _make(
    wish: EngineWish,
    key: EngineKey,
    cache: EngineCache,
    machine: Machine,
    force: bool,
    progress: BuildProgress | None,
) -> tuple[bytes, str]:
    """The engine, and how it came about: the cheapest way that works."""
    if not force:
        for make in (_adopt, _refit):
            plan = make(wish, key, cache, machine, progress)
            if plan is not None:
                return plan, "adopted" if make is _adopt else "refitted"
    try:
        return build_engine(wish.graph, wish.options, timing_path=cache.timing_path(key), progress=progress), "built"
    except (EngineError, GraphError) as error:
        raise type(error)(error.what, where=wish.where, expected=error.expected, fix=error.fix) from error


def _adopt(
    wish: EngineWish, key: EngineKey, cache: EngineCache, machine: Machine, progress: BuildProgress | None
) -> bytes | None:
    """Another bundle's engine of the very same graph: only bank, threshold or report differ."""
    wanted = hashlib.sha256(wish.graph).hexdigest()
    return _from_earlier(cache, key, lambda facts: facts.graph_sha256 == wanted)


def _refit(
    wish: EngineWish, key: EngineKey, cache: EngineCache, machine: Machine, progress: BuildProgress | None
) -> bytes | None:
    """Another bundle's engine of the same structure, with our weights; None where that does not work."""
    structure = _structure(wish.graph)
    if not structure or not wish.options.refittable or version_of(machine.tensorrt) < (10,):
        return None
    old = _from_earlier(cache, key, lambda facts: facts.refittable and facts.structure == structure)
    if old is None:
        return None
    if progress is not None:
        progress(BuildStep("putting new weights into an earlier engine"))
    try:
        return build_engine(wish.graph, wish.options, refit=old)
    except EngineError:
        return None  # a rebuild takes longer and works


def _from_earlier(cache: EngineCache, key: EngineKey, fits: Any) -> bytes | None:
    for entry in cache.entries():
        if entry.key.same_but_bundle(key) and entry.key != key and fits(entry.facts):
            held = cache.load(entry)
            if held is not None:
                held.release()
                return held.plan
    return None


def _structure(graph: bytes) -> str:
    try:
        return structure_of(graph)
    except ValueError:
        return ""  # TensorRT says what is wrong with it


def _prune(cache: EngineCache, key: EngineKey) -> None:
    with suppress(OutputError):  # an engine too many is no reason not to run
        cache.prune(keep=KEPT_ENGINES, spare=key)


def _waiting(progress: BuildProgress | None) -> Any:
    if progress is None:
        return None
    return lambda waited_s: progress(BuildStep(f"another process builds an engine; waiting for {waited_s:.0f} s"))


def _dla_core(profile: dict[str, Any], precision: str) -> int | None:
    text = os.environ.get(DLA_VARIABLE, "").strip()
    if not text:
        return None
    cores = int(profile.get("dla_cores") or 0)
    if not text.isdigit() or int(text) >= cores or precision != "fp16":
        raise OptionError(
            f"{DLA_VARIABLE} is {text!r}",
            expected=f"a core below {cores}, as the target allows, and an fp16 bundle (this one is {precision})",
            fix="Unset it: the GPU takes all layers then",
        )
    return int(text)
