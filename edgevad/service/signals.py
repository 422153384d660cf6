"""What the outside says to a run: end, or load your settings anew."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["obeying_signals"]


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
