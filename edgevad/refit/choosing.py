"""Which frames of which drives a model is re-fitted with (docs/refit.md, "What is learnt from")."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad._files import sha256_of
from edgevad.bundle.bundle import Bundle
from edgevad.errors import OptionError, RefitError
from edgevad.refit.blurring import Blur, blurred
from edgevad.refit.coverage import evenly, nearest, pick
from edgevad.refit.descriptors import Describer
from edgevad.refit.footage import CONFIRMED, Footage
from edgevad.refit.gathering import gather
from edgevad.refit.observer import RefitObserver
from edgevad.refit.pieces import HELD_OUT_SHARE, Piece, cut, hold_out, thinned
from edgevad.refit.selection import ChosenDrive, Selection
from edgevad.refit.taking import Taken, take
from edgevad.runtime.remembering import Rememberer
from edgevad.runtime.shrinking import shrink
from edgevad.spec import InputSpec

__all__ = ["BUDGET_FRAMES", "select"]

Floats = npt.NDArray[np.float64]

#: Frames to take in all, a fifth of them for the gate.
BUDGET_FRAMES = 2500
# So many pieces are looked at; of more, these spread evenly: a budget of thousands cannot use them all anyway.
_MOST_PIECES = 4000
# So many frames of a piece are looked at, and it is as new as the middle one: one odd frame makes no piece new.
_LOOKS = 3
_NOVELTY_FRAMES = 60


def select(
    drives: Sequence[str | PathLike[str]],
    spec: InputSpec,
    work: Path,
    *,
    bundle: Bundle | None = None,
    budget_frames: int = BUDGET_FRAMES,
    since_ns: int | None = None,
    cameras: Collection[str] | None = None,
    blur: Blur | None = None,
    events: Path | None = None,
    observer: RefitObserver | None = None,
) -> Selection:
    """Choose frames to learn from and to judge by, and write them at the model's input size into `work`.

    Args:
        drives: folders of logged drives, single drives ("DRIVE?camera=front", too), other recordings.
        spec: size and motion that the model is fed.
        bundle: the one in use: what it remembers tells what is new; None: only the drives are compared.
        budget_frames: frames to take at most, those held out for the gate included.
        since_ns: nothing that ended before this Unix time is taken.
        cameras: only these, by `Frame.source_id`; None means all.
        blur: what makes people unrecognisable, before a frame is resized (see `edgevad.refit.blurring`).
        events: folder of the event store whose marks count; None: nobody marked any.

    Raises:
        OptionError: no drive is named, or the budget is not above 0.
        SourceError, StoreError: a recording, or the store, cannot be read.
        RefitError: nothing is left to learn from; the blur fails.
        OutputError: `work` cannot be written.
    """
    if budget_frames < 1:
        raise OptionError(f"a budget of {budget_frames} frames", expected="1 or more")
    observer = observer or RefitObserver()
    observer.stage("looking through", None)
    gathered = gather(drives, since_ns=since_ns, cameras=cameras, events=events, on_leg=observer.advance)
    footage, notes = gathered.footage, list(gathered.notes)
    paths = list(dict.fromkeys(one.path for one in footage))
    rows = [thinned(one.index) for one in footage]
    notes += [note for note in map(_faults_of, footage) if note]
    pieces = cut(footage, rows, [paths.index(one.path) for one in footage])
    if not pieces:
        raise RefitError("nothing is left to learn from", where=_named(drives), fix=" ".join(notes))
    chooser = _Chooser(footage, spec, bundle, blur, observer)
    taken, held = chooser.choose(pieces, budget_frames)
    observer.stage("taking", sum(len(pieces[k]) for k in taken))
    found = take(footage, [pieces[k] for k in taken], held[taken], spec, work, blur=blur, observer=observer)
    if found.blind:
        notes.append(f"{found.blind} frames more showed nothing (black, or without any structure).")
    if not len(found):
        raise RefitError("not one frame can be used", where=_named(drives), fix=" ".join(notes))
    numbers = np.array([paths.index(one.path) for one in footage], np.int32)
    return Selection(
        cache=found.cache,
        weight=found.weight,
        in_event=found.in_event,
        anomaly=found.anomaly,
        drive=numbers[found.footage],
        held_out=found.held_out,
        drives=chooser.chosen_drives(paths, found),
        notes=tuple(notes),
        blind_share=_blind_share(footage, found),
    )


class _Chooser:
    """What is compared by what."""

    def __init__(
        self,
        footage: Sequence[Footage],
        spec: InputSpec,
        bundle: Bundle | None,
        blur: Blur | None,
        observer: RefitObserver,
    ) -> None:
        self._footage = footage
        self._size = (spec.width_px, spec.height_px)
        self._blur = blur
        self._observer = observer
        rememberer = None if bundle is None else Rememberer.of(bundle)
        replay = None if bundle is None else bundle.replay()
        self._own = None if replay is None else replay.segment
        self.describer = Describer(
            None if rememberer is None else rememberer.coordinates, None if replay is None else replay.images
        )

    def choose(
        self, pieces: Sequence[Piece], budget_frames: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Rows (n,) of `pieces` to take, and for all of them (N,) whether they would be held out."""
        order = sorted(range(len(pieces)), key=lambda k: (pieces[k].start_ns, pieces[k].drive, pieces[k].footage))
        if len(order) > _MOST_PIECES:
            order = sorted(evenly(len(order))[:_MOST_PIECES])
        duration_s = sum(_duration_s(self._footage[pieces[k].footage], pieces[k]) for k in order)
        held = hold_out(pieces, duration_s)
        confirmed = np.array([_is_confirmed(self._footage[piece.footage], piece) for piece in pieces], np.bool_)
        held |= confirmed
        fit = [k for k in order if not held[k]]
        gate = [k for k in order if held[k]]
        gate_frames = round(HELD_OUT_SHARE * budget_frames) if fit else budget_frames
        # What people confirmed is what the gate asks about first.
        sure = [k for k in gate if confirmed[k]]
        rest = [k for k in gate if not confirmed[k]]
        for_gate = _taken(sure, pick([pieces[k] for k in sure], gate_frames))
        left = gate_frames - sum(len(pieces[k]) for k in for_gate)
        for_gate += _taken(rest, pick([pieces[k] for k in rest], left))
        budget_frames -= sum(len(pieces[k]) for k in for_gate)
        for_fit = _taken(fit, pick([pieces[k] for k in fit], budget_frames, self._describe, self.describer.known))
        return np.array(sorted(for_gate + for_fit), np.int64), held

    def chosen_drives(self, paths: Sequence[str], found: Taken) -> tuple[ChosenDrive, ...]:
        """What was taken of each drive, in the order of `paths`, and how new it is."""
        numbers = np.array([paths.index(one.path) for one in self._footage], np.int64)[found.footage]
        described = self._described(found, numbers)
        chosen = []
        for number, path in enumerate(paths):
            mine = [one for one in self._footage if one.path == path]
            used = {int(k) for k in np.unique(found.footage[numbers == number])}
            taken = [one for k, one in enumerate(self._footage) if k in used]
            novelty = self._novelty(described, number)
            start_ns, end_ns = _span_of(mine)
            legs = dict.fromkeys(leg for one in taken for leg in one.legs)
            chosen.append(
                ChosenDrive(
                    name=mine[0].drive,
                    path=path,
                    cameras=tuple(one.camera for one in taken),
                    legs={leg.path.name: leg.sha256 or sha256_of(leg.path) for leg in legs},
                    start_ns=start_ns,
                    end_ns=end_ns,
                    frames=int((numbers == number).sum()),
                    novelty=novelty,
                    reason=_reason(found, numbers == number, novelty),
                )
            )
        return tuple(chosen)

    def _described(self, found: Taken, numbers: npt.NDArray[np.int64]) -> dict[int, Floats]:
        """Of each drive's frames away from events, a few, evenly, as they are described."""
        described = {}
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero((numbers == number) & (found.weight == 1.0))
            if len(rows):
                rows = rows[np.linspace(0, len(rows) - 1, min(_NOVELTY_FRAMES, len(rows))).astype(np.int64)]
                described[number] = self.describer(np.stack([found.cache.images[row] for row in rows]))
        return described

    def _novelty(self, described: Mapping[int, Floats], number: int) -> float:
        """How far the drive's frames lie from what was known, in units of how far that lies from itself."""
        mine = described.get(number)
        known, own = self.describer.known, self._own
        if known is None:
            others = [one for k, one in described.items() if k != number]
            if not others:
                return math.nan
            known = np.concatenate(others)
            own = None
        if mine is None:
            return math.nan
        usual = _usual_distance(known, own)
        return math.nan if usual == 0 else float(np.sqrt(np.median(nearest(mine, known)))) / usual

    def _describe(self, pieces: Sequence[Piece]) -> Floats:
        """(n, k, d): a few frames of each piece; one that cannot be read counts as a usual one."""
        looks: dict[int, dict[int, list[tuple[int, int]]]] = {}  # footage, row, which piece and look
        for k, piece in enumerate(pieces):
            rows = piece.rows[((np.arange(_LOOKS) + 0.5) / _LOOKS * len(piece)).astype(np.int64)]
            for look, row in enumerate(rows.tolist()):
                looks.setdefault(piece.footage, {}).setdefault(row, []).append((k, look))
        self._observer.stage("comparing", sum(map(len, looks.values())))
        found: Floats | None = None
        done = 0
        for number, wanted in looks.items():
            for row, frame in self._footage[number].frames(np.array(sorted(wanted), np.int64)):
                done += 1
                self._observer.advance(done)
                small = shrink(blurred(frame, self._blur).image, self._size)
                described = self.describer(small[None])[0]
                if found is None:
                    found = np.full((len(pieces), _LOOKS, len(described)), np.nan)
                for place in wanted[row]:
                    found[place] = described
        if found is None:
            return np.zeros((len(pieces), _LOOKS, 1))
        missing = np.isnan(found[..., 0])
        found[missing] = np.nanmedian(found.reshape(-1, found.shape[-1]), axis=0)
        return found


def _taken(order: Sequence[int], picked: Sequence[int]) -> list[int]:
    return [order[k] for k in picked]


def _is_confirmed(footage: Footage, piece: Piece) -> bool:
    return bool((footage.index.event[piece.rows] == CONFIRMED).any())


def _duration_s(footage: Footage, piece: Piece) -> float:
    last, first = piece.rows[-1], piece.rows[0]
    return float(footage.index.timestamp_ns[last] - footage.index.timestamp_ns[first]) / 1e9


def _usual_distance(known: Floats, segment: npt.NDArray[np.int32] | None) -> float:
    """Median distance of a frame to the nearest of another segment; of any other frame where there is but one."""
    norms = np.sum(known**2, axis=1)
    squared = np.maximum(norms[:, None] + norms[None] - 2.0 * known @ known.T, 0.0)
    same = np.eye(len(known), dtype=np.bool_)
    if segment is not None and len(np.unique(segment)) > 1:
        same = segment[:, None] == segment[None]
    squared[same] = np.inf
    found = squared.min(axis=1)
    found = found[np.isfinite(found)]
    return float(np.sqrt(np.median(found))) if len(found) else 0.0


def _faults_of(footage: Footage) -> str:
    faults = int(footage.index.fault.sum())
    if not faults:
        return ""
    return f"{footage.drive}, {footage.camera}: {faults} of {len(footage.index)} images showed nothing to judge."


def _blind_share(footage: Sequence[Footage], found: Taken) -> float:
    """Of the images: by what was logged or seen of each, and by a look at those that were taken for good ones."""
    total = sum(len(one.index) for one in footage)
    faults = sum(int(one.index.fault.sum()) for one in footage)
    missed = found.blind / (found.blind + len(found))
    return (faults + missed * (total - faults)) / total


def _reason(found: Taken, mine: npt.NDArray[np.bool_], novelty: float) -> str:
    if not mine.any():
        return "Nothing of it fitted into the budget."
    new = "" if math.isnan(novelty) else f"; its views are {novelty:.1f} times as far from what is known as usual"
    events, held = int(found.in_event[mine].sum()), int(found.held_out[mine].sum())
    return f"{int(mine.sum())} frames, {held} of them for the gate, {events} inside events{new}."


def _span_of(footage: Sequence[Footage]) -> tuple[int, int]:
    """First and last time of a drive, Unix time; zeros where the recording has no clock."""
    times = [one.index.time_ns for one in footage if one.clock and len(one.index)]
    return (min(int(one.min()) for one in times), max(int(one.max()) for one in times)) if times else (0, 0)


def _named(drives: Sequence[str | PathLike[str]]) -> str:
    return ", ".join(map(str, drives))
