"""The gate's checks of graph and machine: self-test, quantisation, latency."""

from __future__ import annotations

from edgevad.bundle.bundle import Bundle
from edgevad.calibration.guard import GuardLimits
from edgevad.errors import BackendError, BundleError
from edgevad.model.cache import FrameCache
from edgevad.refit.limits import Limits
from edgevad.refit.precision import quantised_agreement
from edgevad.refit.verdict import Check
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.measuring import Measurement, made_up_images, measure
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.selftest import prove

__all__ = ["check_latency", "check_quantisation", "check_self_test"]

_MEASURED_S = 2.0
_FPS_HZ = 20.0
_TRIES = 3
_SIZE_PX = (640, 480)


def check_self_test(bundle: Bundle, engine: Backend) -> Check:
    """All self-test frames score in this very engine what they did when the bundle was made."""
    try:
        worst = prove(bundle, engine)
    except (BundleError, BackendError) as error:
        return Check("self-test", False, f"The challenger fails its self-test on this machine: {error.what}.")
    limit = bundle.manifest.selftest_rtol
    sentence = f"Its self-test passes on this machine, off by {worst:.1e} at most."
    return Check("self-test", True, sentence, worst, None, limit)


def check_quantisation(
    bundle: Bundle, engine: Backend, recent: FrameCache, limits: Limits, threads: int | None = None
) -> Check:
    """The engine tells the car the same as the challenger's own float graph, on recent frames (docs/export.md)."""
    guard = GuardLimits(max_rank_loss=limits.max_rank_loss, max_flips=limits.max_flips)
    found = quantised_agreement(bundle, engine, recent, guard, tones=bundle.tones(), threads=threads)
    if found is None:
        return Check("quantisation", None, "It computes in float32; nothing was quantised.")
    sentence = f"Its {bundle.manifest.precision.upper()} graph keeps {1 - found.rank_loss:.4f} of the rank correlation"
    sentence += "." if found.passed else f": {'; '.join(found.failures)}."
    details = {"flips": found.flips, "tail": found.tail, "heatmap": found.heatmap}
    return Check(
        "quantisation", found.passed, sentence, 1 - found.rank_loss, None, 1 - limits.max_rank_loss, details=details
    )


def check_latency(
    champion: Bundle, challenger: Bundle, limits: Limits, backend: str | None, threads: int | None
) -> Check:
    """99 of 100 frames within the budget of the target's profile; where the champion misses it too, hardly slower.

    A miss is measured again, up to twice: other programs make one, too, and do not make three in a row.
    """
    manifest = challenger.manifest
    if backend is not None and backend != manifest.backend:
        sentence = f"Not measured: {backend} stands in for {manifest.backend}, the engine it is for."
        return Check("latency", None, sentence)
    budget_s = manifest.device().latency_budget_ms / 1e3
    images = made_up_images(_SIZE_PX, 8)

    def measured(bundle: Bundle) -> Measurement:
        with Scorer.from_bundle(bundle, backend=backend, threads=threads) as scorer:
            return measure(scorer, images, seconds=_MEASURED_S, camera_fps_hz=_FPS_HZ, budget_s=budget_s)

    for _ in range(_TRIES):
        now = measured(challenger)
        if now.is_within_budget:
            break
    before = measured(champion)
    now_ms, before_ms = (1e3 * one.latency.percentile_s(99) for one in (now, before))
    medians_ms = [1e3 * one.engine_latency.percentile_s(50) for one in (before, now)]
    is_in_time = bool(now.is_within_budget)
    is_busy = not before.is_within_budget and medians_ms[1] <= limits.max_slower * medians_ms[0]
    sentence = f"99 of 100 frames take {now_ms:.1f} ms on this machine of {1e3 * budget_s:g} ms ({now.engine})"
    if not is_in_time:
        sentence += (
            f"; the champion misses that as well, with {before_ms:.1f} ms, and its engine is no quicker."
            if is_busy
            else ": too slow."
        )
    else:
        sentence += "."
    details = {"champion_median_ms": medians_ms[0], "challenger_median_ms": medians_ms[1]}
    return Check("latency", is_in_time or is_busy, sentence, now_ms, before_ms, 1e3 * budget_s, details=details)
