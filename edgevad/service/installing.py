"""Putting the service on a machine, or into an image of one, asking how it is, and taking it off again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from edgevad._files import atomic_file, output_errors
from edgevad.errors import ConfigError, OptionError, ServiceError
from edgevad.service.config import RunConfig, load_config
from edgevad.service.needs import read_paths, written_folders
from edgevad.service.reach import check_reach, check_writable
from edgevad.service.refit_unit import (
    REFIT_TIMER,
    REFIT_UNIT,
    refit_timer_text,
    refit_unit_text,
    schedule_of,
    schedule_seen,
)
from edgevad.service.unit import (
    GROUPS,
    PLUGIN_GROUPS,
    STATE,
    UNIT_NAME,
    USER,
    UnitSpec,
    sysusers_text,
    unit_spec,
    unit_text,
)

__all__ = [
    "Installation",
    "ServiceState",
    "has_systemd",
    "own_command",
    "plan_installation",
    "service_state",
    "uninstall",
]

_UNITS = Path("etc/systemd/system")
_UNIT = _UNITS / UNIT_NAME
_SYSUSERS = Path("etc/sysusers.d/edgevad.conf")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_COMMAND_S = 60.0
_PROPERTIES = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "StatusText",
    "MainPID",
    "NRestarts",
    "ActiveEnterTimestamp",
    "WatchdogTimestamp",
    "MemoryCurrent",
)
_OF_TIMER = ("LoadState", "LastTriggerUSec", "NextElapseUSecRealtime")
_OF_REFIT = ("ActiveState", "Result")


@dataclass(frozen=True)
class Installation:
    """What `install` does, so that it can be looked at before.

    Attributes:
        root: where the system lies: "/", or the folder of an image.
        files: what is written, by path.
        commands: what is run afterwards, in this order.
        removed: files that are taken away before, where a timer is there and not wanted any more.
    """

    root: Path
    files: dict[Path, str]
    commands: tuple[tuple[str, ...], ...]
    removed: tuple[Path, ...] = ()

    def carry_out(self) -> None:
        """Raises ServiceError or OutputError; files are whole or not there."""
        if self.root == Path("/"):
            _need_root("install")
        if self.removed:
            _call(_disabling(self.root, REFIT_TIMER))
        for path in self.removed:
            with output_errors(path):
                path.unlink(missing_ok=True)
        for path, text in self.files.items():
            with atomic_file(path, "w") as stream:
                stream.write(text)
            with output_errors(path):
                path.chmod(0o644)  # systemd warns of others
        for command in self.commands:
            _call(command)


def own_command() -> tuple[str, ...]:
    """What starts this very edgevad: the script beside its interpreter, else the interpreter with `-m edgevad`."""
    script = Path(sys.executable).parent / "edgevad"
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "edgevad")


def plan_installation(
    config: Path,
    *,
    root: Path = Path("/"),
    command: tuple[str, ...] | None = None,
    start: bool = True,
    all_devices: bool = False,
    memory_max: str = "",
    refit: str | None = None,
) -> Installation:
    """Check everything that can be checked, and say what is to be done. Nothing is written.

    `config` is a path on the machine itself: within `root` where that is an image. `refit` is how often the model is
    refitted: "daily", "weekly", "monthly" or "never"; None leaves that as it is.

    Raises:
        ConfigError: the configuration cannot be used.
        OptionError: `memory_max` is no size, or `refit` none of these.
        ServiceError: the service's user could not reach the program, the configuration or a file that names, or not
            write to a folder that is there.
    """
    if memory_max and re.fullmatch(r"[1-9][0-9]*[KMGT]?", memory_max) is None:
        raise OptionError(f"a memory limit of {memory_max[:40]!r}", expected="bytes, such as 1500M or 2G")
    timer = root / _UNITS / REFIT_TIMER
    schedule = schedule_seen(timer) if refit is None else schedule_of(refit)
    is_image = root != Path("/")
    found = _within(root, config.absolute()) if is_image else config.absolute()
    if not found.exists():
        raise ConfigError(
            "there is no such file", where=found, fix=f"Make one and edit it: edgevad config example > {found.name}"
        )
    program = own_command() if command is None else command
    settings = _as_seen_there(load_config(found), root)
    writes = [path for path in written_folders(settings) if not path.is_relative_to(STATE)]
    # A virtual environment may lie in one place, and the interpreter it uses in another.
    needed = [Path(program[0]), settings.path, *([Path(sys.executable)] if command is None else [])]
    needed += read_paths(settings)
    _check_token(root, settings, writes)
    spec = unit_spec(
        settings,
        program,
        groups=_groups(root, GROUPS + (PLUGIN_GROUPS if settings.plugins else ())),
        sees_homes=any(path.resolve().is_relative_to(home) for path in (*needed, *writes) for home in _HOMES),
        all_devices=all_devices,
        memory_max=memory_max,
        systemd_version=_systemd_version(),
    )
    if not is_image:
        for path in needed:
            check_reach(path)
        for path in writes:
            check_writable(path)
    files = {root / _SYSUSERS: sysusers_text(), root / _UNIT: unit_text(spec)}
    refit_files = (root / _UNITS / REFIT_UNIT, timer)
    if schedule is not None:
        files |= dict(zip(refit_files, (refit_unit_text(spec), refit_timer_text(schedule)), strict=True))
    removed = tuple(path for path in refit_files if path.exists()) if schedule is None else ()
    enabled = (UNIT_NAME, *(() if schedule is None else (REFIT_TIMER,)))
    if is_image:
        # The image makes the user at its first boot.
        return Installation(root, files, (("systemctl", f"--root={root}", "enable", *enabled),), removed)
    commands = [
        ("systemd-sysusers", f"/{_SYSUSERS}"),
        *(("install", "-d", "-m", "0750", "-o", USER, "-g", USER, str(path)) for path in writes if not path.exists()),
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", *enabled),
    ]
    if start:
        commands.append(("systemctl", "restart", *enabled))
    return Installation(root, files, tuple(commands), removed)


def uninstall(root: Path = Path("/")) -> list[Path]:
    """Stop the service and remove what `install` wrote; data, configuration and user stay. Returns what is gone.

    Raises:
        ServiceError: it is not installed, or systemd refuses.
        OutputError: a file cannot be removed.
    """
    if root == Path("/"):
        _need_root("uninstall")
    unit = root / _UNIT
    if not unit.exists():
        raise ServiceError("the service is not installed", where=unit)
    refit = [path for path in (root / _UNITS / REFIT_TIMER, root / _UNITS / REFIT_UNIT) if path.exists()]
    if root != Path("/") or has_systemd():
        if refit:
            _call(_disabling(root, REFIT_TIMER))
        if refit and root == Path("/"):
            _call(("systemctl", "stop", REFIT_UNIT))  # it may be learning
        _call(_disabling(root, UNIT_NAME))
    gone = [*refit, *(path for path in (unit, root / _SYSUSERS) if path.exists())]
    for path in gone:
        with output_errors(path):
            path.unlink()
    if root == Path("/") and has_systemd():
        _call(("systemctl", "daemon-reload"))
    return gone


def _disabling(root: Path, unit: str) -> tuple[str, ...]:
    at_once = ("disable", "--now") if root == Path("/") else (f"--root={root}", "disable")
    return ("systemctl", *at_once, unit)


@dataclass(frozen=True)
class ServiceState:
    """What systemd says of the service; a figure that it does not tell is empty.

    Attributes:
        properties: of the service, by systemd's names.
        refit: when its model was refitted and will be, by systemd's names; None where no timer is installed.
    """

    properties: dict[str, str]
    refit: dict[str, str] | None = None

    @property
    def is_installed(self) -> bool:
        return self.properties.get("LoadState") not in (None, "", "not-found")

    @property
    def is_active(self) -> bool:
        return self.properties.get("ActiveState") in ("active", "reloading")


def service_state() -> ServiceState:
    """Ask systemd.

    Raises:
        ServiceError: there is no systemd, it does not run, or it does not answer.
    """
    if not has_systemd():
        raise ServiceError("systemd does not run here", fix="Run edgevad run --config FILE instead")
    service = _shown(UNIT_NAME, _PROPERTIES)
    timer = _shown(REFIT_TIMER, _OF_TIMER)
    refit = None
    if timer.get("LoadState") not in (None, "", "not-found"):
        refit = {**_shown(REFIT_UNIT, _OF_REFIT), **{key: timer.get(key, "") for key in _OF_TIMER[1:]}}
    return ServiceState(service, refit)


def _shown(unit: str, names: tuple[str, ...]) -> dict[str, str]:
    output = _call(("systemctl", "show", unit, f"--property={','.join(names)}"))
    pairs = (line.partition("=") for line in output.splitlines())
    return {key: value for key, _, value in pairs if key in names}


def has_systemd() -> bool:
    """Whether systemd runs this machine, as sd_booted(3) tells it: in most containers it does not."""
    return Path("/run/systemd/system").is_dir()


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise ServiceError(
            f"only root may {what} the service", fix=f"Run: sudo {Path(sys.argv[0]).name} service {what}"
        )
    if not has_systemd():
        raise ServiceError("systemd does not run here", fix="For an image of a system, name its folder with --root")


def _call(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise ServiceError(f"there is no {command[0]} on this machine", expected="a system with systemd") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ServiceError(f"{' '.join(command[:3])}: {said}", fix=f"Look at: journalctl -u {UNIT_NAME} -e")
    return done.stdout


def _within(root: Path, path: Path) -> Path:
    return path if path.is_relative_to(root.absolute()) else root / path.relative_to("/")


def _as_seen_there(config: RunConfig, root: Path) -> RunConfig:
    """`config`, which was read within an image, with the paths that the machine itself will find in it."""
    top = root.absolute()

    def moved(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(moved, value))
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{entry.name: moved(getattr(value, entry.name)) for entry in fields(value)})
        path = Path(value) if isinstance(value, str) and value.startswith("/") else value
        if not (isinstance(path, Path) and path.is_relative_to(top)):
            return value
        inside = Path("/") / path.relative_to(top)
        return str(inside) if isinstance(value, str) else inside

    return config if root == Path("/") else moved(config)


def _groups(root: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those wanted that there are: a unit that names another one does not start."""
    try:
        lines = (root / "etc/group").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ("video",)
    there = {line.partition(":")[0] for line in lines}
    return tuple(name for name in wanted if name in there) or ("video",)


def _systemd_version() -> int:
    """The installed one's; that of Ubuntu 22.04 (JetPack 6) where it is not known."""
    try:
        found = re.match(r"systemd (\d+)", _call(("systemctl", "--version")))
    except ServiceError:
        found = None
    return UnitSpec.systemd_version if found is None else int(found[1])


def _check_token(root: Path, config: RunConfig, writes: list[Path]) -> None:
    """The token is there, or the service may make it where it is to be."""
    token = None if config.metrics is None else config.metrics.token_file
    if token is None or _within(root, token).exists():
        return
    if not any(token.is_relative_to(folder) for folder in (STATE, *writes)):
        raise ServiceError(
            "the service could not make its token there",
            where=token,
            fix=f"Leave [metrics] token_file out, put it into {STATE}, or make the file",
        )
