"""What docs/outlets.md promises to the other side."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from test_events_metrics import RUN, snapshot

from edgevad.events import Event, Incident
from edgevad.events.messages import DeviceStatus, event_message, incident_message
from edgevad.events.metrics_families import RunCollector
from edgevad.events.outbox import Message
from edgevad.events.webhook import _NEVER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "outlets.md").read_text(encoding="utf-8")
EVENT = Event(12, 1, 2, 3, 4, 5.5, 4, "residual", "front", 0)


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_examples_have_the_members_of_real_messages() -> None:
    real: list[Any] = [
        Message(1, "event", event_message(RUN, EVENT, "ended"), "q").payload,
        Message(1, "incident", incident_message(RUN, Incident.once("sink", "x", "y")), "q").payload,
        json.dumps(DeviceStatus(RUN).to_json()),
    ]
    shown = [json.loads(text) for text in snippets("json")]
    assert [set(one) for one in shown] == [set(json.loads(one)) for one in real]


def test_the_verifying_code_takes_our_signature_and_no_other() -> None:
    known: dict[str, Any] = {}
    exec(compile(snippets("python")[0], "outlets.md", "exec"), known)
    is_from_the_car, body, now = known["is_from_the_car"], b'{"a": 1}', str(int(time.time()))
    headers = {TIMESTAMP_HEADER: now, SIGNATURE_HEADER: signature("secret", now, body)}
    assert is_from_the_car("secret", headers, body)
    assert not is_from_the_car("secret", headers, body + b" ")
    assert not is_from_the_car("other", headers, body)
    old = str(int(time.time()) - 3600)
    assert not is_from_the_car(
        "secret", {TIMESTAMP_HEADER: old, SIGNATURE_HEADER: signature("secret", old, body)}, body
    )


def test_the_list_of_metrics_is_complete() -> None:
    pytest.importorskip("prometheus_client")
    collector = RunCollector(RUN, snapshot)
    names = {
        re.sub(r"_(bucket|count|sum|created)$", "", sample.name)
        for family in collector.collect()
        for sample in family.samples
    }
    listed = set(re.findall(r"`(edgevad_\w+)`", PAGE.partition("| metric |")[2].partition("## Plug-ins")[0]))
    # The other ones have no sample without an event, an incident, or a machine that tells.
    assert names <= listed
    assert listed - names <= {
        "edgevad_events_total",
        "edgevad_incidents_total",
        "edgevad_incidents_open",
        "edgevad_memory_used_bytes",
        "edgevad_memory_total_bytes",
    }


def test_the_answers_that_drop_a_message_are_those_listed() -> None:
    row = re.search(r"^\| (400, .*?) \|", PAGE, re.MULTILINE)
    assert row is not None
    assert {int(number) for number in row[1].split(", ")} == _NEVER


def test_the_sketch_of_a_plug_in_is_python() -> None:
    compile(snippets("python")[1], "outlets.md", "exec")
