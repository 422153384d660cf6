"""Checks of `edgevad doctor` that may crash or hang: each runs in a process of its own, which prints what it found."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevad.errors import BundleError, EdgevadError
from edgevad.service.config import RunConfig, load_config
from edgevad.service.doctor import MARK
from edgevad.service.finding import Finding, failed, good, of_error, warning

if TYPE_CHECKING:
    from edgevad.bundle import Bundle

__all__ = ["main"]

_WATCH_S = 2.0


def main() -> int:
    request = json.load(sys.stdin)
    try:
        config = None if request["config"] is None else load_config(request["config"])
        findings = _PROBES[request["check"]](config, request)
    except EdgevadError as error:
        findings = [of_error(request["about"], error)]
    print(MARK + json.dumps([finding.to_json() for finding in findings]), flush=True)
    return 0


def _opencv(config: RunConfig | None, request: dict[str, Any]) -> list[Finding]:
    try:
        from edgevad.sources.opencv import cv2, has_gstreamer
    except ImportError as error:
        fix = "sudo apt-get install libgl1 libglib2.0-0, or pip install opencv-python-headless instead of opencv-python"
        return [failed("opencv", f"cannot be imported ({error})", fix)]
    with_gstreamer = has_gstreamer()
    with_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    parts = f"{'with' if with_gstreamer else 'without'} GStreamer, {'with' if with_ffmpeg else 'without'} FFmpeg"
    found = f"{cv2.__version__}, {parts}, {Path(cv2.__file__).parent}"
    sources = [camera.source for camera in config.cameras] if config is not None else []
    findings = []
    if not with_gstreamer and any(source.startswith("csi:") or " ! " in source for source in sources):
        findings.append(failed("opencv", f"{found}: a camera of the configuration needs GStreamer", _gstreamer_fix()))
    if not with_ffmpeg and any(source.startswith(("rtsp", "http")) for source in sources):
        fix = "pip install --force-reinstall opencv-python"
        findings.append(failed("opencv", f"{found}: a camera of the configuration needs FFmpeg", fix))
    shadowed = _system_opencv(Path(cv2.__file__))
    if shadowed is not None and not with_gstreamer and not findings:
        findings.append(warning("opencv", f"{found}; it shadows the system's in {shadowed}", _gstreamer_fix()))
    several = sorted(
        name
        for distribution in metadata.distributions()
        if (name := str(distribution.metadata["Name"] or "").lower()).startswith("opencv-")
    )
    if len(several) > 1:
        fix = f"They overwrite each other's files: pip uninstall {' '.join(several)}, then install one of them"
        findings.append(warning("opencv", f"{len(several)} of pip's packages at once: {', '.join(several)}", fix))
    return findings or [good("opencv", found)]


def _gstreamer_fix() -> str:
    return (
        "pip's OpenCV has no GStreamer, the system's has: sudo apt-get install python3-opencv, pip uninstall "
        "opencv-python, and a virtual environment with --system-site-packages"
    )


def _system_opencv(used: Path) -> Path | None:
    """Another cv2 that the system's packages brought, for this Python."""
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in (Path("/usr/lib/python3/dist-packages"), Path(f"/usr/lib/{minor}/dist-packages")):
        if not used.is_relative_to(folder) and any(folder.glob("cv2*")):
            return folder
    return None


def _camera(config: RunConfig | None, request: dict[str, Any]) -> list[Finding]:
    """Open it and look at it for a while."""
    from edgevad.sources import open_source

    with open_source(str(request["camera"])) as source:
        started_s, count, shape = time.monotonic(), 0, (0, 0, 0)
        for frame in source:
            count, shape = count + 1, frame.shape
            if time.monotonic() - started_s > _WATCH_S:
                break
        elapsed_s = time.monotonic() - started_s
    rate = f", {count / elapsed_s:.1f} frames a second" if source.is_live and elapsed_s > 0 else ""
    return [good(request["about"], f"opens and gives {shape[1]}x{shape[0]}{rate}")]


def _onnxruntime(config: RunConfig | None, request: dict[str, Any]) -> list[Finding]:
    try:
        import onnxruntime
    except ImportError as error:
        return [failed("onnxruntime", f"cannot be imported ({error})", "pip install --force-reinstall onnxruntime")]
    providers = ", ".join(onnxruntime.get_available_providers())
    return [good("onnxruntime", f"{onnxruntime.__version__}, {providers}")]


def _gpu(config: RunConfig | None, request: dict[str, Any]) -> list[Finding]:
    """Driver, GPU and TensorRT, as far as the bundle needs them."""
    from edgevad.runtime.engines.machine import find_machine

    backend, versions = _wanted(config)
    if backend != "tensorrt":
        return [_unneeded_gpu()]
    try:
        machine = find_machine()
    except EdgevadError as error:
        return [of_error("gpu", error)]
    gpu = (
        f"{machine.gpu}, compute capability {machine.compute_capability}, driver {machine.driver}, CUDA {machine.cuda}"
    )
    findings = [good("gpu", f"{gpu}, power mode {machine.power_mode}"), good("tensorrt", machine.tensorrt)]
    major = machine.tensorrt.partition(".")[0]
    if versions and major not in {version.partition(".")[0] for version in versions}:
        found = f"{machine.tensorrt}; the bundle's target is known with {', '.join(versions)}"
        findings[1] = warning("tensorrt", found, "If its engine is not built: export the bundle again for this device")
    return findings


def _unneeded_gpu() -> Finding:
    from edgevad.runtime.engines.cuda_driver import CudaDriver, CudaDriverError
    from edgevad.runtime.engines.machine import has_driver

    if not has_driver():
        return good("gpu", "no NVIDIA driver, and nothing here needs one")
    try:
        facts = CudaDriver().facts()
    except CudaDriverError as error:
        return warning("gpu", f"an NVIDIA driver that shows no GPU ({error}); nothing here needs one")
    return good("gpu", f"{facts.name}, compute capability {facts.compute_capability}; nothing here needs it")


def _wanted(config: RunConfig | None) -> tuple[str | None, tuple[str, ...]]:
    """The engine that is to score, and the versions of TensorRT that the bundle's target is known with."""
    from edgevad.bundle import ANYBODY, Bundle
    from edgevad.targets import Target

    chosen = config.run.backend if config is not None else None
    try:
        # It is only looked at: whoever signed it.
        manifest = Bundle.open(_bundle_path(config), verify=False, trust=ANYBODY).manifest
        target = Target.from_json(manifest.profile)
    except (EdgevadError, KeyError, TypeError, ValueError):
        return chosen, ()
    return chosen or manifest.backend, tuple(row.tensorrt for row in target.software if row.tensorrt)


def _bundle_path(config: RunConfig | None) -> Path:
    from edgevad.bundle import active_bundle

    return config.run.bundle if config is not None and config.run.bundle is not None else active_bundle()


def _bundle(config: RunConfig | None, request: dict[str, Any]) -> list[Finding]:
    """It opens, somebody trusted signed it where that is asked for, and it gives the scores it was exported with."""
    from edgevad.bundle import Bundle
    from edgevad.bundle.trust import device_state
    from edgevad.runtime.selftest import self_test

    try:
        path = _bundle_path(config)
    except BundleError as error:
        return [of_error("bundle", error)]
    bundle = Bundle.open(path)
    bundle.check()
    started_s = time.perf_counter()
    deviation = self_test(bundle, backend=config.run.backend if config is not None else None)
    elapsed_s = time.perf_counter() - started_s
    manifest = bundle.manifest
    signed = device_state(bundle.manifest_bytes, bundle.signature_bytes, bundle.path).says
    found = f"{manifest.name} for {manifest.target}, {manifest.precision}; {signed}{_trial(bundle)}"
    return [good("bundle", f"{found}; self-test within {deviation:.1e} in {elapsed_s:.1f} s")]


def _trial(bundle: Bundle) -> str:
    """That it is on trial, where it is."""
    from edgevad.bundle import Slots

    current = Slots.of_device().current
    if current is None or current.digest != bundle.digest or current.state != "trial":
        return ""
    return f"; on trial, {current.trial.running_s / 60:.1f} minutes so far"


_PROBES: dict[str, Callable[[RunConfig | None, dict[str, Any]], list[Finding]]] = {
    "opencv": _opencv,
    "camera": _camera,
    "onnxruntime": _onnxruntime,
    "gpu": _gpu,
    "bundle": _bundle,
}
