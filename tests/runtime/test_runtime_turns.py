from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from edgevad.runtime.turns import short_turns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")


def slack_ns() -> int:
    return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text())


def slack_of_a_new_thread_ns() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(slack_ns()))
    thread.start()
    thread.join()
    return seen[0]


def test_threads_that_are_started_meanwhile_are_woken_in_time() -> None:
    before = sys.getswitchinterval(), slack_ns()
    with short_turns(True):
        assert (slack_ns(), slack_of_a_new_thread_ns()) == (1, 1)
        assert sys.getswitchinterval() == pytest.approx(5e-6)
    assert (sys.getswitchinterval(), slack_ns()) == before


def test_a_camera_leaves_them_as_they_are() -> None:
    before = sys.getswitchinterval(), slack_ns()
    with short_turns(False):
        assert (sys.getswitchinterval(), slack_ns()) == before
