"""Puts course, motion, traffic, anomalies and camera together, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevad.sources.frame import Image
from edgevad.synth.anomalies import AMBIGUOUS, ANOMALY, label_at, plan_hazards
from edgevad.synth.camera import Sensor
from edgevad.synth.config import SynthConfig
from edgevad.synth.course import LAP_M, build_course
from edgevad.synth.ego import drive_ego
from edgevad.synth.lens import Lens
from edgevad.synth.randomness import slow_wave, stream
from edgevad.synth.scene import Pose, Scene
from edgevad.synth.schedule import ANOMALY_KINDS, Event, schedule_events
from edgevad.synth.season import in_season
from edgevad.synth.traffic import plan_traffic

__all__ = ["Drive", "SynthFrame", "render_drive"]


@dataclass(frozen=True, slots=True)
class SynthFrame:
    """One rendered frame and what it shows.

    Attributes:
        image: (H, W, 3) uint8 in [0, 255], blue green red.
        index: from 0.
        timestamp_ns: since the beginning of the drive.
        level: 0 normal, 1 ambiguous (an anomaly one can hardly see yet), 2 anomaly.
        event: kind of the anomaly where the level is 1 or 2, otherwise empty.
    """

    image: Image
    index: int
    timestamp_ns: int
    level: int
    event: str


class Drive:
    """A planned drive: all that happens is fixed when it is made, `frames` only draws it."""

    def __init__(self, config: SynthConfig) -> None:
        self.config = config
        self._course = build_course(config.road_seed)
        self._events = schedule_events(config)
        self._ego = drive_ego(config, self._course, self._events)
        self._traffic = plan_traffic(config, self._ego, self._events)
        self._hazards = plan_hazards(config, self._ego, self._events)
        rng = stream(config.seed, "weather")
        # Sun and clouds take turns: a slow wave, steepened so that most of the time it is one or the other.
        wave = slow_wave(rng, self._ego.time_s, (43.0, 71.0, 23.0))
        self._sun = (0.5 + 0.5 * np.tanh(2.2 * wave + 0.8)).astype(np.float64)

    @property
    def labels(self) -> list[tuple[int, Event | None]]:
        """(level, event) of every frame, without drawing any."""
        return [label_at(self._events, self._hazards, self._ego, k) for k in range(self.config.frame_count)]

    def frames(self) -> Iterator[SynthFrame]:
        """Draw the frames in order."""
        config, ego = self.config, self._ego
        mount_rad = float(np.deg2rad(config.mount_deg))
        scene = Scene(config, self._course)
        lens = Lens(config.seed, config.width_px, config.height_px, self._events)
        sensor = Sensor(config.width_px, config.height_px, config.fps_hz)
        for k, (level, event) in enumerate(self.labels):
            time_s = float(ego.time_s[k])
            pose = Pose(
                s_m=float(ego.distance_m[k] % LAP_M),
                across_m=float(ego.across_m[k]),
                yaw_rad=float(ego.yaw_rad[k]),
                pitch_rad=float(ego.pitch_rad[k]),
                roll_rad=float(ego.roll_rad[k]) + mount_rad,
                tilt_rad=float(ego.tilt_rad[k]) + mount_rad,
                sun=float(self._sun[k]),
                drift_rad=0.0015 * time_s,
            )
            seen = [hazard.visible(ego, time_s) for hazard in self._hazards]
            picture = scene.render(pose, self._traffic.visible(time_s), [it for it in seen if it is not None])
            picture = in_season(picture, config.season)
            light = np.square(np.maximum(picture, 0) * np.float32(1 / 255))
            image = sensor.expose(lens.apply(light, time_s), stream(config.seed, "noise", k))
            yield SynthFrame(image, k, round(time_s * 1e9), level, event.kind if event else "")

    def summary(self) -> dict[str, Any]:
        """What synth.json holds: parameters, labelled spans of every event and how many of each kind there are."""
        labels = self.labels
        fps_hz = self.config.fps_hz
        spans = []
        for event in self._events:
            near = [k for k, (_, shown) in enumerate(labels) if shown is event]
            plain = [k for k in near if labels[k][0] == ANOMALY]
            if not plain:
                continue
            spans.append(
                {
                    "event": event.kind,
                    "first_frame": plain[0],
                    "last_frame": plain[-1],
                    "first_ambiguous_frame": near[0],
                    "last_ambiguous_frame": near[-1],
                    "start_s": round(plain[0] / fps_hz, 3),
                    "end_s": round((plain[-1] + 1) / fps_hz, 3),
                }
            )
        counts = {kind: sum(span["event"] == kind for span in spans) for kind in ANOMALY_KINDS}
        levels = [level for level, _ in labels]
        return {
            "config": self.config.to_json(),
            "frames": len(labels),
            "anomalous_frames": levels.count(ANOMALY),
            "ambiguous_frames": levels.count(AMBIGUOUS),
            "lap_m": LAP_M,
            "laps": round(float(self._ego.distance_m[-1] - self._ego.distance_m[0]) / LAP_M, 2),
            "events": spans,
            "events_by_kind": counts,
            "note": _note(self.config, counts),
        }


def _note(config: SynthConfig, counts: dict[str, int]) -> str | None:
    few = [kind for kind, count in counts.items() if count < 2]
    if config.anomaly_share == 0:
        return "no anomalies were asked for"
    if few:
        return f"the drive is too short, or the share too small, for two events of: {', '.join(few)}"
    return None


def render_drive(config: SynthConfig) -> Iterator[SynthFrame]:
    """Frames of the drive in order, drawn as they are asked for; equal configurations give equal bytes."""
    return Drive(config).frames()
