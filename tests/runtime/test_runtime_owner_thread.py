from __future__ import annotations

import threading
import time
import weakref

import pytest

from edgevad.runtime.backends.owner_thread import OwnerThread, ThreadClosedError


def nothing() -> None:
    pass


def test_everything_runs_in_one_thread_which_is_not_ours() -> None:
    owner = OwnerThread("owner")
    found = {owner.run(threading.get_ident) for _ in range(3)}
    callers = [threading.Thread(target=lambda: found.add(owner.run(threading.get_ident))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    owner.close(lambda: found.add(threading.get_ident()))
    assert len(found) == 1
    assert found != {threading.get_ident()}


def test_errors_come_back_and_the_thread_goes_on() -> None:
    owner = OwnerThread("owner")
    with pytest.raises(ZeroDivisionError):
        owner.run(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        owner.run(lambda: (_ for _ in ()).throw(SystemExit(3)))
    assert owner.run(lambda: 7) == 7
    owner.close(nothing)


def test_what_it_owns_may_call_it() -> None:
    owner = OwnerThread("owner")
    assert owner.run(lambda: owner.run(lambda: 5)) == 5
    owner.close(nothing)


def test_close_waits_for_what_was_asked_before() -> None:
    owner, done = OwnerThread("owner"), []
    started = threading.Event()

    def slow() -> None:
        started.set()
        time.sleep(0.2)
        done.append("work")

    caller = threading.Thread(target=owner.run, args=(slow,))
    caller.start()
    started.wait()
    owner.close(lambda: done.append("close"))
    assert done == ["work", "close"]
    caller.join()


def test_after_the_end_nothing_is_run() -> None:
    owner, done = OwnerThread("owner"), []
    owner.close(lambda: done.append(1))
    owner.close(lambda: done.append(2))
    assert done == [1]
    with pytest.raises(ThreadClosedError):
        owner.run(nothing)
    assert not any(thread.name == "owner" for thread in threading.enumerate())


def test_an_error_of_the_last_function_reaches_whoever_closes() -> None:
    owner = OwnerThread("owner")
    with pytest.raises(ZeroDivisionError):
        owner.close(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ThreadClosedError):
        owner.run(nothing)


def test_an_idle_thread_keeps_nothing_alive() -> None:
    class Big:
        pass

    owner, big = OwnerThread("owner"), Big()
    gone = weakref.ref(big)
    owner.run(lambda held=big: None)  # type: ignore[misc]
    del big
    until_s = time.monotonic() + 5
    while gone() is not None:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    owner.close(nothing)
