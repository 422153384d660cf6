"""A systemd of our own, as the first process of a world that looks like this machine (see _systemd_world.sh)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from edgevad.errors import ServiceError

__all__ = ["World"]

_SCRIPT = Path(__file__).with_suffix(".sh")
_SYSTEMD = Path("/lib/systemd/systemd")
_START_S = 60.0
_END_S = 10.0


class World:
    """A context manager: within it systemd runs, and `call` runs commands beside it.

    Raises:
        ServiceError: this machine cannot have a second systemd.
    """

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0 or not _SYSTEMD.exists() or shutil.which("unshare") is None:
            raise ServiceError("a systemd to test with needs root, systemd and unshare")
        self._cgroup = _cgroups() / f"edgevad-world-{os.getpid()}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> World:
        self._cgroup.mkdir()
        paths = [sys.executable, os.path.realpath(sys.executable), str(Path(__file__).parent)]
        # The shell joins the cgroup, so that the namespace begins there.
        join = 'echo $$ > "$0/cgroup.procs"; exec unshare --kill-child --mount --pid --fork --uts --ipc --cgroup "$@"'
        command = ["sh", "-c", join, str(self._cgroup), str(_SCRIPT), str(self._folder), *paths]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            self.wait(lambda: self._is_up(), _START_S, "systemd to start")
        except BaseException:
            self.close()
            raise
        return self

    def call(self, *command: str, check: bool = True) -> str:
        """What `command` prints; raises ServiceError where it fails, unless told not to `check`."""
        place = f"/proc/{self._pid}/root"
        enter = ["nsenter", "-t", str(self._pid), "-m", "-p", "-u", "-i", "-C", f"--root={place}", f"--wd={place}"]
        clean = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        done = subprocess.run([*enter, *clean, *command], capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode:
            raise ServiceError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Make a file in that world."""
        place = Path(f"/proc/{self._pid}/root{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def copy(self, file: Path, path: str) -> None:
        """Put a file of this machine into that world."""
        place = Path(f"/proc/{self._pid}/root{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)

    def wait(self, until: Callable[[], bool], limit_s: float, what: str) -> float:
        """Seconds until it was so; raises ServiceError where it is not within `limit_s`."""
        started_s = time.monotonic()
        while not until():
            if time.monotonic() - started_s > limit_s:
                raise ServiceError(f"waited {limit_s:g} s for {what}")
            time.sleep(0.05)
        return time.monotonic() - started_s

    def close(self) -> None:
        """The end of its first process is the end of all of it."""
        if self._process is not None:
            self._process.kill()  # and with it systemd, and with that everything
            self._process.wait()
        deadline_s = time.monotonic() + _END_S
        while self._cgroup.exists() and time.monotonic() < deadline_s:
            for folder, _, _ in os.walk(self._cgroup, topdown=False):
                with suppress(OSError):  # somebody is still dying there
                    Path(folder).rmdir()
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            said = b"" if self._process.stderr is None else self._process.stderr.read()
            raise ServiceError(
                f"no second systemd can be started here ({said.decode(errors='replace').strip()[-300:]})"
            )
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self._pid = int(children[0])
        return self.call("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")


def _cgroups() -> Path:
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise ServiceError("a systemd to test with needs cgroups of version 2")
