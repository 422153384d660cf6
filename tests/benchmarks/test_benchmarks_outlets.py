from __future__ import annotations

from pathlib import Path

from broker import in_order_at_least_once, need_mosquitto

from benchmarks.outlets import measure, rows_of


def test_with_the_broker_gone_and_the_server_failing_nothing_is_lost_and_the_order_kept(tmp_path: Path) -> None:
    need_mosquitto()
    found = measure(tmp_path, 2.0, around_s=1.0, hurry=True)
    assert found.told >= 30
    assert found.most_waiting >= 10
    assert found.lost(found.mqtt) == found.lost(found.webhook) == 0
    assert in_order_at_least_once(found.mqtt)
    assert in_order_at_least_once(found.webhook)
    assert (found.forged, found.results_dropped, found.events_dropped) == (0, 0, 0)
    assert {row.name for row in rows_of(found)} >= {"MQTT: messages lost", "webhook: messages lost"}
