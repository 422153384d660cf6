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
from edgevad.refit.standing_out import FAR_OUT, STANDS_OUT
from edgevad.refit.verdict import Check

__all__ = [
    "check_confirmed",
    "check_events",
    "check_log",
    "check_majority",
    "check_power",
    "check_probes",
    "check_sight",
    "probe_table",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# With fewer frames that stand out there is nothing to agree about.
_LEAST_EVENT_FRAMES = 15
# Deviates from what is usual in its drive at which an event is one, whatever the condition; and its least frames.
EVENT = 5.0
_LEAST_RUN = 3
# A kind of probe that the champion tells from clean frames, and how many of those it has to find for a share of it to
# mean anything.
_SEEN_AUROC = 0.8
_LEAST_POWER = 0.1
_WORDS = {"recent": "the recent drives", "replay": "what was learned before"}


def check_sight(sight: Sight, left_out: float, limits: Limits) -> Check:
    """The recent frames show the world. `left_out`: share of them that was left out already, since it did not."""
    share = left_out + (1.0 - left_out) * sight.blind_share
    blind, dead = share > limits.max_blind, sight.dead_share > limits.max_dead
    if blind:
        sentence = (
            f"{share:.0%} of the recent frames show nothing: the lens was black, covered or blurred "
            f"(at most {limits.max_blind:.0%}). Clean it; nothing can be learnt from them."
        )
    elif dead:
        sentence = (
            f"{sight.dead_share:.0%} of the picture has stopped to change (at most {limits.max_dead:.0%}): "
            "something covers it, or the vehicle stood. Clean the lens, and drive."
        )
    else:
        sentence = f"{1 - share:.0%} of the recent frames show the world."
    details = {"dead_share": sight.dead_share, "structure": sight.structure[0], "structure_before": sight.structure[1]}
    return Check("sight", not (blind or dead), sentence, share, None, limits.max_blind, details=details)


def check_log(deviates: Floats, limits: Limits) -> Check:
    """Few of the recent frames stand out from their own drive: more, and nobody can tell which of them is the rule."""
    share, far = (float(np.mean(deviates >= level)) if len(deviates) else 0.0 for level in (STANDS_OUT, FAR_OUT))
    passed = share <= limits.max_standing_out and far <= limits.max_far_out
    allowed = f"at most {limits.max_standing_out:.0%} and {limits.max_far_out:.1%}"
    sentence = f"{share:.1%} of the recent frames stand out from their own drive, {far:.1%} far ({allowed})"
    if not passed:
        sentence += ": too many to take the log for normal. What it should warn of would be learnt"
    return Check("log", passed, f"{sentence}.", share, None, limits.max_standing_out, details={"far_out": far})


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
    """Controlled anomalies stand out as far as before: AUROC, the mean over the kinds, and of each kind.

    A kind that a model cannot see at all may rank below chance by accident, and counts as chance then: there is no gap
    to keep.
    """
    weights = resampled(cluster, limits.resamples, np.random.default_rng(limits.seed))
    before = {kind: _kind_auroc(champion, name, kind, weights) for kind in KINDS}
    now = {kind: _kind_auroc(challenger, name, kind, weights) for kind in KINDS}
    differences = np.mean([now[kind] - before[kind] for kind in KINDS], axis=0)  # the first is of no resampling
    tail = 50.0 * (1.0 - limits.confidence)
    low, high = (float(value) for value in np.nanpercentile(differences[1:], (tail, 100.0 - tail)))
    worst = max(KINDS, key=lambda kind: float(before[kind][0] - now[kind][0]))
    loss = float(before[worst][0] - now[worst][0])
    means = [float(np.mean([one[kind][0] for kind in KINDS])) for one in (before, now)]
    together, single = low >= -limits.max_auroc_loss, loss <= limits.max_kind_loss
    sentence = (
        f"Controlled anomalies in {_WORDS[name]} have AUROC {means[1]:.3f}, by the champion {means[0]:.3f} "
        f"({low:+.3f} to {high:+.3f})"
    )
    if not together:
        sentence += f": more than {limits.max_auroc_loss:.3f} may be lost."
    elif not single:
        sentence += f", but {worst} loses {loss:.3f} (at most {limits.max_kind_loss:.3f})."
    else:
        sentence += "."
    details = {
        f"{who}_{kind}": float(values[kind][0])
        for who, values in (("champion", before), ("challenger", now))
        for kind in KINDS
    }
    interval = Interval(float(differences[0]), low, high)
    limit = -limits.max_auroc_loss
    return Check(f"probes, {name}", together and single, sentence, means[1], means[0], limit, interval, details)


def _kind_auroc(one: Answers, name: str, kind: str, weights: Floats) -> Floats:
    """(1 + B,): of all pieces, then of each of the B resamplings (B, K) in `weights`; never below chance."""
    all_weights = np.concatenate([np.ones((1, weights.shape[1])), weights])
    found = weighted_auroc(one.pieces[name, kind], one.pieces[name, CLEAN], all_weights, all_weights)
    return np.asarray(np.maximum(found, 0.5), dtype=np.float64)


def check_power(champion: Answers, challenger: Answers, limits: Limits) -> Check:
    """Controlled anomalies are still beyond the challenger's threshold, in what was learned before or in what is new.

    The champion's own share is taken where its threshold is right, on replay. Where a new condition makes all scores
    larger, one threshold cannot be right for both; the vehicle lives in the new one. Asked of the kinds that the
    champion tells from clean frames at all. A challenger that took anomalies for normal has a calibration that bears
    them, and keeps silent; the order of its scores hardly shows it.
    """
    clean = champion.pieces["replay", CLEAN]
    kinds = [kind for kind in KINDS if auroc(champion.pieces["replay", kind], clean) >= _SEEN_AUROC]
    before = _told(champion, "replay", kinds)
    shares = {
        name: _told(challenger, name, kinds) for name in ("replay", "recent") if (name, CLEAN) in challenger.pieces
    }
    where = max(shares, key=lambda name: shares[name])
    now = shares[where]
    if before < _LEAST_POWER:
        return Check(
            "power", None, "The champion finds hardly any controlled anomaly beyond its threshold.", now, before
        )
    limit = limits.min_power * before
    passed = now >= limit
    sentence = (
        f"Of controlled anomalies in {_WORDS[where]} it finds {now:.0%} beyond its threshold, the champion "
        f"{before:.0%} in what was learned before"
    )
    sentence += "." if passed else f": fewer than {limit:.0%}. It would keep silent about what the champion tells."
    return Check("power", passed, sentence, now, before, limit, details=shares)


def _told(one: Answers, name: str, kinds: list[str]) -> float:
    """Share of the probes of these kinds in a set that are beyond the threshold, 0 of none."""
    shares = [float(np.mean(one.pieces[name, kind] >= one.calibration.threshold)) for kind in kinds]
    return sum(shares) / max(len(shares), 1)


def check_events(deviates: Floats, told: Flags, segment: npt.NDArray[np.integer], limits: Limits) -> Check:
    """What stood out from its drive for the champion is told by the challenger, some of it at least.

    Not all: the champion is wrong about what has become usual since. `deviates` (N,) as `own_deviates` gives them,
    `told` (N,) what the challenger finds beyond its threshold.
    """
    events = _runs(deviates >= EVENT, segment)
    if sum(last - first for first, last in events) < _LEAST_EVENT_FRAMES:
        return Check("events", None, "Next to nothing in the recent frames stood out from its drive for the champion.")
    share = sum(bool(told[first:last].any()) for first, last in events) / len(events)
    passed = share >= limits.min_told
    sentence = f"Of {len(events)} events that stood out from their drive for the champion it tells {share:.0%}"
    sentence += "." if passed else f" (at least {limits.min_told:.0%}): it has come to take such things for normal."
    return Check("events", passed, sentence, share, 1.0, limits.min_told)


def check_confirmed(
    confirmed: Flags, segment: npt.NDArray[np.integer], champion: Answers, challenger: Answers, limits: Limits
) -> Check:
    """Of the events that people confirmed, those the champion tells are told by the challenger."""
    told = {
        "champion": champion.judged["recent"].anomaly >= champion.calibration.threshold,
        "challenger": challenger.judged["recent"].anomaly >= challenger.calibration.threshold,
    }
    runs = _runs(confirmed, segment)
    before = [k for k, (first, last) in enumerate(runs) if told["champion"][first:last].any()]
    if not before:
        return Check(
            "confirmed", None, "No event among the recent frames that people confirmed and the champion tells."
        )
    kept = sum(bool(told["challenger"][runs[k][0] : runs[k][1]].any()) for k in before)
    share = kept / len(before)
    passed = share >= limits.min_confirmed
    sentence = f"It tells {kept} of the {len(before)} confirmed events that the champion tells"
    sentence += "." if passed else f" (at least {limits.min_confirmed:.0%})."
    return Check("confirmed", passed, sentence, share, 1.0, limits.min_confirmed)


def _runs(flags: Flags, segment: npt.NDArray[np.integer]) -> list[tuple[int, int]]:
    """First and last (exclusive) of each run of flagged frames of one segment, as short as _LEAST_RUN at least."""
    found = []
    rows = np.flatnonzero(flags)
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(segment[rows]) != 0)) + 1
    for run in np.split(rows, breaks):
        if len(run) >= _LEAST_RUN:
            found.append((int(run[0]), int(run[-1]) + 1))
    return found


def probe_table(check: Check) -> Mapping[str, tuple[float | None, float | None]]:
    """The AUROC of each kind in a check of probes: (champion, challenger)."""
    details = check.details
    return {kind: (details.get(f"champion_{kind}"), details.get(f"challenger_{kind}")) for kind in KINDS}
