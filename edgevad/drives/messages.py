"""What the channels of a leg carry, and the schemas that tell every reader so."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from edgevad import __version__
from edgevad._extras import require
from edgevad.drives.policy import LogPolicy
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = [
    "EVENTS_TOPIC",
    "FRAME",
    "IMAGE",
    "IMAGE_SCHEMA_NAME",
    "INCIDENTS_TOPIC",
    "SCHEMAS",
    "SCORE",
    "STATE_TOPIC",
    "encode_json",
    "event_message",
    "image_message",
    "image_schema",
    "incident_message",
    "run_metadata",
    "score_message",
    "topic_of",
]

# Of each camera: /<camera>/image and so on.
IMAGE, FRAME, SCORE = "image", "frame", "score"
EVENTS_TOPIC, INCIDENTS_TOPIC, STATE_TOPIC = "/events", "/incidents", "/state"
IMAGE_SCHEMA_NAME = "foxglove.CompressedImage"

_INTEGER, _NUMBER, _STRING, _BOOLEAN = ({"type": name} for name in ("integer", "number", "string", "boolean"))
_OPTIONAL_NUMBER, _OPTIONAL_STRING = ({"type": [name, "null"]} for name in ("number", "string"))
_OPTIONAL_INTEGER: dict[str, Any] = {"type": ["integer", "null"]}
_STATE: dict[str, Any] = {"type": "string", "enum": ["warm-up", "normal", "anomaly", "fault"]}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# By the last word of the topic. Times that end in _ns are nanoseconds; `timestamp_ns` is the recording's own clock.
SCHEMAS: dict[str, tuple[str, dict[str, Any]]] = {
    SCORE: (
        "edgevad.Score",
        _object(
            frame=_INTEGER,
            timestamp_ns=_INTEGER,
            segment=_INTEGER,
            state=_STATE,
            fault=_OPTIONAL_STRING,
            frame_score=_OPTIONAL_NUMBER,
            anomaly_score=_OPTIONAL_NUMBER,
            cause=_OPTIONAL_STRING,
            deviates={"type": "array", "items": _NUMBER},
            is_anomaly=_BOOLEAN,
            latency_ms=_NUMBER,
        ),
    ),
    # What CompressedImage has no field for; one for each image, with its log time.
    FRAME: (
        "edgevad.Frame",
        _object(
            frame=_INTEGER,
            timestamp_ns=_INTEGER,
            segment=_INTEGER,
            stretch=_INTEGER,
            state=_STATE,
            around_event=_BOOLEAN,
            width_px=_INTEGER,
            height_px=_INTEGER,
        ),
    ),
    EVENTS_TOPIC[1:]: (
        "edgevad.Event",
        _object(
            id=_INTEGER,
            is_over=_BOOLEAN,
            logged_start_ns=_INTEGER,
            logged_end_ns=_INTEGER,
            start_ns=_INTEGER,
            end_ns=_INTEGER,
            start_frame=_INTEGER,
            end_frame=_INTEGER,
            peak_score=_NUMBER,
            peak_frame=_INTEGER,
            cause=_STRING,
            source_id=_STRING,
            segment=_INTEGER,
            duration_s=_NUMBER,
        ),
    ),
    INCIDENTS_TOPIC[1:]: (
        "edgevad.Incident",
        _object(
            id=_STRING,
            kind=_STRING,
            cause=_STRING,
            detail=_STRING,
            source_id=_STRING,
            start_ns=_INTEGER,
            end_ns=_OPTIONAL_INTEGER,
        ),
    ),
    STATE_TOPIC[1:]: ("edgevad.State", _object(camera=_STRING, state=_STATE, fault=_OPTIONAL_STRING)),
}


def topic_of(source_id: str) -> str:
    """Of a camera: its name with what topics are better without replaced; the name itself is in the channel."""
    return "/" + (re.sub(r"[^A-Za-z0-9_.-]+", "-", source_id).strip("-.") or "camera")


def run_metadata(run: RunInfo, policy: LogPolicy) -> dict[str, str]:
    """What every leg says about its run; MCAP's metadata are texts."""
    info: dict[str, Any] = {**run.to_json(), "sources": "\n".join(run.sources), "is_live": str(run.is_live).lower()}
    logged = {f"policy_{name}": "none" if value is None else str(value) for name, value in vars(policy).items()}
    return {**{name: str(value) for name, value in info.items()}, "edgevad": __version__, **logged}


def encode_json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()


def score_message(result: Result) -> dict[str, Any]:
    frame = result.frame
    return {
        "frame": frame.index,
        "timestamp_ns": frame.timestamp_ns,
        "segment": frame.segment,
        "state": result.state,
        "fault": result.fault,
        "frame_score": result.frame_score,
        "anomaly_score": result.anomaly_score,
        "cause": result.cause,
        "deviates": [round(value, 4) for value in result.deviates],
        "is_anomaly": result.is_anomaly,
        "latency_ms": round(1e3 * result.latency_s, 3),
    }


def event_message(event: Event, *, is_over: bool, logged_start_ns: int, logged_end_ns: int) -> dict[str, Any]:
    """`event` with its times on the log's clock."""
    times = {"is_over": is_over, "logged_start_ns": logged_start_ns, "logged_end_ns": logged_end_ns}
    return {**event.to_json(), **times}


def incident_message(incident: Incident) -> dict[str, Any]:
    return incident.to_json()


def image_message(jpeg: bytes, camera: str, log_ns: int) -> bytes:
    """A foxglove.CompressedImage; its timestamp is the log's, by which viewers put cameras side by side."""
    message = _image_module().CompressedImage(data=jpeg, format="jpeg", frame_id=camera)
    message.timestamp.FromNanoseconds(log_ns)
    return bytes(message.SerializeToString())


@lru_cache(maxsize=1)
def image_schema() -> bytes:
    """The FileDescriptorSet of foxglove.CompressedImage: its file, after those that it imports."""
    descriptor_pb2 = require("google.protobuf.descriptor_pb2", extra="drives", needed_for="The drive log")
    files = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(descriptor: Any) -> None:
        if descriptor.name in seen:
            return
        seen.add(descriptor.name)
        for dependency in descriptor.dependencies:
            add(dependency)
        descriptor.CopyToProto(files.file.add())

    add(_image_module().DESCRIPTOR)
    return bytes(files.SerializeToString())


@lru_cache(maxsize=1)
def _image_module() -> Any:
    return require("foxglove_schemas_protobuf.CompressedImage_pb2", extra="drives", needed_for="The drive log")
