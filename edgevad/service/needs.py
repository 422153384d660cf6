"""What a configuration needs of this machine: files, environment variables, optional packages."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from edgevad.events.plugins import GROUP, plugin_names
from edgevad.service.config import RunConfig
from edgevad.service.sections import is_recording

__all__ = ["EXTRAS", "missing_needs", "read_paths", "written_folders"]

# Section, the package it imports, and the extra that brings it.
EXTRAS = (("drives", "mcap", "drives"), ("mqtt", "paho", "mqtt"), ("metrics", "prometheus_client", "metrics"))

# These are made where they are not there, or by others.
_MADE = ("dir", "token_file", "busy_file")


def missing_needs(config: RunConfig) -> list[str]:
    """What `config` names and this machine lacks, a line each; nothing is opened, imported or read."""
    lines = []
    for where, section in _sections(config):
        for entry in fields(section):
            value = getattr(section, entry.name)
            if isinstance(value, Path) and entry.name not in _MADE and not value.exists():
                lines.append(f"[{where}] {entry.name}: there is no {value}")
            elif isinstance(value, Path) and entry.name.endswith("_file") and not _may_read(value):
                lines.append(f"[{where}] {entry.name}: {value} may not be read by this user")
            elif entry.name.endswith("_env") and value is not None and not os.environ.get(value):
                lines.append(f"[{where}] {entry.name}: the environment variable {value} is not set here")
    for where, folder in _folders(config):
        if (reason := _refusal(folder)) is not None:
            lines.append(f"[{where}]: nothing can be kept in {folder}: {reason}; edgevad runs, and tries again")
    for where, package, extra in EXTRAS:
        if getattr(config, where) is not None and importlib.util.find_spec(package) is None:
            lines.append(f"[{where}]: the package '{package}' is missing: pip install 'edgevad[{extra}]'")
    installed = plugin_names() if config.plugins else []
    for name in config.plugins:
        if name not in installed:
            lines.append(f"[plugins.{name}]: no package here brings it (entry points of the group {GROUP})")
    return lines


def read_paths(config: RunConfig) -> list[Path]:
    """Files and folders that `config` names and a run reads: bundle, secrets, certificates, recordings."""
    named = [
        getattr(section, entry.name)
        for _, section in _sections(config)
        for entry in fields(section)
        if entry.name not in _MADE
    ]
    recordings = [Path(camera.source) for camera in config.cameras if is_recording(camera.source)]
    return [path for path in named if isinstance(path, Path)] + recordings


def written_folders(config: RunConfig) -> list[Path]:
    """Folders that `config` names and sinks write to."""
    sections = (config.events, config.drives)
    return [section.dir for section in sections if section is not None and section.dir is not None]


def _may_read(file: Path) -> bool:
    """Whether this user may, or `file` is one of those that are made where there is none."""
    return os.access(file, os.R_OK) or not file.exists()


def _folders(config: RunConfig) -> Iterator[tuple[str, Path]]:
    """Where sinks write, by their sections."""
    from edgevad.bundle.home import home_directory

    for where in ("events", "drives"):
        if (section := getattr(config, where)) is not None:
            yield where, section.dir or home_directory() / where
    if config.drift is not None:
        yield "drift", home_directory() / "refit" / "drift"
    if config.learning is not None:
        yield "learning", home_directory() / "refit" / "learned"
    for where, is_there in (("mqtt", config.mqtt is not None), ("webhook", bool(config.webhooks))):
        if is_there:
            yield where, home_directory() / "outbox"
    if config.metrics is not None:
        token = config.metrics.token_file or home_directory() / "metrics.token"
        if not token.exists():
            yield "metrics", token.parent


def _refusal(folder: Path) -> str | None:
    """Why no file can be made in `folder`, or it cannot be made itself; None where it can."""
    try:
        place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        if not place.is_dir():
            return f"{place} is no folder"
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            return "the disk is read-only"
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(place, os.W_OK | os.X_OK) else f"this user may not write to {place}"


def _sections(config: RunConfig) -> Iterator[tuple[str, Any]]:
    for entry in fields(config):
        value = getattr(config, entry.name)
        for section in value if isinstance(value, tuple) else (value,):
            if is_dataclass(section):
                yield entry.name.rstrip("s") if isinstance(value, tuple) else entry.name, section
