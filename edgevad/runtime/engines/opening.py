"""From a bundle to a TensorRT engine that runs it and has proved itself."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.errors import BundleError, EngineError
from edgevad.runtime.backends.tensorrt import TensorRtBackend
from edgevad.runtime.engines.obtaining import ObtainedEngine, obtain_engine, wish_for
from edgevad.runtime.engines.options import BuildProgress, BuildStep
from edgevad.runtime.toning import with_tones

__all__ = ["open_engine", "open_tensorrt"]

_log = logging.getLogger(__name__)
_REBUILD = "Build its engine anew: edgevad build --force"


def open_tensorrt(bundle: Bundle, *, on_build: BuildProgress | None = None) -> TensorRtBackend:
    """The engine of `bundle` for this machine, loaded and proved; see `open_engine`, whose errors it raises."""
    backend, obtained = open_engine(bundle, on_build=on_build)
    if obtained.not_kept is not None:
        _log.warning("the engine runs from memory and will be built again at the next start: %s", obtained.not_kept)
    return backend


def open_engine(
    bundle: Bundle, *, force: bool = False, must_keep: bool = False, on_build: BuildProgress | None = None
) -> tuple[TensorRtBackend, ObtainedEngine]:
    """The engine of `bundle` for this machine, loaded and proved, and how it came about.

    It is built where the cache has none that can be used. One that was made of an earlier bundle's, by whatever
    process, and fails its self-test is replaced by one that is built. `force` and `must_keep` as for `obtain_engine`.

    Raises:
        BundleError: the bundle is broken, or its self-test gives other scores in the engine that was built for it.
        BackendError: there is no GPU or no TensorRT that works, the engine cannot be built, or it does not run.
        MissingExtraError: pycuda is not installed.
        OptionError: EDGEVAD_DLA_CORE asks for what the bundle's target does not allow.
        OutputError: it cannot be written, and `must_keep` is on.
    """
    # All that is read of the bundle is read before minutes of building: what is wrong with it, no engine cures.
    wish, bank = wish_for(bundle), bundle.bank()
    bundle.selftest()
    bundle.tones()
    obtained = obtain_engine(wish, force=force, must_keep=must_keep, progress=on_build)
    try:
        backend = _load(bundle, bank, obtained)
    except EngineError as error:
        if obtained.made == "built":
            raise
        failure: EngineError | BundleError = error  # after an update that left TensorRT's version number, for one
    else:
        try:
            _prove(bundle, backend, obtained)
            return backend, obtained
        except BundleError as error:
            if obtained.origin == "built":
                raise _told(error, obtained) from error
            failure = error  # new weights in an old engine are the one thing here that may run and be wrong
    if on_build is not None:
        on_build(BuildStep(f"building the engine anew: {failure.what}"))
    obtained = obtain_engine(wish, force=True, must_keep=must_keep, progress=on_build)
    backend = _load(bundle, bank, obtained)
    _prove(bundle, backend, obtained)
    return backend, replace(obtained, why=f"the one there was failed ({failure.what})")


def _load(bundle: Bundle, bank: npt.NDArray[np.float32] | None, obtained: ObtainedEngine) -> TensorRtBackend:
    where = bundle.path if obtained.entry is None else obtained.entry.path
    # The hold alone: the backend lives for long, and the engine's bytes need not.
    released = None if obtained.hold is None else obtained.hold.release
    try:
        return TensorRtBackend(obtained.plan, bundle.manifest.input, where=where, bank=bank, released=released)
    except BaseException:
        obtained.release()
        raise


def _prove(bundle: Bundle, backend: TensorRtBackend, obtained: ObtainedEngine) -> None:
    """The self-test, at once; of an engine that was not built for this bundle all of it."""
    from edgevad.runtime.selftest import QUICK_FRAMES, prove

    try:
        # With the tone curves: the self-test says what comes of both.
        prove(bundle, with_tones(backend, bundle.tones()), frames=QUICK_FRAMES if obtained.origin == "built" else None)
    except BaseException:
        backend.close()
        raise
    bundle.proved.add("tensorrt")


def _told(error: BundleError, obtained: ObtainedEngine) -> BundleError:
    """What failed in an engine from the cache may be the engine's fault alone."""
    if obtained.made != "found":
        return error
    return type(error)(error.what, where=error.where, expected=error.expected, fix=_REBUILD)
