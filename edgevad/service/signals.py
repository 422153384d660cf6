"""What the outside says to a run: end, or load your settings anew."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["noting_hangups", "obeying_signals"]


@contextmanager
def obeying_signals(stop: Callable[[], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM call `stop`, a second one ends the program at once; SIGHUP calls `reload`.

    Both are called in the main thread, between any two of its instructions: they must only leave a message. SIGHUP is
    left as it was where there is nothing to reload.
    """

    def on_stop(number: int, stack: Any) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    handlers: dict[int, Any] = {signal.SIGINT: on_stop, signal.SIGTERM: on_stop}
    if reload is not None:
        handlers[signal.SIGHUP] = lambda number, stack: reload()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def noting_hangups() -> Iterator[Callable[[], bool]]:
    """Within the block SIGHUP ends nothing; gives a function that tells whether one has come, and forgets it.

    For the time before there is something to reload, and after.
    """
    came = [False]

    def note(number: int, stack: Any) -> None:
        came[0] = True

    def was_asked() -> bool:
        asked, came[0] = came[0], False
        return asked

    before = signal.signal(signal.SIGHUP, note)
    try:
        yield was_asked
    finally:
        signal.signal(signal.SIGHUP, before)
