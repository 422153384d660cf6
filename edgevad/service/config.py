"""What a vehicle's edgevad is to do, from one TOML file: `load_config`, checked to the last key.

Nothing heavy is imported here: `edgevad config check` and `edgevad doctor` work where OpenCV or an engine does not.
Relative paths are relative to the file. Secrets stand in files or environment variables of their own, and only their
names stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from edgevad._toml import read_toml
from edgevad.errors import ConfigError
from edgevad.service.options import Place, Problem, Section, nearest, read_section
from edgevad.service.secrets import without_secrets
from edgevad.service.sections import (
    SECTIONS,
    CameraConfig,
    DetectionConfig,
    DriftConfig,
    DrivesConfig,
    EventsConfig,
    GovernorConfig,
    LearningConfig,
    LensConfig,
    LoggingConfig,
    MetricsConfig,
    MqttConfig,
    RefitConfig,
    RunSection,
    TrialConfig,
    WebhookConfig,
)

__all__ = ["CheckedConfig", "RunConfig", "check_config", "load_config"]

_FIX = "Run: edgevad config example"
_MAX_CAMERAS = 16
# Taken up by a reload, or read by other commands; the others need a restart.
_RELOADED = (
    "detection",
    "trial",
    "events",
    "drives",
    "drift",
    "learning",
    "drift",
    "refit",
    "mqtt",
    "webhooks",
    "metrics",
    "logging",
    "plugins",
)


@dataclass(frozen=True)
class RunConfig:
    """Everything `edgevad run --config` does. A section that is None is off: its file has no such section.

    Attributes:
        path: the file.
        cameras: one or more, with names of their own.
        plugins: settings of sinks from other packages, by their name, as the file has them.
    """

    path: Path
    cameras: tuple[CameraConfig, ...]
    run: RunSection = field(default_factory=RunSection)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    lens: LensConfig | None = None
    governor: GovernorConfig | None = None
    trial: TrialConfig = field(default_factory=TrialConfig)
    events: EventsConfig | None = None
    drives: DrivesConfig | None = None
    drift: DriftConfig | None = None
    learning: LearningConfig | None = None
    refit: RefitConfig | None = None
    mqtt: MqttConfig | None = None
    webhooks: tuple[WebhookConfig, ...] = ()
    metrics: MetricsConfig | None = None
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, every field, to be looked at: what looks like a secret is "***"."""
        value: dict[str, Any] = without_secrets(asdict(self))
        return value

    def needs_restart(self, newer: RunConfig) -> list[str]:
        """Sections in which `newer` differs and that a reload cannot take up."""
        names = [entry.name for entry in fields(self) if entry.name not in ("path", *_RELOADED)]
        return [name for name in names if getattr(self, name) != getattr(newer, name)]


class CheckedConfig(NamedTuple):
    """A file that was read: its settings, or everything that is wrong with it."""

    config: RunConfig | None
    problems: list[Problem]


def load_config(path: str | PathLike[str]) -> RunConfig:
    """Read and check the file at `path`.

    Raises:
        ConfigError: it cannot be read, or holds what cannot be used; the message tells the first problem and how many
            there are.
    """
    config, problems = check_config(path)
    if config is not None:
        return config
    first = problems[0]
    count = f" ({len(problems)} problems; edgevad config check lists all)" if len(problems) > 1 else ""
    raise ConfigError(first.text() + count, where=first.where(Path(path)))


def check_config(path: str | PathLike[str]) -> CheckedConfig:
    """Read the file at `path` and find all its problems.

    Raises:
        ConfigError: it cannot be read at all, or is no TOML.
    """
    where = Path(path)
    value, text = read_toml(where, a="a configuration", kind=ConfigError, fix=_FIX)
    folder, problems = where.absolute().parent, list[Problem]()
    top = Place("", folder, text, problems)
    belongs = {entry.name: name for name, cls in SECTIONS.items() if cls is not None for entry in fields(cls)}
    for name in value:
        if name not in SECTIONS:
            _unknown(name, value[name], top, belongs)
    found: dict[str, Any] = {}
    for name, cls in SECTIONS.items():
        if cls is None or name not in value:
            continue
        if name in ("camera", "webhook"):
            found[name + "s"] = _read_several(cls, value[name], Place(name, folder, text, problems), belongs)
        else:
            found[name] = read_section(cls, value[name], Place(name, folder, text, problems), belongs)
    found["cameras"] = tuple(camera.within(folder) for camera in found.get("cameras", ()) if camera is not None)
    found["plugins"] = _plugins(value.get("plugins", {}), top)
    if not problems:
        _check_cameras(found["cameras"], Place("camera", folder, text, problems))
        _check_webhooks(found.get("webhooks", ()), Place("webhook", folder, text, problems))
    if problems:
        return CheckedConfig(None, sorted(problems, key=lambda problem: problem.line or 0))
    return CheckedConfig(RunConfig(where.absolute(), **found), [])


def _unknown(name: str, value: object, top: Place, belongs: Mapping[str, str]) -> None:
    if isinstance(value, dict | list) and name not in belongs:
        top._replace(section=name).report("", "is no section", fix=nearest(name, SECTIONS))
    else:
        top.report(name, "stands before the first section", fix=nearest(name, SECTIONS, belongs))


def _read_several(cls: type[Section], value: object, place: Place, belongs: Mapping[str, str]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        place.report("", "is one table", f"[[{place.section}]], with two brackets, once for each")
        return ()
    return tuple(read_section(cls, table, place._replace(nth=k), belongs) for k, table in enumerate(value))


def _plugins(value: object, top: Place) -> dict[str, dict[str, Any]]:
    """As they are: what a plugin takes, it checks itself."""
    tables: dict[str, Any] = value if isinstance(value, dict) else {"": value}
    for name, table in tables.items():
        if not isinstance(table, dict):
            top._replace(section="plugins").report(name, "is no table", "[plugins.NAME] for each plugin")
    return tables


def _check_cameras(cameras: tuple[CameraConfig, ...], place: Place) -> None:
    if not 0 < len(cameras) <= _MAX_CAMERAS:
        place.report("", f"is there {len(cameras)} times", f"1 to {_MAX_CAMERAS} sections [[camera]]")
    seen: set[tuple[str, str]] = set()
    for index, camera in enumerate(cameras):
        for entry in (("name", camera.name), ("source", camera.source)):
            if entry in seen:
                place._replace(nth=index).report(entry[0], "is that of another camera", "one of its own")
            seen.add(entry)


def _check_webhooks(webhooks: tuple[WebhookConfig, ...], place: Place) -> None:
    urls = [webhook.url for webhook in webhooks]
    for index, url in enumerate(urls):
        if url in urls[:index]:  # what waits for a server waits under its address
            place._replace(nth=index).report("url", "is that of another webhook", "one of its own")
