"""Every error edgevad raises on purpose.

EdgevadError
├── OptionError              an option that cannot be used
│   └── ConfigError              a configuration file that cannot be used
├── MissingExtraError        an optional dependency that is not installed
├── OutputError              something could not be written (permission, full disk, wrong kind of path)
├── SourceError              frames could not be read
│   ├── SourceNotFoundError      the path, camera or stream does not exist
│   ├── SourceUnreadableError    it exists, but no frame can be read from it
│   └── CameraLostError          a camera gave frames and gives none any more
├── StoreError               the event store or the catalogue of drives cannot be opened, or is no such thing
├── SinkError                an outlet (broker, web server) cannot be reached or refuses
├── ServiceError             the system's service manager is missing or refuses
├── TrainingError            training cannot start or go on
├── RefitError               a model cannot be brought up to date from these drives
├── ModelError               a model folder is missing, broken or of another version
├── ExportError              a graph cannot be made for the target
│   ├── CalibrationError         there are no frames, or not the right ones, to quantise by
│   └── GraphError               a graph has a form that the target's engine refuses
├── BundleError              a bundle is missing or broken
│   ├── ManifestError            its manifest cannot be read or contradicts itself
│   ├── ChecksumMismatchError    one of its files is not the file that was exported
│   ├── SignatureError           it is not signed by anybody this device trusts
│   └── BlockedBundleError       it was active here, did harm, and must not become so again
├── BackendError             the inference engine refused the bundle or failed while scoring
│   └── EngineError              an engine cannot be built, or not be loaded from the cache
├── DatasetError             a folder is laid out like no known data set, or lacks a part of it
└── LabelError               a label file cannot be read or does not fit the recording

The command line prints the message on one line and exits with code 2.
"""

from __future__ import annotations

from os import PathLike

__all__ = [
    "BackendError",
    "BlockedBundleError",
    "BundleError",
    "CalibrationError",
    "CameraLostError",
    "ChecksumMismatchError",
    "ConfigError",
    "DatasetError",
    "EdgevadError",
    "EngineError",
    "ExportError",
    "GraphError",
    "LabelError",
    "ManifestError",
    "MissingExtraError",
    "ModelError",
    "OptionError",
    "OutputError",
    "RefitError",
    "ServiceError",
    "SignatureError",
    "SinkError",
    "SourceError",
    "SourceNotFoundError",
    "SourceUnreadableError",
    "StoreError",
    "TrainingError",
]


class EdgevadError(Exception):
    """Base of all errors of ours: says what is wrong, where, what was expected and how to fix it, in one line."""

    def __init__(
        self,
        what: str,
        *,
        where: str | PathLike[str] | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = expected
        self.fix = fix
        message = what if self.where is None else f"{self.where}: {what}"
        if expected is not None:
            message += f"; expected {expected}"
        if fix is not None:
            message += f". {fix}"
        super().__init__(" ".join(message.split()))


class OptionError(EdgevadError):
    """An option or configuration value that cannot be used."""


class ConfigError(OptionError):
    """A configuration file cannot be read, or holds what cannot be used."""


class MissingExtraError(EdgevadError):
    """An optional dependency that is not installed, or that cannot be loaded: `broken` says why."""

    def __init__(self, package: str, *, extra: str, needed_for: str, broken: str | None = None) -> None:
        state = "is not installed" if broken is None else f"cannot be loaded ({broken[:200]})"
        again = "" if broken is None else "--force-reinstall "
        super().__init__(
            f"{needed_for} needs the Python package '{package}', which {state}",
            fix=f"Install it with: pip install {again}'edgevad[{extra}]'",
        )
        self.package = package
        self.extra = extra
        self.broken = broken


class OutputError(EdgevadError):
    """Something could not be written."""


class SourceError(EdgevadError):
    """Frames could not be read."""


class SourceNotFoundError(SourceError):
    """The path, camera or stream does not exist."""


class SourceUnreadableError(SourceError):
    """It exists, but no frame can be read from it."""


class CameraLostError(SourceError):
    """A camera gave frames and gives none any more."""


class StoreError(EdgevadError):
    """The event store or the catalogue of drives cannot be opened, or is no such thing."""


class SinkError(EdgevadError):
    """An outlet cannot be reached or refuses what it is given."""


class ServiceError(EdgevadError):
    """The system's service manager is missing or refuses."""


class TrainingError(EdgevadError):
    """Training cannot start or go on."""


class RefitError(EdgevadError):
    """A model cannot be brought up to date from these drives, or a run that does so cannot go on."""


class ModelError(EdgevadError):
    """A model folder is missing, broken or of another version."""


class ExportError(EdgevadError):
    """A graph cannot be made for the target."""


class CalibrationError(ExportError):
    """There are no frames, or not the right ones, to quantise by."""


class GraphError(ExportError):
    """A graph has a form that the target's engine refuses."""


class BundleError(EdgevadError):
    """A bundle is missing or broken."""


class ManifestError(BundleError):
    """The manifest of a bundle cannot be read or contradicts itself."""


class ChecksumMismatchError(BundleError):
    """A file of a bundle is not the file that was exported."""


class SignatureError(BundleError):
    """A bundle is not signed by anybody this device trusts."""


class BlockedBundleError(BundleError):
    """The bundle was active here, did harm, and must not become so again by itself."""


class BackendError(EdgevadError):
    """The inference engine refused the bundle or failed while scoring."""


class EngineError(BackendError):
    """An engine cannot be built, or not be loaded from the cache."""


class DatasetError(EdgevadError):
    """A folder is laid out like no known data set, or lacks a part of it."""


class LabelError(EdgevadError):
    """A label file cannot be read or does not fit the recording."""
