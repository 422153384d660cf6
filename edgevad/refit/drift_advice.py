"""What a difference from the calibration calls for.

The order is that of cost. A lens is cleaned before anything is learned from what it shows. Where scores hold, at most
the memory is renewed. Where they do not, it is the part of the score that the network computes by itself, `residual`
(or the only one), that tells how far the network is from explaining what it sees: recalibrating gives the parts new
locations and scales and the memory new frames, but leaves the network as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgevad.refit.drift_figures import Figure
from edgevad.refit.drift_tests import Effect

__all__ = ["ADVICE_LEVELS", "Advice", "Depth", "Finding", "advise", "hardest"]

Depth = Literal["none", "recalibrate", "adapt", "refit"]
Recommended = Literal["none", "clean the lens", "recalibrate", "adapt", "refit"]
ADVICE_LEVELS: tuple[Recommended, ...] = ("none", "recalibrate", "adapt", "refit", "clean the lens")

# Of the frames, without anything to judge: more than rain and a tunnel now and then.
FAULTY_SHARE = 0.1
# How far, in deviates, the network's own score may have moved for each depth (docs/drift.md).
ADAPT_FROM, REFIT_FROM = 2.0, 5.0
_VEILED = 0.35


@dataclass(frozen=True)
class Finding:
    """One figure of a day that differs from the reference's by more than the margin, for certain."""

    figure: Figure
    effect: Effect

    @property
    def sentence(self) -> str:
        """For people: "sharpness is lower: in 94% of all pairs of frames"."""
        effect, name = self.effect, self.figure.name
        if effect.kind == "shift":
            way = "higher" if effect.value > 0.5 else "lower"
            return f"{name} is {way}: in {max(effect.value, 1 - effect.value):.0%} of all pairs of frames"
        if effect.kind == "tail":
            return f"{name}: {effect.value:.0%} of the frames lie where 5% lay"
        return f"{name} lies further out, to either side"

    def to_json(self) -> dict[str, Any]:
        figure = {"figure": self.figure.name, "group": self.figure.group}
        return {**figure, **asdict(self.effect), "sentence": self.sentence}


@dataclass(frozen=True)
class Advice:
    """What to do.

    Attributes:
        what: the first thing to do.
        depth: of adaptation; after "clean the lens", what is called for if it stays as it is.
        sentence: why.
    """

    what: Recommended
    depth: Depth
    sentence: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NOTHING = Advice("none", "none", "nothing differs from the calibration by more than days do")


def advise(
    findings: Sequence[Finding],
    effects: Mapping[str, Sequence[Effect]],
    moved: Mapping[str, float],
    faulty_share: float,
) -> Advice:
    """From what the tests of a day found, from all effects by the figure's name, and from its faulty frames.

    `moved` tells of every score by how many deviates its median lies above the reference's.
    """
    scores = [one for one in findings if one.figure.group == "scores"]
    others = [one for one in findings if one.figure.group != "scores"]
    depth, why = _depth(scores, others, moved)
    if faulty_share >= FAULTY_SHARE:
        return Advice("clean the lens", depth, f"the lens showed nothing to judge in {faulty_share:.0%} of the frames")
    if (dirt := _dirt(findings, effects)) is not None:
        rest = "" if depth == "none" else f"; if it stays so with a clean lens: {depth}, for {why}"
        return Advice("clean the lens", depth, f"{dirt}{rest}")
    if not findings:
        return NOTHING
    return Advice(depth, depth, why)


def hardest(advices: Sequence[Advice]) -> Advice:
    """Of what several cameras call for, what is most."""
    return max(advices, key=lambda one: ADVICE_LEVELS.index(one.what), default=NOTHING)


def _depth(scores: Sequence[Finding], others: Sequence[Finding], moved: Mapping[str, float]) -> tuple[Depth, str]:
    if scores:
        network = next(iter(moved), "")
        by = abs(moved.get(network, 0.0))
        names = ", ".join(dict.fromkeys(one.figure.name.removeprefix("score ") for one in scores))
        depth: Depth = "refit" if by >= REFIT_FROM else "adapt" if by >= ADAPT_FROM else "recalibrate"
        return depth, f"scores are not what they were ({names}); {_words(network)} moved by {by:.1f} deviates"
    memory = [one for one in others if one.figure.group == "memory"]
    if memory:
        return "recalibrate", f"scores hold, and what is seen is not what is remembered: {memory[0].sentence}"
    if others:
        return "none", f"scores hold, though {others[0].sentence}"
    return "none", ""


def _dirt(findings: Sequence[Finding], effects: Mapping[str, Sequence[Effect]]) -> str | None:
    """What a dirty or misted lens does, in words; None where it is not seen."""
    by_name = {one.figure.name: one for one in findings if one.effect.kind == "shift"}
    sharpness, veil = by_name.get("sharpness"), by_name.get("veil")
    if sharpness is not None and sharpness.effect.value < 0.5:
        return sharpness.sentence
    # Both change with the scenery for minutes, so they are seldom certain by themselves.
    shifts = (one for name in ("contrast", "sharpness") for one in effects.get(name, ()) if one.kind == "shift")
    beside = min((one.value for one in shifts), default=0.5)
    if veil is not None and veil.effect.value > 0.5 and beside <= _VEILED:
        return f"a veil lies over the picture, or far too much light: {veil.sentence}"
    return None


def _words(name: str) -> str:
    return name.removeprefix("score ") or "the score"
