"""One thread that owns what may not be touched from another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["OwnerThread", "ThreadClosedError"]

T = TypeVar("T")


class ThreadClosedError(Exception):
    """A function came after the thread's end."""


class _Call:
    """A function on its way to the thread and what came of it on the way back."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Event()


class OwnerThread:
    """Runs functions, one after the other, in one thread that lives until `close`.

    A CUDA context is current in one thread, and most of what goes wrong with it comes from a second one. So everything
    that belongs to it is made, used and released here.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        # A daemon: a program that forgets to close must still be able to end.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread, wait for it, and return or raise what it did.

        Raises:
            ThreadClosedError: the thread has been closed.
        """
        if threading.current_thread() is self._thread:
            return function()
        call = _Call(function)
        with self._lock:
            if self._closed:
                raise ThreadClosedError
            self._calls.put(call)
        call.done.wait()
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def close(self, last: Callable[[], None]) -> None:
        """Run `last` after everything that was asked for before, then end the thread. May be called twice.

        Whoever calls this waits until it is done; what `last` raises is raised here.
        """
        call = _Call(last)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._calls.put(call)
            self._calls.put(None)
        call.done.wait()
        self._thread.join()
        if call.error is not None:
            raise call.error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.result = call.function()
            except BaseException as error:  # goes back to whoever asked
                call.error = error
            call.function = _nothing  # what it holds is not kept by an idle thread
            call.done.set()
            del call


def _nothing() -> None:
    return None
