"""Sinks that others install: packages with an entry point in the group "edgevad.sinks"; see docs/outlets.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgevad.errors import ConfigError, EdgevadError, SinkError
from edgevad.events.sink import Sink

__all__ = ["GROUP", "SinkFactory", "open_plugin", "plugin_names"]

GROUP = "edgevad.sinks"

#: What an entry point names: makes a sink of the settings under [plugins.NAME].
SinkFactory = Callable[[dict[str, Any]], Sink]


def plugin_names() -> list[str]:
    """Names of the sinks that are installed, sorted; none of their code is loaded."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def open_plugin(name: str, settings: Mapping[str, Any]) -> Sink:
    """The sink that the plug-in `name` makes of `settings` (its own copy).

    Raises:
        ConfigError: no such plug-in is installed, two packages claim the name, or the plug-in refuses the settings with
            a `ValueError`, `TypeError` or `KeyError`.
        SinkError: it cannot be loaded, fails, or makes no sink. `EdgevadError`s of its own are passed on.
    """
    factory = _loaded(_found(name))
    where = f"plugins.{name}"
    try:
        sink = factory(dict(settings))
    except EdgevadError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"the plug-in refuses its settings ({_told(error)})", where=where) from error
    except Exception as error:
        raise SinkError(f"the plug-in fails ({_told(error)})", where=where) from error
    if not isinstance(sink, Sink):
        raise SinkError(f"the plug-in makes a {type(sink).__name__}", where=where, expected="an edgevad.events.Sink")
    sink.name = sink.name or name
    return sink


def _found(name: str) -> EntryPoint:
    entries = list(entry_points(group=GROUP, name=name))
    # An editable install beside its own build folder shows the same entry twice.
    if len({entry.value for entry in entries}) > 1:
        packages = ", ".join(sorted({entry.dist.name for entry in entries if entry.dist is not None}))
        raise ConfigError(
            f"several packages bring a plug-in of this name ({packages})",
            where=f"plugins.{name}",
            fix="Uninstall all but one of them",
        )
    if not entries:
        installed = ", ".join(plugin_names()) or "none"
        raise ConfigError(
            "no such plug-in is installed",
            where=f"plugins.{name}",
            expected=f"one of those that are: {installed}",
            fix="Install its package into the Python environment of edgevad",
        )
    return entries[0]


def _loaded(entry: EntryPoint) -> SinkFactory:
    try:
        factory = entry.load()
    except Exception as error:  # whatever a module does when it is imported
        package = "" if entry.dist is None else f" of package {entry.dist.name}"
        raise SinkError(
            f"the plug-in{package} cannot be loaded ({_told(error)})",
            where=f"plugins.{entry.name}",
            fix="Install or repair that package",
        ) from error
    if not callable(factory):
        raise SinkError(f"{entry.value} cannot be called", where=f"plugins.{entry.name}", expected="a factory of sinks")
    return factory  # type: ignore[no-any-return]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
