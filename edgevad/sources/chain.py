"""Several sources, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from edgevad.errors import SourceUnreadableError
from edgevad.sources.frame import Frame
from edgevad.sources.source import Source

__all__ = ["ChainSource"]


class ChainSource(Source):
    """Recordings read one after the other, as one.

    `Frame.index` goes on counting from one member to the next, skipped frames included, so that it is the row of the
    concatenated labels. Each member starts a new segment and keeps its own clock and `source_id`. A member of which no
    frame can be read is counted as skipped; only when that is true of all of them, it is an error.

    Args:
        unopened: why other members could not even be opened, one reason each. Each counts as one skip, and since
            nobody knows how many frames it holds, none of them has an index.
    """

    def __init__(self, members: Sequence[Source], *, name: str, kind: str, unopened: Sequence[str] = ()) -> None:
        super().__init__(name, kind=kind)
        self.members = tuple(members)
        self._unopened = Counter(unopened)
        counts = [member.frame_count_hint for member in self.members]
        known = [count for count in counts if count is not None]
        self.frame_count_hint = sum(known) if len(known) == len(counts) else None
        rates = {member.fps_hint_hz for member in self.members}
        self.fps_hint_hz = rates.pop() if len(rates) == 1 else None

    @property
    def skip_reasons(self) -> Mapping[str, int]:
        return sum((Counter(member.skip_reasons) for member in self.members), self._unopened)

    @property
    def deleted(self) -> int:
        return sum(member.deleted for member in self.members)

    def reads(self, path: Path) -> bool:
        return any(member.reads(path) for member in self.members)

    def reset(self) -> None:
        super().reset()
        for member in self.members:
            member.reset()

    def close(self) -> None:
        super().close()
        for member in self.members:
            member.close()

    def _frames(self) -> Generator[Frame, None, None]:
        first_index = first_segment = 0
        for member in self.members:
            next_segment = first_segment
            frames = iter(member)
            try:
                for frame in frames:
                    self.positions = first_index + member.positions
                    segment = first_segment + frame.segment
                    next_segment = segment + 1
                    yield frame.placed(first_index + frame.index, segment)
            except SourceUnreadableError:
                if next_segment > first_segment or not (member.skipped or member.deleted):
                    raise
            finally:
                frames.close()
            first_index += member.positions
            self.positions = first_index
            first_segment = next_segment
