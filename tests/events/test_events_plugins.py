from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from edgevad.errors import ConfigError, SinkError
from edgevad.events import Event, Incident, RunInfo
from edgevad.events.plugins import GROUP, open_plugin, plugin_names

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gpio_sink"
RUN = RunInfo("b", "b", "", "cpu", ("front",), 4.0, True)
EVENT = Event(1, 0, 1, 0, 1, 5.0, 0, "detail", "front", 0)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, as pip would make it, on this process's path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in {path.stem for path in folder.glob("*.py")} & set(sys.modules):
        del sys.modules[name]


def install(folder: Path, name: str, code: str, *, value: str | None = None) -> None:
    module = f"plugin_{name}"
    (folder / f"{module}.py").write_text(code)
    facts = folder / f"{module}-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value or f'{module}:make'}\n")


def test_a_plug_in_is_found_and_given_its_own_copy_of_the_settings(installed: Path) -> None:
    install(
        installed,
        "lamp",
        "from edgevad.events import Sink\n"
        "class Lamp(Sink):\n"
        "    def __init__(self, settings): self.settings = settings\n"
        "make = Lamp\n",
    )
    assert "lamp" in plugin_names()
    settings = {"colour": "red"}
    sink = open_plugin("lamp", settings)
    assert sink.name == "lamp"
    assert sink.settings == settings  # type: ignore[attr-defined]
    assert sink.settings is not settings  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("import nothing_of_that_name", SinkError, "of package plugin_bad cannot be loaded (ModuleNotFoundError"),
        ("1 / 0", SinkError, "cannot be loaded (ZeroDivisionError: division by zero)"),
        ("", SinkError, "cannot be loaded (AttributeError"),
        ("make = 3", SinkError, "plugin_bad:make cannot be called"),
        ("make = dict", SinkError, "makes a dict; expected an edgevad.events.Sink"),
        ("def make(settings): raise OSError('no bus')", SinkError, "the plug-in fails (OSError: no bus)"),
        ("def make(settings): settings['id']", ConfigError, "refuses its settings (KeyError: 'id')"),
        ("def make(settings): raise ValueError('id is odd')", ConfigError, "refuses its settings (ValueError: id is"),
    ],
)
def test_a_broken_plug_in_is_one_clear_error(code: str, kind: type[Exception], message: str, installed: Path) -> None:
    install(installed, "bad", code)
    with pytest.raises(kind) as caught:
        open_plugin("bad", {})
    assert str(caught.value).startswith("plugins.bad: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plug_in_that_is_not_there_or_there_twice_is_one_clear_error(installed: Path) -> None:
    install(installed, "one", "from edgevad.events import Sink\nmake = lambda settings: Sink()")
    with pytest.raises(ConfigError, match=r"plugins\.two: no such plug-in is installed; expected .*one"):
        open_plugin("two", {})
    install(installed, "other", "", value="plugin_other:make")
    (installed / "plugin_other-1.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\none = plugin_other:make\n")
    with pytest.raises(ConfigError, match=r"several packages .* \(plugin_one, plugin_other\)"):
        open_plugin("one", {})


class Chip:
    """gpiod's Python bindings, as far as the example uses them, with lines that are kept in a dict."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int], bool] = {}
        self.active_low: dict[int, bool] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = self.values

        class Value(Enum):
            INACTIVE = 0
            ACTIVE = 1

        class Request:
            is_open = True

            def __init__(self, chip: str) -> None:
                self.chip = chip

            def __bool__(self) -> bool:
                return self.is_open

            def set_value(self, offset: int, value: Value) -> None:
                values[self.chip, offset] = value is Value.ACTIVE

            def release(self) -> None:
                self.is_open = False

        def request_lines(chip: str, *, consumer: str, config: dict[int, Any]) -> Request:
            if chip != "/dev/gpiochip0":
                raise FileNotFoundError(2, "No such file or directory")
            self.active_low.update({offset: line.active_low for offset, line in config.items()})
            return Request(chip)

        gpiod, line = types.ModuleType("gpiod"), types.ModuleType("gpiod.line")
        vars(line).update(Value=Value, Direction=Enum("Direction", ["INPUT", "OUTPUT"]))
        vars(gpiod).update(
            LineSettings=lambda **settings: types.SimpleNamespace(**settings), request_lines=request_lines, line=line
        )
        monkeypatch.setitem(sys.modules, "gpiod", gpiod)
        monkeypatch.setitem(sys.modules, "gpiod.line", line)


@pytest.fixture
def example(installed: Path, tmp_path: Path) -> None:
    """The example, built and installed by pip, without its dependencies (edgevad is here)."""
    source = tmp_path / "gpio_sink"
    shutil.copytree(EXAMPLE, source)  # setuptools leaves its marks beside the source
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([*command, "--target", str(installed), str(source)], check=True, env=environment)


@pytest.mark.usefixtures("example")
def test_the_example_raises_its_line_while_something_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = Chip()
    chip.install(monkeypatch)
    sink = open_plugin("gpio", {"line": 17, "active_low": True, "raise_on_fault": True})
    line = ("/dev/gpiochip0", 17)
    sink.start(RUN)
    assert (sink.name, sink.wants_results, chip.active_low) == ("gpio", False, {17: True})
    assert chip.values[line] is False
    sink.event_began(EVENT)
    assert chip.values[line] is True
    covered = Incident("camera_fault", "covered", "covered", "front")
    sink.incident(covered)
    sink.event(EVENT)
    assert chip.values[line] is True
    sink.incident(covered.ended())
    assert chip.values[line] is False
    sink.event_began(EVENT)
    sink.close()
    sink.close()
    assert chip.values[line] is False

    for settings, kind, message in (
        ({"line": 17, "colour": "red"}, ConfigError, "plugins.gpio: has no setting 'colour'"),
        ({}, ConfigError, "plugins.gpio: line is no number"),
        ({"line": 17, "chip": "/dev/gpiochip9"}, SinkError, "/dev/gpiochip9: line 17 cannot be used"),
    ):
        with pytest.raises(kind) as caught:
            open_plugin("gpio", settings)
        assert str(caught.value).startswith(message)
