"""The sections of a configuration file. Each key says what it means, its range and its default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from edgevad.service.keeping import DrivesConfig, EventsConfig
from edgevad.service.options import NAME, NAME_WORDS, VARIABLE, VARIABLE_WORDS, Section, option
from edgevad.service.outlets import MetricsConfig, MqttConfig, WebhookConfig
from edgevad.service.refitting import RefitConfig
from edgevad.service.secrets import has_password, has_place, read_secret, two_secrets, with_password
from edgevad.service.watching import DriftConfig, GovernorConfig, LearningConfig, LensConfig, TrialConfig

if TYPE_CHECKING:
    from edgevad.runtime.threshold import Hysteresis

__all__ = [
    "SECTIONS",
    "CameraConfig",
    "DetectionConfig",
    "DriftConfig",
    "DrivesConfig",
    "EventsConfig",
    "GovernorConfig",
    "LearningConfig",
    "LensConfig",
    "LoggingConfig",
    "MetricsConfig",
    "MqttConfig",
    "RefitConfig",
    "RunSection",
    "TrialConfig",
    "WebhookConfig",
]

_DAY_S = 86_400.0
_WITH_HOST = ("rtsp", "rtsps", "http", "https", "rtmp")


@dataclass(frozen=True)
class RunSection(Section):
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
        pattern=NAME,
        words=NAME_WORDS,
        example="car-17",
    )


@dataclass(frozen=True)
class CameraConfig(Section):
    """[[camera]]"""

    name: str = option(
        "What the camera is called in events, topics and file names.", pattern=NAME, words=NAME_WORDS, example="front"
    )
    source: str = option(
        "Where its frames come from: /dev/video0, /dev/v4l/by-id/..., csi://0?width=1280&height=720&fps=30, "
        "rtsp://..., a GStreamer pipeline.",
        example="/dev/video0",
    )
    fps_hz: float | None = option("Frame rate asked of its driver.", None, above=0, high=1000, example=30.0)
    gap_s: float = option("A longer gap between two frames starts a new segment.", 1.0, low=0.1, high=60)
    timeout_s: float = option("How long opening it may take, and then its first frame.", 5.0, low=0.1, high=60)
    stale_s: float = option("Without a frame for so long it is lost, and opened anew.", 2.0, low=0.1, high=60)
    reconnect: bool = option("Open it anew when it is lost; without it the run ends.", True)
    password_file: Path | None = option(
        "File that holds the password of a source with a user name, or with {password} where it belongs.",
        None,
        example="front.password",
    )
    password_env: str | None = option(
        "Environment variable that holds it.",
        None,
        pattern=VARIABLE,
        words=VARIABLE_WORDS,
        example="FRONT_PASSWORD",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from two_secrets("password", self.password_file, self.password_env)
        if has_password(self.source):
            yield "source", "holds a password. Leave it out, and set password_file or password_env"
        elif not is_source(self.source):
            yield "source", "is no address or path that could be opened"
        elif (self.password_file or self.password_env) and not has_place(self.source):
            yield "source", "has no place for a password. Write rtsp://user@host/..., or {password} where it belongs"
        elif "{password}" in self.source and not (self.password_file or self.password_env):
            yield "source", "has a place for a password, and there is none. Set password_file or password_env"

    def within(self, folder: Path) -> CameraConfig:
        """The same; where its source is a relative path, that is relative to `folder`."""
        if not _is_path(self.source):
            return self
        return replace(self, source=str(folder / Path(self.source).expanduser()))

    def address(self) -> str:
        """The source as it is opened, password included. Raises ConfigError where that cannot be read."""
        secret = read_secret(self.password_file, self.password_env)
        return self.source if secret is None else with_password(self.source, secret)


def is_source(source: str) -> bool:
    """Whether `source` can be meant: an address with a host and a port that there can be, a path of a user there is."""
    try:
        if _is_path(source):
            Path(source).expanduser()
        elif "://" in source and " ! " not in source:
            parts = urlsplit(source)
            return parts.port != 0 and (bool(parts.hostname) or parts.scheme not in _WITH_HOST)
    except (ValueError, RuntimeError):
        return False
    return True


def is_recording(source: str) -> bool:
    """Whether `source` is a path, and no device's."""
    return _is_path(source) and not source.startswith("/dev/")


def _is_path(source: str) -> bool:
    return not (source.partition("?")[0].isdigit() or "://" in source or " ! " in source)


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
class LoggingConfig(Section):
    """[logging]"""

    level: Literal["debug", "info", "warning", "error"] = option("Least important lines that are written.", "info")
    format: Literal["auto", "text", "json"] = option("auto: text on a terminal, JSON lines elsewhere.", "auto")
    repeat_s: float = option(
        "The same line again within so long is counted instead of written.", 60.0, low=0, high=_DAY_S
    )


# By their names in a file, in its order; plugins have a table of their own for each.
SECTIONS: Mapping[str, type[Section] | None] = {
    "run": RunSection,
    "camera": CameraConfig,
    "detection": DetectionConfig,
    "lens": LensConfig,
    "governor": GovernorConfig,
    "trial": TrialConfig,
    "events": EventsConfig,
    "drives": DrivesConfig,
    "drift": DriftConfig,
    "learning": LearningConfig,
    "refit": RefitConfig,
    "mqtt": MqttConfig,
    "webhook": WebhookConfig,
    "metrics": MetricsConfig,
    "logging": LoggingConfig,
    "plugins": None,
}
