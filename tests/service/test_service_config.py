"""The configuration of a vehicle: every key checked, all problems told at once."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgevad._masking import without_password
from edgevad.cli.app import build_app
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.errors import ConfigError
from edgevad.events.metrics import MetricsSettings
from edgevad.events.mqtt import MqttSettings
from edgevad.events.recorder_spec import RecorderSpec
from edgevad.events.retention import MediaRetention
from edgevad.events.webhook import WebhookSettings
from edgevad.refit.drift_watch import WatchSpec
from edgevad.runtime.governor import GovernorSpec
from edgevad.runtime.lens import LensSpec
from edgevad.service.config import check_config, load_config
from edgevad.service.example import example_config
from edgevad.service.keeping import DrivesConfig, EventsConfig
from edgevad.service.options import Section
from edgevad.service.outlets import MetricsConfig, MqttConfig, WebhookConfig
from edgevad.service.sections import SECTIONS
from edgevad.service.watching import DriftConfig, GovernorConfig, LensConfig
from edgevad.targets import load_target

MINIMAL = '[[camera]]\nname = "front"\nsource = "/dev/video0"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "edgevad.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    config, found = check_config(path)
    assert config is None
    return [f"{problem.where(Path('f'))} {problem.text()}" for problem in found]


def test_the_least_configuration_is_a_camera(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert [camera.name for camera in config.cameras] == ["front"]
    assert config.cameras[0].reconnect
    assert config.detection.exit_ratio == 0.7
    assert config.events is config.mqtt is config.drives is None


def test_the_example_loads_and_has_every_key(tmp_path: Path) -> None:
    text = example_config()
    config = load_config(write(tmp_path, text))
    assert config.mqtt is None
    assert config.events is not None
    for name, cls in SECTIONS.items():
        if cls is None:
            continue
        part = re.split(rf"^#?\[+{name}\]+$", text, flags=re.MULTILINE)[1].split("\n\n")[0]
        for entry in dataclasses.fields(cls):
            assert re.search(rf"^#?{entry.name} = ", part, re.MULTILINE), (name, entry.name)


def test_the_documentation_shows_this_very_example() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
    assert page.split("```toml\n")[1].split("```\n")[0] == example_config()


def test_everything_that_the_example_offers_is_taken(tmp_path: Path) -> None:
    """With every setting switched on, only those are refused that exclude each other."""
    text = re.sub(r"^#(?=[\w\[])", "", example_config(), flags=re.MULTILINE)
    for key in ("password_env", "secret_env", "alarms_per_hour"):
        text = re.sub(rf"^{key} = .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("tls = false", "tls = true").replace(
        'source = "/dev/video0"', 'source = "rtsp://user@camera/front"'
    )
    config = load_config(write(tmp_path, text))
    off = [entry.name for entry in dataclasses.fields(config) if not getattr(config, entry.name)]
    assert off == []
    assert config.plugins == {"gpio": {"line": 7}}
    assert config.detection.threshold == 4.0


def test_all_problems_are_told_with_their_lines(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        'threshold = 3\n[run]\nbundel = "x"\nthreads = 0\nwindow_s = 3\n[camrea]\nx = 1\n'
        '[[camera]]\nname = "a"\nsource = "0"\n[[camera]]\nname = "a b"\nstale_s = "x"\n'
        "[detection]\nthreshold = 2\nalarms_per_hour = 2\n[mqtt]\nport = true\n[lens]\n[logging]\nlevel = 'loud'\n",
    )
    assert found == [
        "f:1: top level threshold stands before the first section. It belongs into [detection]",
        "f:3: [run] bundel is no setting here. Did you mean bundle?",
        "f:4: [run] threads is 0; expected a whole number from 1 to 256",
        "f:5: [run] window_s is no setting here. It belongs into [detection]",
        "f:6: [camrea] is no section. Did you mean camera?",
        *[line for line in found if line.startswith("f:11:")],
        "f:12: [camera] name is 'a b'; expected letters, digits, dots, underscores and hyphens, at most 48",
        "f:13: [camera] stale_s is 'x'; expected a number from 0.1 to 60",
        "f:16: [detection] alarms_per_hour stands beside threshold. Leave one of them out",
        *[line for line in found if line.startswith("f:17:")],
        "f:18: [mqtt] port is true; expected a whole number from 1 to 65535",
        "f:21: [logging] level is 'loud'; expected one of debug, info, warning, error",
    ]
    assert "f:11: [camera] source is missing" in found[5]
    assert "f:17: [mqtt] host is missing" in found[9]


def test_the_error_of_loading_tells_the_first_problem_and_how_many(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "[lens]\nx = 1\ny = 2\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:5: [lens]: x is no setting here.")
    assert "2 problems; edgevad config check lists all" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "[camera] is there 0 times; expected 1 to 16 sections [[camera]]"),
        ('[camera]\nname = "a"\nsource = "0"\n', "[camera] is one table; expected [[camera]]"),
        (MINIMAL + MINIMAL.replace("video0", "video1"), "f:5: [camera] name is that of another camera"),
        (MINIMAL + MINIMAL.replace("front", "rear"), "f:6: [camera] source is that of another camera"),
        (MINIMAL + "[events]\npre_roll_s = inf\n", "pre_roll_s is inf; expected a number from 0 to 60"),
        (MINIMAL + "[detection]\nwindow_s = 0\n", "window_s is 0; expected a number above 0, at most 60"),
        (MINIMAL + '[run]\nbundle = ""\n', "bundle is ''; expected a path"),
        (MINIMAL + "[run]\nbundle = 3\n", "bundle is 3; expected a path"),
        (MINIMAL + "[plugins]\ngpio = 3\n", "gpio is no table; expected [plugins.NAME]"),
        (MINIMAL + 'password = "x"\n', "password is no setting here. Did you mean password_env?"),
        (MINIMAL.replace("/dev/video0", "rtsp://me:hidden@h/x"), "source holds a password"),
        (MINIMAL.replace("/dev/video0", "rtsp://h/user=a_password=hidden_channel=1"), "source holds a password"),
        (MINIMAL.replace("/dev/video0", "http://h/x?user=a&pwd=hidden"), "source holds a password"),
        (MINIMAL.replace("/dev/video0", "rtspsrc user-id=a user-pw=hidden ! appsink"), "source holds a password"),
        (
            MINIMAL.replace("/dev/video0", "http://h/x?pwd={password}"),
            "source has a place for a password, and there is",
        ),
        (MINIMAL + 'password_env = "P"\n', "source has no place for a password"),
        (MINIMAL + "lens = 3\n", "[camera] lens is no setting here"),
        (
            MINIMAL + "[governor]\nsteps_hz = [5, 9]\n",
            "f:4: [governor] governor: steps of [5.0, 9.0] Hz; expected falling",
        ),
        (MINIMAL + '[events]\ndir = "~nosuchuser/x"\n', "f:5: [events] dir is '~nosuchuser/x'; expected a path"),
        (MINIMAL.replace("/dev/video0", "~nosuchuser/x"), "f:3: [camera] source is no address or path"),
        (MINIMAL.replace("/dev/video0", "rtsp://[bad/x"), "f:3: [camera] source is no address or path"),
        (MINIMAL.replace("/dev/video0", "rtsp://h:99999/x"), "f:3: [camera] source is no address or path"),
        (MINIMAL.replace("/dev/video0", "rtsp:///x"), "f:3: [camera] source is no address or path"),
        (MINIMAL.replace("/dev/video0", "rtsp://me:hidden/@h/x"), "f:3: [camera] source holds a password"),
        (MINIMAL + "[drift]\nlook_s = 7200\n", "f:5: [drift] look_s is longer than compared_s"),
        (MINIMAL + "[drives]\nmax_bytes = 1000\n", "f:5: [drives] max_bytes holds not even two legs"),
        (
            MINIMAL + '[mqtt]\nhost = "not a host at all"\n',
            "f:5: [mqtt] host is 'not a host at all'; expected the name",
        ),
        (MINIMAL + '[mqtt]\nhost = "a..b"\n', "host is 'a..b'"),
        (MINIMAL + '[metrics]\nhost = "0.0.0.0/0"\n', "f:5: [metrics] host is '0.0.0.0/0'"),
        (MINIMAL + '[[webhook]]\nurl = "http://h/ä"\n', "f:5: [webhook] url is 'http://h/ä'"),
        (MINIMAL + '[[webhook]]\nurl = "http://h:0/"\n', "f:4: [webhook] webhook.url: is no address to post to"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert said in found[0]
    assert "hidden" not in found[0]


@pytest.mark.parametrize(
    "host", ["broker", "broker.example.", "10.0.0.7", "::1", "fe80::1%eth0", "café.example", "my_broker"]
)
def test_hosts_are_names_and_addresses(tmp_path: Path, host: str) -> None:
    config = load_config(write(tmp_path, MINIMAL + f'[mqtt]\nhost = "{host}"\n'))
    assert config.mqtt is not None
    assert config.mqtt.host == host


@pytest.mark.parametrize(
    "source",
    [
        "udp://@:1234",
        "srt://:9000?mode=listener",
        "rtsp://[fe80::1]:554/x",
        "csi://0?width=1280",
        "a/b ! appsink",
        "~/x",
    ],
)
def test_sources_that_may_be_meant_are_taken(tmp_path: Path, source: str) -> None:
    assert load_config(write(tmp_path, MINIMAL.replace("/dev/video0", source))).cameras


@pytest.mark.parametrize("text", ["[run", "x = 1979-13-01", "a = " + "[" * 5000, "\udcff"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edgevad.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="is no TOML"):
        load_config(path)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[run]\nbundle = "b/car.edgevad"\n' + MINIMAL))
    assert config.run.bundle == tmp_path / "b" / "car.edgevad"
    config = load_config(write(tmp_path, '[run]\nbundle = "/b"\n' + MINIMAL))
    assert config.run.bundle == Path("/b")


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        ("drive.mp4", "{}/drive.mp4"),
        ("/dev/video0?width=640", "/dev/video0?width=640"),
        ("0?width=640", "0?width=640"),
        ("csi://0", "csi://0"),
        ("v4l2src ! appsink", "v4l2src ! appsink"),
    ],
)
def test_a_recording_is_relative_to_the_file(tmp_path: Path, source: str, opened: str) -> None:
    config = load_config(write(tmp_path, MINIMAL.replace("/dev/video0", source)))
    assert config.cameras[0].source == opened.format(tmp_path)


def test_a_camera_s_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p@ss/word\nand a comment\n")
    text = MINIMAL.replace("/dev/video0", "rtsp://me@cam:554/x") + 'password_file = "secret"\n'
    config = load_config(write(tmp_path, text))
    assert config.cameras[0].address() == "rtsp://me:p%40ss%2Fword@cam:554/x"
    assert "p@ss" not in str(config.to_json())
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        config.cameras[0].address()


def test_a_camera_s_password_comes_from_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "rtspsrc location=rtsp://me@cam/x ! decodebin ! appsink"
    text = MINIMAL.replace("/dev/video0", source) + 'password_env = "FRONT_SECRET"\n'
    config = load_config(write(tmp_path, text))
    monkeypatch.setenv("FRONT_SECRET", "abc")
    assert config.cameras[0].address() == source.replace("me@", "me:abc@")
    monkeypatch.delenv("FRONT_SECRET")
    with pytest.raises(ConfigError, match="FRONT_SECRET is not set"):
        config.cameras[0].address()


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        ("rtsp://h/user=a_password={password}_channel=1", "rtsp://h/user=a_password=p%40s%20s_channel=1"),
        ("http://h/x?user=a&pwd={password}", "http://h/x?user=a&pwd=p%40s%20s"),
        ("rtsp://me:{password}@h/x", "rtsp://me:p%40s%20s@h/x"),
        (r"rtspsrc user-id=me user-pw=\"{password}\" ! appsink", 'rtspsrc user-id=me user-pw="p@s s" ! appsink'),
    ],
)
def test_a_password_comes_where_its_camera_wants_it(tmp_path: Path, source: str, opened: str) -> None:
    (tmp_path / "secret").write_text("p@s s\n")
    text = MINIMAL.replace("/dev/video0", source) + 'password_file = "secret"\n'
    (camera,) = load_config(write(tmp_path, text)).cameras
    assert camera.address() == opened
    assert "p@s" not in without_password(opened)
    assert "p%40s" not in without_password(opened)


def test_what_a_reload_cannot_take_up_is_named(tmp_path: Path) -> None:
    old = load_config(write(tmp_path, MINIMAL))
    newer = load_config(write(tmp_path, MINIMAL + "[detection]\nthreshold = 3\n[events]\n"))
    assert old.needs_restart(newer) == []
    newer = load_config(write(tmp_path, MINIMAL + "fps_hz = 10\n[run]\nthreads = 2\n"))
    assert old.needs_restart(newer) == ["cameras", "run"]


def test_the_hysteresis_is_what_the_file_says(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL + "[detection]\ncool_down_s = 5\nexit_ratio = 0.5\n"))
    spec = config.detection.hysteresis(4.0)
    assert (spec.threshold, spec.exit_level, spec.cool_down_s, spec.warm_up_s) == (4.0, 2.0, 5.0, 2.0)


@pytest.mark.parametrize(
    ("section", "cls", "more"),
    [
        (LensConfig, LensSpec, {}),
        (GovernorConfig, GovernorSpec, {}),
        (DriftConfig, WatchSpec, {}),
        (EventsConfig, RecorderSpec, {}),
        (EventsConfig, MediaRetention, {}),
        (DrivesConfig, LogPolicy, {}),
        (DrivesConfig, LegRetention, {}),
        (MqttConfig, MqttSettings, {"host": "h"}),
        (WebhookConfig, WebhookSettings, {"url": "https://h/"}),
        (MetricsConfig, MetricsSettings, {"token_file": Path("t")}),
    ],
)
def test_defaults_here_are_those_of_the_classes_that_are_built(
    section: type[Section], cls: type[Any], more: dict[str, Any]
) -> None:
    """A default stands in two places, for nothing heavy is imported here: they must not drift apart."""
    assert section(**more).build(cls) == cls(**more)
    here = {entry.name for entry in dataclasses.fields(section)}
    there = {entry.name for entry in dataclasses.fields(cls)} - {"retention", "password", "secret"}
    assert there <= here


def test_zero_is_no_limit(tmp_path: Path) -> None:
    text = MINIMAL + "[governor]\nlatency_budget_ms = 0\ntemperature_limit_c = 70\nsteps_hz = [9, 3]\n"
    config = load_config(write(tmp_path, text))
    assert config.governor is not None
    spec = config.governor.spec(load_target("jetson-orin-nano"))
    assert (spec.latency_budget_ms, spec.temperature_limit_c, spec.steps_hz) == (None, 70.0, (9.0, 3.0))
    config = load_config(write(tmp_path, MINIMAL + "[governor]\n"))
    assert config.governor is not None
    assert config.governor.spec(load_target("jetson-orin-nano")).latency_budget_ms == 33.0


_SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(-1e9, 1e9), st.text("az09:/@!? .-", max_size=12)
)
_VALUES = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3))
_KEYS = sorted({entry.name for cls in SECTIONS.values() if cls is not None for entry in dataclasses.fields(cls)})
_TABLES = st.dictionaries(st.sampled_from([*_KEYS, "odd"]), _VALUES, max_size=4)


@given(st.dictionaries(st.sampled_from([*SECTIONS, "odd"]), _TABLES, max_size=4), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_values_there_is_a_configuration_or_problems(
    tmp_path: Path, sections: dict[str, dict[str, object]], several: bool
) -> None:
    """What these values are made of, TOML writes as JSON does."""
    lines = [MINIMAL]
    for name, table in sections.items():
        lines.append(f"[[{name}]]" if name == "camera" or (name == "webhook" and several) else f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    path = write(tmp_path, "\n".join(lines))
    config, found = check_config(path)
    assert (config is None) == bool(found)
    if config is not None:
        assert json.dumps(config.to_json())
    for problem in found:
        assert problem.line is not None
        assert len(problem.text()) < 1000


def test_nothing_heavy_is_imported_for_a_check(tmp_path: Path) -> None:
    path = write(tmp_path, re.sub(r"^#(?=[\w\[])", "", example_config(), flags=re.MULTILINE))
    code = (
        "import sys, edgevad.service.config, edgevad.service.example, edgevad.service.needs\n"
        f"edgevad.service.config.check_config({str(path)!r})\n"
        "print(sorted({'numpy', 'cv2', 'av', 'onnx', 'onnxruntime', 'rich', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_webhooks_of_one_address_are_refused(tmp_path: Path) -> None:
    hook = '[[webhook]]\nurl = "https://a.example/x"\n'
    with pytest.raises(ConfigError, match="url is that of another webhook"):
        load_config(write(tmp_path, MINIMAL + hook + hook))


def test_secrets_that_stand_in_the_file_are_shown_by_no_command(tmp_path: Path) -> None:
    text = (
        MINIMAL + '[[webhook]]\nurl = "https://example.com/x?access_token=geheim"\n'
        '[plugins.horn]\nline = 3\nlogin = { password = "geheim", api_key = "geheim" }\n'
    )
    path = write(tmp_path, text)
    for command in (["check"], ["check", "--json"], ["show"], ["show", "--json"]):
        done = CliRunner().invoke(build_app(), ["config", *command, str(path)])
        assert done.exit_code == 0
        assert "horn" in done.stdout
        assert "geheim" not in done.stdout
    value = load_config(path).to_json()
    assert value["webhooks"][0]["url"] == "https://example.com/x?access_token=***"
    assert value["plugins"]["horn"] == {"line": 3, "login": {"password": "***", "api_key": "***"}}


@pytest.mark.parametrize("source", ['["rtsp://me:geheim@camera/x"]', '{ password = "geheim" }'])
def test_what_cannot_be_used_is_told_without_its_secrets(tmp_path: Path, source: str) -> None:
    (said,) = problems(tmp_path, MINIMAL.replace('"/dev/video0"', source))
    assert "***" in said
    assert "geheim" not in said
