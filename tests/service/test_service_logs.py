"""Log lines as people, machines and the journal get them."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.service.logs import LogSink, configure_logging

LOG = logging.getLogger("edgevad.test")
EVENT = Event(3, 1_000_000_000, 2_000_000_000, 10, 20, 5.5, 15, "view", "front", 0)


def test_text_is_a_line_with_time_level_and_logger() -> None:
    stream = io.StringIO()
    configure_logging(format="text", stream=stream)
    LOG.debug("not this")
    LOG.warning("camera %s\nis lost", "front")
    clock, level, rest = stream.getvalue().split(" ", 2)
    assert clock.endswith("Z")
    assert (level, rest) == ("warning", "edgevad.test: camera front\\nis lost\n")


def test_json_lines_hold_fields_and_traces() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, level="debug")  # no terminal: JSON
    try:
        raise ValueError("of rtsp://me:hidden@camera/x")
    except ValueError:
        fields = {"frames": 3, "login": {"api_token": "hidden"}, "where": Path("/x"), "said": ["MQTT_PASSWORD=hidden"]}
        LOG.exception("failed", extra={"fields": fields})
    (line,) = stream.getvalue().splitlines()
    value = json.loads(line)
    assert {key: value[key] for key in ("level", "logger", "message", "frames", "where")} == {
        "level": "error",
        "logger": "edgevad.test",
        "message": "failed",
        "frames": 3,
        "where": "/x",
    }
    assert "ValueError" in value["trace"]
    assert "hidden" not in line


def test_lines_that_repeat_are_counted() -> None:
    stream, now_s = io.StringIO(), [0.0]
    configure_logging(stream=stream, repeat_s=60, clock=lambda: now_s[0])
    for second in range(150):
        now_s[0] = float(second)
        LOG.warning("the disk is full")
        LOG.warning("frame %d", second)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    full = [line for line in lines if line["message"] == "the disk is full"]
    assert [line.get("repeated") for line in full] == [None, 59, 59]
    assert len(lines) - len(full) == 150  # different lines are all written


def test_the_journal_gets_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure_logging(format="text", stream=stream, level="debug")
        LOG.error("e")
        LOG.warning("w")
        LOG.info("i")
        LOG.debug("d")
        stream.seek(0)
        assert stream.read().splitlines() == [
            "<3>error edgevad.test: e",
            "<4>warning edgevad.test: w",
            "<6>info edgevad.test: i",
            "<7>debug edgevad.test: d",
        ]


def test_a_log_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    stream.close()
    LOG.error("nobody reads this")
    configure_logging(stream=(fresh := io.StringIO()))
    LOG.error("x %d", "no number")
    assert "no number" in fresh.getvalue()


def test_warnings_of_python_are_lines_and_the_last_setup_holds() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    configure_logging(stream=second, level="error")
    LOG.warning("too little")
    LOG.error("enough")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "enough"
    configure_logging(stream=second)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        configure_logging(stream=second)
        warnings.warn("old", stacklevel=1)
    assert "old" in second.getvalue()


def test_events_and_incidents_are_lines() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    sink = LogSink()
    sink.event_began(EVENT)
    sink.event(EVENT)
    lost = Incident("camera_lost", "stale", "rtsp://me:hidden@camera gives no frame", "front")
    sink.incident(lost)
    sink.incident(lost.ended("it is back"))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["warning", "warning", "error", "info"]
    assert lines[1]["event"]["peak_score"] == 5.5
    assert lines[3]["incident"]["id"] == lines[2]["incident"]["id"] == lost.id
    assert "hidden" not in stream.getvalue()


def test_what_nobody_caught_is_a_line_without_its_password() -> None:
    code = (
        "import threading\n"
        "from edgevad.service.logs import configure_logging, log_uncaught\n"
        "configure_logging()\nlog_uncaught()\n"
        "def fail(): raise OSError('cannot read rtsp://camera/x?pwd=' + 'hid' + 'den')\n"
        "thread = threading.Thread(target=fail, name='reader')\nthread.start()\nthread.join()\nfail()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"].rpartition(" ended ")[2] for line in lines] == ["reader", "the run"]
    assert all("rtsp://camera/x?pwd=***" in line["trace"] for line in lines)
    assert "hidden" not in done.stderr
