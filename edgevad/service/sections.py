"""The sections of a configuration file: their keys, what each means, its range and its default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgevad.service.options import Section, option
from edgevad.service.secrets import has_password, has_user, read_secret, with_password

if TYPE_CHECKING:
    from edgevad.runtime.threshold import Hysteresis

__all__ = [
    "SECTIONS",
    "CameraConfig",
    "DetectionConfig",
    "DrivesConfig",
    "EventsConfig",
    "GovernorConfig",
    "LensConfig",
    "LoggingConfig",
    "MetricsConfig",
    "MqttConfig",
    "RunSection",
    "WebhookConfig",
]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}"
_NAME_WORDS = "letters, digits, dots, underscores and hyphens, at most 48"
_ENVIRONMENT = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
_ENVIRONMENT_WORDS = "the name of an environment variable"
_DAY_S = 86_400.0


@dataclass(frozen=True)
class RunSection:
    """[run]"""

    bundle: Path | None = option(
        "Bundle to run; without it the active one (edgevad activate).", None, example="car.edgevad"
    )
    backend: Literal["onnxruntime", "openvino", "tensorrt"] | None = option(
        "Inference engine; without it the bundle's own.", None, example="tensorrt"
    )
    threads: int | None = option("Threads of one inference.", None, low=1, high=256, example=1)
    device: str | None = option(
        "What this vehicle is called in messages; without it the machine's name.",
        None,
        pattern=_NAME,
        words=_NAME_WORDS,
        example="car-17",
    )


@dataclass(frozen=True)
class CameraConfig(Section):
    """[[camera]]"""

    name: str = option(
        "What the camera is called in events, topics and file names.", pattern=_NAME, words=_NAME_WORDS, example="front"
    )
    source: str = option(
        "Where its frames come from: /dev/video0, /dev/v4l/by-id/..., csi://0?width=1280&height=720&fps=30, "
        "rtsp://..., a GStreamer pipeline.",
        example="/dev/video0",
    )
    fps_hz: float | None = option("Frame rate asked of its driver.", None, above=0, high=1000, example=30.0)
    stale_s: float = option("Without a frame for so long it is lost, and opened anew.", 2.0, low=0.1, high=60)
    reconnect: bool = option("Open it anew when it is lost; without it the run ends.", True)
    password_file: Path | None = option(
        "File that holds the password of an rtsp:// source with a user name.", None, example="front.password"
    )
    password_env: str | None = option(
        "Environment variable that holds it.",
        None,
        pattern=_ENVIRONMENT,
        words=_ENVIRONMENT_WORDS,
        example="FRONT_PASSWORD",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from _one_secret(self.password_file, self.password_env)
        if has_password(self.source):
            yield "source", "holds a password. Leave it out, and set password_file or password_env"
        elif (self.password_file or self.password_env) and not has_user(self.source):
            yield "source", "has no user name that a password could belong to. Write rtsp://user@host/..."

    def address(self) -> str:
        """The source as it is opened, password included. Raises ConfigError where that cannot be read."""
        secret = read_secret(self.password_file, self.password_env)
        return self.source if secret is None else with_password(self.source, secret)


@dataclass(frozen=True)
class DetectionConfig(Section):
    """[detection]"""

    threshold: float | None = option(
        "Anomaly score at which events start; without it the bundle's.", None, low=-1e6, high=1e6, example=4.0
    )
    alarms_per_hour: float | None = option(
        "Or: events that an hour of normal driving may raise; sets the threshold anew.",
        None,
        above=0,
        high=3600,
        example=1.0,
    )
    window: Literal["mean", "median", "ema"] | None = option(
        "Sliding window over the scores; without it the bundle's.", None, example="mean"
    )
    window_s: float | None = option("Its length in seconds.", None, above=0, high=60, example=1.0)
    exit_ratio: float = option("An event lasts down to this share of the threshold.", 0.7, low=0, high=1)
    merge_gap_s: float = option("Events closer than this are one.", 1.0, low=0, high=600)
    min_duration_s: float = option("Shorter events are not recorded.", 0.0, low=0, high=600)
    cool_down_s: float = option("After an event none starts for so long.", 0.0, low=0, high=_DAY_S)
    warm_up_s: float = option("When a camera has come (back), no event starts for so long.", 2.0, low=0, high=600)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.threshold is not None and self.alarms_per_hour is not None:
            yield "alarms_per_hour", "stands beside threshold. Leave one of them out"

    def hysteresis(self, threshold: float) -> Hysteresis:
        """When events start and end, at the scorer's `threshold`."""
        from edgevad.runtime.threshold import Hysteresis

        return Hysteresis(
            threshold,
            exit_ratio=self.exit_ratio,
            merge_gap_s=self.merge_gap_s,
            min_duration_s=self.min_duration_s,
            cool_down_s=self.cool_down_s,
            warm_up_s=self.warm_up_s,
        )


@dataclass(frozen=True)
class LensConfig:
    """[lens]"""

    black_level: float = option("Mean brightness below which a frame is black, 0 to 255.", 8.0, low=0, high=255)
    frozen_s: float = option("Identical frames for so long are a frozen camera.", 2.0, above=0, high=600)
    fault_s: float = option("A fault is reported when it has lasted so long.", 1.0, low=0, high=600)


@dataclass(frozen=True)
class GovernorConfig:
    """[governor]"""

    latency_s: float = option("Longest time from capture to score.", 0.15, above=0, high=60)
    temperature_c: float = option("From this temperature on fewer frames are looked at.", 90.0, low=30, high=125)
    floor_hz: float = option("Never fewer frames a second than these.", 2.0, above=0, high=1000)


@dataclass(frozen=True)
class EventsConfig:
    """[events]"""

    dir: Path | None = option("Folder of the event store.", None, example="/var/lib/edgevad/events")
    pre_roll_s: float = option("Seconds of video before an event.", 5.0, low=0, high=60)
    post_roll_s: float = option("Seconds of video after it.", 5.0, low=0, high=60)


@dataclass(frozen=True)
class DrivesConfig:
    """[drives]"""

    dir: Path | None = option("Folder of the drive log.", None, example="/var/lib/edgevad/drives")


@dataclass(frozen=True)
class MqttConfig(Section):
    """[mqtt]"""

    host: str = option("Name or address of the broker.", example="localhost")
    port: int = option("Its TCP port.", 1883, low=1, high=65535)
    username: str | None = option("User name at the broker.", None, example="car-17")
    password_file: Path | None = option("File that holds the password.", None, example="mqtt.password")
    password_env: str | None = option(
        "Environment variable that holds it.",
        None,
        pattern=_ENVIRONMENT,
        words=_ENVIRONMENT_WORDS,
        example="MQTT_PASSWORD",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from _one_secret(self.password_file, self.password_env)


@dataclass(frozen=True)
class WebhookConfig(Section):
    """[[webhook]]"""

    url: str = option(
        "Address that events are posted to.",
        pattern=r"https?://\S+",
        words="http://... or https://...",
        example="https://example.com/edgevad",
    )


@dataclass(frozen=True)
class MetricsConfig(Section):
    """[metrics]"""

    host: str = option("Address it listens at.", "127.0.0.1")
    port: int = option("TCP port of the metrics page.", 9464, low=1, high=65535)


@dataclass(frozen=True)
class LoggingConfig:
    """[logging]"""

    level: Literal["debug", "info", "warning", "error"] = option("Least important lines that are written.", "info")
    format: Literal["auto", "text", "json"] = option("auto: text on a terminal, JSON lines elsewhere.", "auto")
    repeat_s: float = option(
        "The same line again within so long is counted instead of written.", 60.0, low=0, high=_DAY_S
    )


# By their names in a file, in its order; plugins have a table of their own for each.
SECTIONS: Mapping[str, type | None] = {
    "run": RunSection,
    "camera": CameraConfig,
    "detection": DetectionConfig,
    "lens": LensConfig,
    "governor": GovernorConfig,
    "events": EventsConfig,
    "drives": DrivesConfig,
    "mqtt": MqttConfig,
    "webhook": WebhookConfig,
    "metrics": MetricsConfig,
    "logging": LoggingConfig,
    "plugins": None,
}


def _one_secret(file: Path | None, environment: str | None) -> Iterator[tuple[str, str]]:
    if file is not None and environment is not None:
        yield "password_env", "stands beside password_file. Leave one of them out"
