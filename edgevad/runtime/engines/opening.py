"""From a bundle to a TensorRT engine that runs it."""

from __future__ import annotations

import logging

from edgevad.bundle.bundle import Bundle
from edgevad.errors import BundleError, EngineError
from edgevad.runtime.backends.tensorrt import TensorRtBackend
from edgevad.runtime.engines.obtaining import ObtainedEngine, obtain_engine, wish_for
from edgevad.runtime.engines.options import BuildProgress, BuildStep

__all__ = ["open_tensorrt"]

_log = logging.getLogger(__name__)


def open_tensorrt(bundle: Bundle, *, on_build: BuildProgress | None = None) -> TensorRtBackend:
    """The engine of `bundle` for this machine, loaded; it is built first where the cache has none that can be used.

    Raises:
        BundleError: the bundle is broken.
        BackendError: there is no GPU or no TensorRT that works, the engine cannot be built, or it does not run.
        MissingExtraError: pycuda is not installed.
        OptionError: EDGEVAD_DLA_CORE asks for what the bundle's target does not allow.
    """
    wish = wish_for(bundle)
    obtained = obtain_engine(wish, progress=on_build)
    if obtained.not_kept is not None:
        _log.warning("the engine runs from memory and will be built again at the next start: %s", obtained.not_kept)
    try:
        backend = _load(bundle, obtained)
        if obtained.made == "refitted":
            _prove(bundle, backend)
        return backend
    except (BundleError, EngineError) as error:
        if obtained.made == "built":
            raise
        # Found and refused, or refitted and wrong: a fresh one is the cure, or shows that it lies elsewhere.
        if on_build is not None:
            on_build(BuildStep(f"building the engine anew: {error.what}"))
    return _load(bundle, obtain_engine(wish, force=True, progress=on_build))


def _load(bundle: Bundle, obtained: ObtainedEngine) -> TensorRtBackend:
    where = bundle.path if obtained.entry is None else obtained.entry.path
    return TensorRtBackend(
        obtained.plan, bundle.manifest.input, where=where, bank=bundle.bank(), released=obtained.release
    )


def _prove(bundle: Bundle, backend: TensorRtBackend) -> None:
    """The self-test, at once: other weights in an old engine are the one thing here that may run and be wrong."""
    from edgevad.runtime.selftest import QUICK_FRAMES, prove

    try:
        prove(bundle, backend, frames=QUICK_FRAMES)
    except BaseException:
        backend.close()
        raise
