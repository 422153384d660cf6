"""One stretch of driving against a bundle's reference: which figures differ, and what that calls for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.refit.drift_advice import NOTHING, Advice, Finding, advise
from edgevad.refit.drift_figures import Figure
from edgevad.refit.drift_reference import DriftReference
from edgevad.refit.drift_sample import Sample
from edgevad.refit.drift_tests import MARGIN, Effect, Kind, effects_of, holm

__all__ = ["Comparison", "compare"]

# Scores are compared with those of the frames that the network was fitted to: others lie higher without any drift
# (docs/drift.md), so theirs is wider by this.
_SCORES_MARGIN = 0.1


@dataclass(frozen=True)
class Comparison:
    """What driving of a camera is like beside the reference.

    Attributes:
        effects: by the figure's name; a figure that no frame has is not there.
        findings: those that differ by more than the margin for certain.
        lasting: those among them that are here because they had been found before, and are still beyond the margin.
        moved: of each score, by how many deviates its median lies above the reference's.
        faulty_share: of frames whose lens showed nothing to judge.
        driven_s: seconds of driving that were looked at.
        blocks: pieces of ten seconds that these are worth, correlation taken off; of the figure with most.
        advice: what it calls for.
    """

    effects: dict[str, tuple[Effect, ...]]
    findings: tuple[Finding, ...]
    lasting: frozenset[tuple[str, Kind]]
    moved: dict[str, float]
    faulty_share: float
    driven_s: float
    blocks: float
    advice: Advice = NOTHING

    @property
    def has_drifted(self) -> bool:
        return bool(self.findings)

    @property
    def found(self) -> frozenset[tuple[str, Kind]]:
        """Names of the figures, and kinds of effects, that were found."""
        return frozenset((finding.figure.name, finding.effect.kind) for finding in self.findings)

    def shifts(self) -> dict[str, float]:
        """P(day > reference) of each figure."""
        effects = ((name, effect) for name, several in self.effects.items() for effect in several)
        return {name: effect.value for name, effect in effects if effect.kind == "shift"}

    def to_json(self) -> dict[str, Any]:
        return {
            "drifted": self.has_drifted,
            "advice": self.advice.to_json(),
            "findings": [
                {**finding.to_json(), "lasting": (finding.figure.name, finding.effect.kind) in self.lasting}
                for finding in self.findings
            ],
            "effects": {name: [asdict(effect) for effect in effects] for name, effects in self.effects.items()},
            "moved": self.moved,
            "faulty_share": self.faulty_share,
            "driven_s": self.driven_s,
            "blocks": self.blocks,
        }


def compare(
    reference: DriftReference,
    sample: Sample,
    *,
    alpha: float,
    margin: float = MARGIN,
    before: Collection[tuple[str, Kind]] = (),
) -> Comparison:
    """Test `sample`, driving of one camera, against `reference`: any false finding has at most the chance `alpha`.

    What was found `before` is found again as long as it is beyond the margin at all.
    """
    block = sample.blocks()
    effects: dict[str, tuple[Effect, ...]] = {}
    tested: list[Finding] = []
    moved: dict[str, float] = {}
    for k, figure in enumerate(reference.figures):
        kinds, upward = _kinds(figure)
        values, number = reference.column(k)
        found = effects_of(
            sample.values[:, k],
            block,
            values,
            number,
            kinds=kinds,
            margin=_margin(figure, margin),
            tolerance=figure.tolerance,
            upward=upward,
        )
        if found is not None:
            effects[figure.name] = tuple(found)
            tested += [Finding(figure, effect) for effect in found]
            if figure.is_score:
                moved[figure.name] = _median(sample.values[:, k]) - _median(values)
    refused = holm([finding.effect.p for finding in tested], alpha)
    lasting = frozenset(
        (one.figure.name, one.effect.kind)
        for one, is_refused in zip(tested, refused, strict=True)
        if not is_refused and (one.figure.name, one.effect.kind) in before and _is_beyond(one)
    )
    findings = tuple(
        one
        for one, is_refused in zip(tested, refused, strict=True)
        if is_refused or (one.figure.name, one.effect.kind) in lasting
    )
    share = _faulty_share(reference, sample)
    return Comparison(
        effects,
        findings,
        lasting,
        moved,
        share,
        sample.driven_s,
        max((effect.blocks for one in effects.values() for effect in one), default=0.0),
        advise(findings, effects, moved, share),
    )


def _is_beyond(finding: Finding) -> bool:
    """Whether an effect is beyond the margin, certain or not."""
    _, upward = _kinds(finding.figure)
    size = finding.effect.size
    distance = size if upward or finding.effect.kind != "shift" else abs(size)
    return distance > finding.effect.margin


def _margin(figure: Figure, margin: float) -> float:
    return margin + _SCORES_MARGIN if figure.is_score else margin


def _faulty_share(reference: DriftReference, sample: Sample) -> float:
    """Of the frames whose scores were asked for: an image has a row of its own."""
    asked = np.isnan(sample.values[:, reference.first_image_column :]).all(axis=1)
    return float(sample.faulty[asked].mean()) if asked.any() else 0.0


def _kinds(figure: Figure) -> tuple[tuple[Kind, ...], bool]:
    """Which effects count, and whether upward ones only: being nearer to the middle of what is known does no harm."""
    if figure.is_score:
        # Down as well: through a dirty lens there is less to explain, and less to be seen.
        return ("shift", "tail"), False
    return (("shift", "tail"), True) if figure.name == "memory distance" else (("shift", "spread"), False)


def _median(values: npt.NDArray[np.float32]) -> float:
    return float(np.nanmedian(values))
