from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from edgevad.runtime.turns import wake_in_time

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")


def slack_ns() -> int:
    return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text())


def test_a_thread_that_asks_for_it_is_woken_in_time_and_no_other() -> None:
    before = slack_ns()
    seen: list[int] = []

    def decode() -> None:
        wake_in_time()
        seen.append(slack_ns())

    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
    assert seen == [1]
    assert slack_ns() == before > 1
