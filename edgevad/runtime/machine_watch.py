"""Looks at the machine every few seconds: through jetson-stats where its service runs, else at the kernel's files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevad.runtime.power import MachineReading, read_machine

__all__ = ["MachineWatch"]

_log = logging.getLogger(__name__)

# There where jetson-stats' service runs.
_JTOP_SOCKET = "run/jtop.sock"


class MachineWatch:
    """A thread that looks at the machine until it is closed; use it in a `with` block, or call `start` and `close`.

    Args:
        every_s: seconds between two looks.
        on_reading: called in that thread with every reading; must not block. What it raises is logged.
        root: as for `read_machine`.

    Attributes:
        latest: the last reading, None before the first.
    """

    def __init__(
        self,
        every_s: float = 5.0,
        *,
        on_reading: Callable[[MachineReading], None] | None = None,
        root: Path = Path("/"),
    ) -> None:
        self.latest: MachineReading | None = None
        self._every_s = every_s
        self._on_reading = on_reading
        self._root = root
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="edgevad-machine", daemon=True)

    def start(self) -> MachineWatch:
        self._thread.start()
        return self

    def __enter__(self) -> MachineWatch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread; a look that is under way is waited for a fifth of a second. Harmless when called again."""
        self._closed.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=0.2)

    def _watch(self) -> None:
        stats = _JetsonStats.opened(self._root)
        try:
            while not self._closed.is_set():
                reading = read_machine(self._root)
                if stats is not None:
                    try:
                        reading = stats.completed(reading)
                    except Exception as error:  # whatever another program's client raises
                        _log.warning("jetson-stats answers no more (%s); going on with sysfs", error)
                        stats.close()
                        stats = None
                self.latest = reading
                if self._on_reading is not None:
                    try:
                        self._on_reading(reading)
                    except Exception:
                        _log.exception("what was to be done with a machine reading failed")
                self._closed.wait(self._every_s)
        finally:
            if stats is not None:
                stats.close()


class _JetsonStats:
    """A connection to jetson-stats' service, which knows each board's sensors by name."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def opened(cls, root: Path) -> _JetsonStats | None:
        """None where the package or its service is missing, or of another version than each other."""
        if not (root / _JTOP_SOCKET).exists():
            return None
        try:
            from jtop import jtop  # type: ignore[import-not-found,unused-ignore]

            client = jtop()
            client.start()
        except Exception as error:  # it raises its own classes, those of sockets and of pickles
            _log.info("jetson-stats is not used: %s", error)
            return None
        return cls(client)

    def close(self) -> None:
        with suppress(Exception):
            self._client.close()

    def completed(self, reading: MachineReading) -> MachineReading:
        """`reading` with all that jetson-stats says in place of what the files said.

        Raises:
            RuntimeError: the service has gone; the client may raise others.
        """
        client = self._client
        if not client.ok(spin=True):
            raise RuntimeError("its service has gone")
        temperatures = {
            str(name): float(sensor["temp"])
            for name, sensor in _items(client.temperature)
            if sensor.get("online", True) and -60.0 < float(sensor["temp"]) < 150.0
        }
        rails = {
            str(name): float(rail["power"]) / 1e3
            for name, rail in _items(_entry(client.power, "rail"))
            if rail.get("online", True)
        }
        loads = [float(gpu["status"]["load"]) / 100 for _, gpu in _items(client.gpu)]
        ram = _entry(client.memory, "RAM")
        mode = client.nvpmodel
        return replace(
            reading,
            temperatures_c=temperatures or reading.temperatures_c,
            power_w=rails or reading.power_w,
            gpu_load=min(max(*loads, 0.0), 1.0) if loads else reading.gpu_load,
            memory_used_bytes=1024 * int(ram["used"]) if "used" in ram else reading.memory_used_bytes,
            memory_total_bytes=1024 * int(ram["tot"]) if "tot" in ram else reading.memory_total_bytes,
            power_mode=reading.power_mode if mode is None else str(mode),
        )


def _entry(values: Any, name: str) -> Mapping[str, Any]:
    entry = values.get(name) if hasattr(values, "get") else None
    return entry if isinstance(entry, Mapping) else {}


def _items(values: Any) -> list[tuple[str, Mapping[str, Any]]]:
    return list(values.items()) if hasattr(values, "items") else []
