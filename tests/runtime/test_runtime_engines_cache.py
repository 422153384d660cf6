from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgevad.errors import OutputError
from edgevad.runtime.engines.cache import EngineCache, EngineFacts
from edgevad.runtime.engines.key import EngineKey

KEY = EngineKey("ab" * 32, "Orin", "8.7", "10.3.0", "540.4.0", "fp16", "2", "GPU")
FACTS = EngineFacts("tiny", "built", 12.5, "cd" * 32, "ef" * 32, True, "2026-01-02T03:04:05+00:00")
PLAN = bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_what_was_stored_is_found_by_its_key_alone(cache: EngineCache) -> None:
    entry = cache.store(KEY, PLAN, FACTS)
    found = cache.find(KEY)
    assert found is not None
    assert (found.plan, found.entry.key, found.entry.facts) == (PLAN, KEY, FACTS)
    assert entry.to_json()["key"] == KEY.to_json()
    assert cache.why_not is None
    assert sorted(path.name for path in entry.path.iterdir()) == ["engine.json", "engine.plan"]
    found.release()
    found.release()


def test_nothing_is_found_where_nothing_is(cache: EngineCache) -> None:
    assert cache.find(KEY) is None
    assert cache.why_not == "there is no engine of this bundle yet"
    assert cache.entries() == []
    assert cache.prune(keep=0) == []


def test_what_changed_is_said(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, FACTS)
    assert cache.find(replace(KEY, tensorrt="10.13.0")) is None
    assert cache.why_not == "TensorRT was 10.3.0, is 10.13.0"
    assert cache.find(replace(KEY, bundle="12" * 32)) is None
    assert cache.why_not == "there is no engine of this bundle yet"


def plan_of(entry: Path) -> Path:
    return entry / "engine.plan"


def rewrite(entry: Path, change: Callable[[dict[str, object]], object]) -> None:
    file = entry / "engine.json"
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte flipped": (lambda e: plan_of(e).write_bytes(b"\xff" + PLAN[1:]), "do not have the SHA-256"),
    "cut off": (lambda e: plan_of(e).write_bytes(PLAN[:-1]), "it has 10239 bytes, not 10240"),
    "empty": (lambda e: plan_of(e).write_bytes(b""), "it has 0 bytes"),
    "longer": (lambda e: plan_of(e).write_bytes(PLAN + b"x"), "it has 10241 bytes"),
    "no engine": (lambda e: plan_of(e).unlink(), "No such file"),
    "a folder for an engine": (lambda e: (plan_of(e).unlink(), plan_of(e).mkdir()), ""),
    "no facts": (lambda e: (e / "engine.json").unlink(), "No such file"),
    "no JSON": (lambda e: (e / "engine.json").write_text("{"), ""),
    "not UTF-8": (lambda e: (e / "engine.json").write_bytes(b"\xff{}"), ""),
    "a list": (lambda e: (e / "engine.json").write_text("[]"), "engine.json cannot be used"),
    "nested without end": (lambda e: (e / "engine.json").write_text("[" * 100000), ""),
    "another format": (lambda e: rewrite(e, lambda v: v.update(format=2)), "its format is 2"),
    "a size that is none": (lambda e: rewrite(e, lambda v: v.update(bytes="10240")), "its size or its SHA-256"),
    "no key": (lambda e: rewrite(e, lambda v: v.pop("key")), "cannot be used"),
    "facts of a kind we do not know": (lambda e: rewrite(e, lambda v: v["facts"].update(more=1)), "cannot be used"),
    "a key that is not its own": (lambda e: rewrite(e, lambda v: v["key"].update(gpu="Thor")), "of another key"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_not_loaded(cache: EngineCache, damage: str) -> None:
    do, reason = DAMAGES[damage]
    do(cache.store(KEY, PLAN, FACTS).path)
    assert cache.find(KEY) is None
    assert cache.why_not is not None
    assert cache.why_not.startswith("the engine in the cache is damaged (")
    assert reason in cache.why_not
    cache.store(KEY, PLAN, FACTS)  # and what is built in its place is found
    found = cache.find(KEY)
    assert found is not None
    found.release()


def test_an_entry_carried_to_another_name_is_foreign(cache: EngineCache) -> None:
    entry, other = cache.store(KEY, PLAN, FACTS), replace(KEY, gpu="Thor")
    shutil.copytree(entry.path, cache.folder / other.name)
    assert cache.find(other) is None
    assert cache.why_not == "the engine in the cache is damaged (it is the engine of another key)"


def stored(cache: EngineCache, count: int) -> list[EngineKey]:
    """Keys of `count` engines; the first was used last."""
    keys = [replace(KEY, bundle=f"{k:02d}" * 32) for k in range(count)]
    for age, key in enumerate(keys):
        entry = cache.store(key, PLAN, FACTS)
        os.utime(plan_of(entry.path), (1e9 - age, 1e9 - age))
    return keys


def test_entries_come_in_the_order_in_which_they_were_used(cache: EngineCache) -> None:
    keys = stored(cache, 3)
    assert [entry.key for entry in cache.entries()] == keys
    found = cache.find(keys[2])
    assert found is not None
    found.release()
    assert [entry.key for entry in cache.entries()] == [keys[2], keys[0], keys[1]]


def test_pruning_keeps_the_last_used_and_the_spared(cache: EngineCache) -> None:
    keys = stored(cache, 5)
    gone = cache.prune(keep=2, spare=keys[4])
    assert [entry.key for entry in gone] == keys[2:4]
    assert [entry.key for entry in cache.entries()] == [keys[0], keys[1], keys[4]]
    assert [path.name for path in cache.folder.iterdir() if path.name.startswith(".")] == []


def test_an_engine_in_use_is_not_deleted_and_lives_on_where_it_is_replaced(cache: EngineCache) -> None:
    held = cache.find(stored(cache, 1)[0])
    assert held is not None
    assert cache.prune(keep=0) == []
    cache.store(held.entry.key, b"another", FACTS)
    assert held.plan == PLAN
    held.release()
    assert len(cache.prune(keep=0)) == 1


def test_an_engine_in_use_by_another_process_is_not_deleted(cache: EngineCache) -> None:
    (key,) = stored(cache, 1)
    code = f"""
import sys
from pathlib import Path
from edgevad.runtime.engines.cache import EngineCache
cache = EngineCache(Path({str(cache.folder)!r}))
held = cache.load(cache.entries()[0])
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert cache.prune(keep=0) == []
        process.kill()
        process.wait()
    assert [entry.key for entry in cache.prune(keep=0)] == [key]


def test_what_killed_processes_left_is_not_found_and_goes_a_day_later(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, FACTS)
    old, young = cache.folder / f".{KEY.name}.x1.part", cache.folder / f".{KEY.name}.x2.part"
    for folder in (old, young):
        folder.mkdir()
        (folder / "engine.plan").write_bytes(PLAN)
    os.utime(old, (1e9, 1e9))
    assert len(cache.entries()) == 1
    cache.prune(keep=4)
    assert not old.exists()
    assert young.exists()


def test_a_full_disk_leaves_the_old_engine(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(KEY, PLAN, FACTS)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="the disk is full"):
        cache.store(KEY, b"new", FACTS)
    monkeypatch.undo()
    found = cache.find(KEY)
    assert found is not None
    assert found.plan == PLAN
    found.release()
    assert len(list(cache.folder.iterdir())) == 1


def test_one_builds_and_the_others_wait(cache: EngineCache) -> None:
    waited: list[float] = []
    inside = threading.Event()
    order: list[str] = []

    def first() -> None:
        with cache.building() as mine:
            assert mine
            inside.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with cache.building(waited.append, every_s=0.05) as mine:
        assert mine
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert waited
    assert waited == sorted(waited)


def test_where_the_folder_cannot_be_made_nobody_has_to_wait(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with EngineCache(tmp_path / "file" / "engines").building() as mine:
        assert not mine


def test_measurements_belong_to_a_machine_and_to_no_bundle(cache: EngineCache) -> None:
    path = cache.timing_path(KEY)
    assert cache.timing_path(replace(KEY, bundle="12" * 32, precision="int8")) == path
    for field in ("gpu", "compute_capability", "tensorrt", "driver", "power_mode"):
        assert cache.timing_path(replace(KEY, **{field: "other"})) != path
