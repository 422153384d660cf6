"""Several labelled clips as one recording, for `edgevad.evaluation.evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgevad.datasets.clip import Clip
from edgevad.errors import LabelError, OptionError
from edgevad.evaluation.labels import Labels
from edgevad.sources.chain import ChainSource
from edgevad.sources.source import Source

__all__ = ["ClipLabels", "labelled_recording"]

# These list their frames; others state a duration. A file may still hold a frame or two less than it lists.
_STATE_LENGTH = (".avi", ".mp4")
_SLACK = 2


@dataclass(frozen=True, eq=False)
class ClipLabels(Labels):
    """Labels of clips that are read one after the other, each its own segment; gaps inside are the sources' business.

    How many frames a clip has is certain only once it was read: a video may announce more than it holds, and labels may
    be ranges. So it is `fitted` that puts the clips' labels together, each by what its own source has counted.

    Attributes:
        clips: for each clip its source and its labels.
    """

    clips: tuple[tuple[Source, Labels], ...] = ()

    def fitted(self, frame_count: int, recording: str = "the recording") -> Labels:
        """The labels of all clips as one, after a whole pass over their sources.

        Raises:
            LabelError: a clip has another number of frames than labels, or there is nothing to tell apart.
        """
        parts = [labels.covering(source.positions, source.name) for source, labels in self.clips]
        return _joined(parts, self.path).fitted(frame_count, recording)


def labelled_recording(
    clips: Sequence[Clip], name: str, *, fps_hz: float | None = None
) -> tuple[ChainSource, ClipLabels]:
    """Open `clips` as one recording called `name`, and read their labels; the caller closes the source.

    `fps_hz` overrides what the clips say of themselves.

    Raises:
        OptionError: there are no clips.
        LabelError: labels are missing, broken or do not fit, or not one frame is anomalous.
        MissingExtraError: reading them needs a package that is not installed.
        SourceError: a clip cannot be opened.
    """
    if not clips:
        raise OptionError("there are no clips", expected="at least one labelled clip")
    labels = []
    for clip in clips:
        if clip.labels is None:
            raise LabelError(f"clip {clip.name} has no labels", where=clip.source, expected="labelled clips")
        labels.append(clip.labels)
    known = _joined(labels, name)
    recording = ClipLabels(known.level, known.event, None, name, open_ended=True)
    recording.require_both_classes()
    sources: list[Source] = []
    try:
        for clip in clips:
            sources.append(clip.open(fps_hz=fps_hz))
            _refuse_misfit(clip, sources[-1])
    except BaseException:
        for source in sources:
            source.close()
        raise
    recording = replace(recording, clips=tuple(zip(sources, labels, strict=True)))
    return ChainSource(sources, name=name, kind="list"), recording


def _refuse_misfit(clip: Clip, source: Source) -> None:
    """Raises LabelError, before hours of scoring, where labels cannot belong to a video that states its length."""
    labels, count = clip.labels, source.frame_count_hint
    if labels is None or count is None or not clip.source.lower().endswith(_STATE_LENGTH):
        return
    if len(labels) > count + _SLACK or (len(labels) < count - _SLACK and not labels.open_ended):
        raise labels.length_error(str(count), clip.source)


def _joined(parts: Sequence[Labels], path: str | None) -> Labels:
    level = np.concatenate([part.level for part in parts])
    return Labels(level, tuple(name for part in parts for name in part.event), None, path)
