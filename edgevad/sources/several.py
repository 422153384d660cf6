"""Several sources for one pipeline: cameras side by side, or recordings one after the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from edgevad.errors import OptionError
from edgevad.sources.address import without_password
from edgevad.sources.camera import is_live
from edgevad.sources.opening import open_source
from edgevad.sources.source import Source

__all__ = ["open_sources"]


def open_sources(
    specs: Sequence[str | os.PathLike[str]],
    *,
    fps_hz: float | None = None,
    include_deleted: bool = False,
    reconnect: bool = False,
) -> list[Source]:
    """Open what `specs` name: a source for each camera, or one for all recordings. Options as for `open_source`.

    Raises:
        OptionError: nothing is named, a camera is named twice, or cameras and recordings are named together.
        SourceError: as `open_source`; what was opened before is closed again.
    """
    live = [spec for spec in specs if isinstance(spec, str) and is_live(spec)]
    if not live:
        # One source is passed as it is: a list of one is a chain, and a lone device file cannot be in a chain.
        spec = specs[0] if len(specs) == 1 else specs
        return [open_source(spec, fps_hz=fps_hz, include_deleted=include_deleted, reconnect=reconnect)]
    if len(live) < len(specs):
        recording = next(spec for spec in specs if spec not in live)
        raise OptionError(
            "a camera never ends, and a recording beside it does",
            where=os.fspath(recording),
            fix="Run cameras and recordings apart",
        )
    for number, spec in enumerate(live):
        if spec in live[:number]:
            raise OptionError("is named twice", where=without_password(spec), expected="each camera once")
    with ExitStack() as stack:
        opened = [stack.enter_context(open_source(spec, fps_hz=fps_hz, reconnect=reconnect)) for spec in live]
        stack.pop_all()
        return opened
