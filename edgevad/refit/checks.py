"""The gate's checks, one function each: from answers to a figure, a limit and a sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgevad.refit.answers import CLEAN, Answers
from edgevad.refit.limits import Limits
from edgevad.refit.probes import KINDS
from edgevad.refit.ranking import Interval, auroc, resampled, weighted_auroc
from edgevad.refit.sight import Sight
from edgevad.refit.standing_out import STANDS_OUT
from edgevad.refit.verdict import Check

__all__ = ["check_confirmed", "check_events", "check_log", "check_majority", "check_power", "check_probes", "check_sight"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# With fewer frames that stand out there is nothing to agree about.
_LEAST_EVENT_FRAMES = 10
_WORDS = {"recent": "the recent drives", "replay": "what was learned before"}


def check_sight(sight: Sight, limits: Limits) -> Check:
    """The recent frames show the world."""
    blind, dead = sight.blind_share > limits.max_blind, sight.dead_share > limits.max_dead
    if blind:
        sentence = (
            f"{sight.blind_share:.0%} of the recent frames show nothing: the lens was black, covered or blurred "
            f"(at most {limits.max_blind:.0%}). Clean it; nothing can be learnt from them."
        )
    elif dead:
        sentence = (
            f"{sight.dead_share:.0%} of the picture has stopped to change since before (at most {limits.max_dead:.0%}): "
            "something covers it. Clean the lens; nothing can be learnt there."
        )
    else:
        sentence = f"{1 - sight.blind_share:.0%} of the recent frames show the world."
    details = {"dead_share": sight.dead_share, "structure": sight.structure[0], "structure_before": sight.structure[1]}
    return Check(
        "sight", not (blind or dead), sentence, sight.blind_share, None, limits.max_blind, details=details
    )


def check_log(deviates: Floats, limits: Limits) -> Check:
    """Few of the recent frames stand out from their own drive: more, and nobody can tell which of them is the rule."""
    share = float(np.mean(deviates >= STANDS_OUT))
    passed = share <= limits.max_standing_out
    sentence = f"{share:.1%} of the recent frames stand out from their own drive"
    sentence += (
        f" (at most {limits.max_standing_out:.0%} may)."
        if passed
        else f": too many (at most {limits.max_standing_out:.0%}) to take the log for normal. What it should warn of "
        "would be learnt."
    )
    return Check("log", passed, sentence, share, None, limits.max_standing_out)


def check_majority(name: str, champion: Answers, challenger: Answers, limits: Limits) -> Check:
    """The majority is explained: no more frames beyond the challenger's threshold than beyond the champion's."""
    now, before = challenger.beyond(name), champion.beyond(name)
    limit = before + limits.max_more_alarms
    medians = {
        f"{who}_median": float(np.median(one.judged[name].anomaly))
        for who, one in (("champion", champion), ("challenger", challenger))
    }
    passed = now <= limit and bool(np.isfinite(challenger.judged[name].anomaly).all())
    sentence = f"Of {_WORDS[name]} it finds {now:.1%} beyond its threshold, the champion {before:.1%}"
    sentence += "." if passed else f": more than {limit:.1%}, it explains the majority less well."
    return Check(f"majority, {name}", passed, sentence, now, before, limit, details=medians)


def check_probes(
    name: str, champion: Answers, challenger: Answers, cluster: npt.NDArray[np.int64], limits: Limits
) -> Check:
    """Controlled anomalies stand out as far as before: AUROC of all kinds together, and of each."""
    weights = resampled(cluster, limits.resamples, np.random.default_rng(limits.seed))
    once = np.ones((1, len(cluster)))
    differences, values, details = [], [], {}
    worst, worst_kind = 0.0, ""
    for kind in KINDS:
        both = []
        for who, one in (("champion", champion), ("challenger", challenger)):
            probes, clean = one.pieces[name, kind], one.pieces[name, CLEAN]
            both.append(weighted_auroc(probes, clean, weights, weights))
            details[f"{who}_{kind}"] = float(weighted_auroc(probes, clean, once, once)[0])
        differences.append(both[1] - both[0])
        values.append((details[f"champion_{kind}"], details[f"challenger_{kind}"]))
        loss = values[-1][0] - values[-1][1]
        if loss > worst:
            worst, worst_kind = loss, kind
    before, now = (float(np.mean([pair[k] for pair in values])) for k in (0, 1))
    spread = np.nanmean(np.stack(differences), axis=0)
    tail = 50.0 * (1.0 - limits.confidence)
    low, high = (float(value) for value in np.nanpercentile(spread, (tail, 100.0 - tail)))
    interval = Interval(now - before, low, high)
    together, single = low >= -limits.max_auroc_loss, worst <= limits.max_kind_loss
    sentence = f"Controlled anomalies in {_WORDS[name]}: AUROC {now:.3f}, the champion's {before:.3f} ({low:+.3f} to {high:+.3f})"
    if not together:
        sentence += f": it may have lost more than {limits.max_auroc_loss:.3f}."
    elif not single:
        sentence += f", but {worst_kind} lost {worst:.3f} (at most {limits.max_kind_loss:.3f})."
    else:
        sentence += "."
    return Check(
        f"probes, {name}", together and single, sentence, now, before, -limits.max_auroc_loss, interval, details
    )


def check_power(champion: Answers, challenger: Answers, limits: Limits) -> Check:
    """Probes in replay frames, where the champion's threshold is right, are still beyond the challenger's."""
    shares = []
    for one in (champion, challenger):
        found = np.concatenate([one.pieces["replay", kind] for kind in KINDS])
        shares.append(float(np.mean(found >= one.calibration.threshold)))
    before, now = shares
    limit = before - limits.max_power_loss
    passed = now >= limit
    sentence = f"{now:.0%} of the controlled anomalies in what was learned before are beyond its threshold, {before:.0%} beyond the champion's"
    sentence += "." if passed else f": fewer than {limit:.0%}. It would keep silent about what the champion tells."
    return Check("power", passed, sentence, now, before, limit)


def check_events(deviates: Floats, challenger: Answers, limits: Limits) -> Check:
    """What stood out from its drive for the champion still does for the challenger: AUROC against the calmer half."""
    stood, calm = deviates >= STANDS_OUT, deviates <= np.median(deviates)
    if stood.sum() < _LEAST_EVENT_FRAMES:
        return Check("events", None, "Nothing in the recent frames stood out for the champion.")
    scores = challenger.judged["recent"].anomaly
    value = auroc(scores[stood], scores[calm])
    passed = value >= limits.min_agreement
    sentence = f"What stood out for the champion ({stood.sum()} frames) does so with AUROC {value:.3f}"
    sentence += "." if passed else f" (at least {limits.min_agreement:.2f}): it has come to take it for normal."
    return Check("events", passed, sentence, value, None, limits.min_agreement)


def check_confirmed(confirmed: Flags, champion: Answers, challenger: Answers, limits: Limits) -> Check:
    """Of the events that people confirmed, those the champion tells are told by the challenger."""
    edges = np.flatnonzero(np.diff(np.r_[False, confirmed, False]))
    told = {
        "champion": champion.judged["recent"].anomaly >= champion.calibration.threshold,
        "challenger": challenger.judged["recent"].anomaly >= challenger.calibration.threshold,
    }
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    before = [k for k, (first, last) in enumerate(runs) if told["champion"][first:last].any()]
    if not before:
        return Check("confirmed", None, "No event among the recent frames that people confirmed and the champion tells.")
    kept = sum(bool(told["challenger"][runs[k][0] : runs[k][1]].any()) for k in before)
    share = kept / len(before)
    passed = share >= limits.min_confirmed
    sentence = f"It tells {kept} of the {len(before)} confirmed events that the champion tells"
    sentence += "." if passed else f" (at least {limits.min_confirmed:.0%})."
    return Check("confirmed", passed, sentence, share, 1.0, limits.min_confirmed)


def probe_table(check: Check) -> Mapping[str, tuple[float | None, float | None]]:
    """The AUROC of each kind in a check of probes: (champion, challenger)."""
    details = check.details
    return {kind: (details.get(f"champion_{kind}"), details.get(f"challenger_{kind}")) for kind in KINDS}
