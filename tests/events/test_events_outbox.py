from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgevad.errors import OutputError, SinkError
from edgevad.events.outbox import Outbox, OutboxLimits

DAY_NS = 86_400 * 10**9


def bodies(outbox: Outbox) -> list[bytes]:
    return [message.body for message in outbox.after(0, 10_000)]


def test_messages_come_back_in_order_numbered_and_outlast_the_process(tmp_path: Path) -> None:
    path = tmp_path / "queue" / "mqtt.db"
    outbox = Outbox(path)
    for k in range(5):
        outbox.append("event", b'{"k": %d}' % k)
    queue = outbox.id
    outbox.done(2)
    outbox.close()
    outbox.close()

    outbox = Outbox(path)
    assert (outbox.id, outbox.waiting, outbox.waiting_bytes) == (queue, 3, 24)
    messages = outbox.after(0, 2)
    assert [(one.sequence, one.topic) for one in messages] == [(3, "event"), (4, "event")]
    assert json.loads(messages[0].payload) == {"queue": queue, "sequence": 3, "k": 2}
    assert [one.sequence for one in outbox.after(4, 10)] == [5]
    outbox.done(5)
    assert outbox.waiting == outbox.waiting_bytes == 0
    outbox.append("event", b"{}")
    assert [(one.sequence, json.loads(one.payload)["sequence"]) for one in outbox.after(0, 9)] == [(6, 6)]
    outbox.close()


@pytest.mark.parametrize(
    ("limits", "kept"), [(OutboxLimits(count=3), 3), (OutboxLimits(size_bytes=45), 4), (OutboxLimits(count=1), 1)]
)
def test_beyond_a_limit_the_oldest_are_dropped_and_counted(limits: OutboxLimits, kept: int, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "q.db", limits)
    dropped = sum(outbox.append("event", b'{"k":"%03d"}' % k) for k in range(10))
    assert bodies(outbox) == [b'{"k":"%03d"}' % k for k in range(10 - kept, 10)]
    assert dropped == outbox.dropped == 10 - kept
    assert (outbox.waiting, outbox.waiting_bytes) == (kept, 11 * kept)
    outbox.close()


# 1970; the date of the system's build; the time at which it was last switched off.
@pytest.mark.parametrize("wrong_ns", [20 * DAY_NS, 19_500 * DAY_NS, 19_980 * DAY_NS])
def test_old_messages_go_but_not_those_of_a_clock_that_was_not_set(tmp_path: Path, wrong_ns: int) -> None:
    now_ns = [wrong_ns]
    outbox = Outbox(tmp_path / "q.db", OutboxLimits(age_s=7 * 86_400), clock_ns=lambda: now_ns[0])
    outbox.append("event", b'{"k": 1}')
    now_ns[0] = 20_000 * DAY_NS  # the network has told the time
    outbox.append("event", b'{"k": 2}')
    assert bodies(outbox) == [b'{"k": 1}', b'{"k": 2}']
    now_ns[0] += 4 * DAY_NS
    assert outbox.append("event", b'{"k": 3}') == 0
    now_ns[0] += 4 * DAY_NS
    assert outbox.append("event", b'{"k": 4}') == 2
    assert bodies(outbox) == [b'{"k": 3}', b'{"k": 4}']
    outbox.close()


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_folder_that_is_taken_away_is_made_anew_and_numbers_go_on(tmp_path: Path, comes_back: bool) -> None:
    place, elsewhere = tmp_path / "usb", tmp_path / "elsewhere"
    outbox = Outbox(place / "q.db")
    for k in range(3):
        outbox.append("event", b'{"k": %d}' % k)
    outbox.done(1)
    place.rename(elsewhere)
    if comes_back:
        shutil.copytree(elsewhere, place)
    outbox.append("event", b'{"k": 3}')
    assert (place / "q.db").exists()
    assert bodies(outbox) == [b'{"k": %d}' % k for k in (1, 2, 3)]
    assert outbox.after(3, 10)[-1].body == b'{"k": 3}'  # whoever has taken all three gets it
    assert outbox.waiting == 3
    with pytest.raises(SinkError, match="in use by another run"):
        Outbox(place / "q.db")
    outbox.close()
    outbox = Outbox(place / "q.db")
    assert outbox.waiting == 3
    outbox.close()


def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "q.db")
    outbox.append("event", b'{"k": 0}')
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    large = b'{"k": "%s"}' % (b"x" * 9000)
    for _ in range(2):
        with pytest.raises(OutputError, match="the disk is full"):
            outbox.append("event", large)
    assert (bodies(outbox), outbox.waiting) == ([b'{"k": 0}'], 3)
    with pytest.raises(OutputError):
        outbox.flush()
    outbox._db.execute("PRAGMA max_page_count = 100000")
    outbox.flush()
    outbox.append("event", b'{"k": 3}')
    assert bodies(outbox) == [b'{"k": 0}', large, large, b'{"k": 3}']
    assert outbox.dropped == 0
    outbox.close()


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    path.write_bytes(b"this is not a database" * 1000)
    outbox = Outbox(path)
    assert outbox.set_aside is not None
    assert outbox.set_aside.read_bytes().startswith(b"this is not")
    outbox.append("event", b"{}")
    assert outbox.waiting == 1
    outbox.close()


def test_a_file_of_a_newer_edgevad_is_set_aside(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "q.db")
    outbox._db.execute("PRAGMA user_version = 9")
    outbox.close()
    outbox = Outbox(tmp_path / "q.db")
    assert outbox.set_aside is not None
    outbox.append("event", b"{}")
    outbox.close()


def test_two_runs_cannot_share_one_queue(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "q.db")
    with pytest.raises(SinkError, match="in use by another run"):
        Outbox(tmp_path / "q.db")
    outbox.close()
    Outbox(tmp_path / "q.db").close()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file is in the way"):
        Outbox(tmp_path / "file" / "q.db")


def test_what_was_appended_outlives_a_kill(tmp_path: Path) -> None:
    code = (
        "import sys; from edgevad.events.outbox import Outbox\n"
        "outbox = Outbox(sys.argv[1])\n"
        "for k in range(100_000):\n"
        "    outbox.append('event', b'{\"k\": %d}' % k)\n"
        "    print(k, flush=True)\n"
        "    if k % 3 == 0: outbox.done(k // 2)\n"
    )
    path = tmp_path / "q.db"
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = -1
        for line in process.stdout:
            told = int(line)
            if told >= 50:
                os.kill(process.pid, signal.SIGKILL)
                break
        rest = process.stdout.read().split()
        told = int(rest[-1]) if rest else told
        process.stdout.close()
        process.wait()
        outbox = Outbox(path)
        assert outbox.set_aside is None
        numbers = [json.loads(body)["k"] for body in bodies(outbox)]
        assert numbers[-1] in (told, told + 1)
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        outbox.done(10**9)
        outbox.close()
        path.unlink()
