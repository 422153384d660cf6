"""Checks of `edgevad doctor` that can neither crash nor load anything heavy."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit

from edgevad.bundle.home import home_directory
from edgevad.errors import ServiceError
from edgevad.service.clock import check_clock
from edgevad.service.config import RunConfig
from edgevad.service.finding import Finding, failed, good, of_error, warning
from edgevad.service.installing import has_systemd, service_state
from edgevad.service.needs import missing_needs

__all__ = ["CRASH_FIXES", "cameras", "clock", "disk", "machine", "packages", "permissions", "python", "service"]

# What a crash of the process that looked at a thing means.
CRASH_FIXES = {
    "opencv": "Two OpenCV installations may be mixed: pip list | grep -i opencv; keep one",
    "onnxruntime": "Install it anew: pip install --force-reinstall onnxruntime",
    "gpu": "TensorRT and the driver do not fit each other: compare their CUDA versions; restart after an update",
    "bundle": "Run edgevad bundle verify --self-test to see where; export the bundle again for this machine",
    "camera": "The camera's driver crashed: try it with v4l2-ctl --stream-mmap or gst-launch-1.0",
}
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
_CONNECT_S = 3.0
_GIGABYTE = 10**9
_DEFAULT_FLOOR = 500_000_000
_HOT_C = 85.0
_OPTIONAL = {
    "av": "clips",
    "mcap": "drives",
    "paho": "mqtt",
    "prometheus_client": "metrics",
    "cryptography": "sign",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "jtop": "jetson-stats",
}
DEVICES = Path("/dev")


def python(config: RunConfig | None) -> list[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    found = f"{version}, {sys.executable}"
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        return [warning("python", found, "edgevad is tested with Python 3.10 to 3.12")]
    on_a_jetson = Path("/etc/nv_tegra_release").exists()
    settings = Path(sys.prefix) / "pyvenv.cfg"
    if on_a_jetson and settings.exists() and "include-system-site-packages = true" not in settings.read_text():
        fix = "JetPack's TensorRT and OpenCV are invisible here: python3 -m venv --system-site-packages ..."
        return [warning("python", f"{found}, a virtual environment of its own", fix)]
    return [good("python", found)]


def packages(config: RunConfig | None) -> list[Finding]:
    """Optional parts, and everything that the configuration names and this machine lacks."""
    there = [extra for package, extra in _OPTIONAL.items() if util.find_spec(package) is not None]
    findings = [good("packages", f"edgevad {metadata.version('edgevad')}, with {', '.join(there) or 'no extras'}")]
    for line in missing_needs(config) if config is not None else ():
        what, _, fix = line.partition(": pip install ")
        findings.append(failed("config", what, f"pip install {fix}" if fix else None))
    return findings


def cameras(config: RunConfig | None) -> list[Finding]:
    """Those that are connected; of those in the configuration, whether they are there."""
    present = sorted(DEVICES.glob("video*"))
    links = {link.resolve(): link.name for link in sorted((DEVICES / "v4l" / "by-id").glob("*"))}
    findings = []
    for device in present:
        name = f" ({links[device]})" if device in links else ""
        findings.append(_permitted(device) or good("cameras", f"{device}{name}, may be opened"))
    for camera in config.cameras if config is not None else ():
        try:
            findings += _configured(camera.name, camera.source)
        except (OSError, ValueError) as error:  # one camera must not hide the others
            findings.append(failed(f"camera {camera.name}", f"could not be looked for ({error})"))
    if not findings:
        fix = "Connect one, load its driver, or give a container --device /dev/video0; streams need none of that"
        findings.append(warning("cameras", "no camera is connected (/dev/video*)", fix))
    return findings


def _configured(name: str, source: str) -> Iterator[Finding]:
    check = f"camera {name}"
    place = source.partition("?")[0]
    device = DEVICES / f"video{place}" if place.isdigit() else Path(place)
    parts = urlsplit(source) if "://" in source and " ! " not in source else None
    if place.isdigit() or place.startswith("/dev/"):
        if not device.exists():
            yield failed(
                check, f"there is no {device}", "Check cable and driver; ls -l /dev/v4l/by-id shows lasting names"
            )
        else:
            yield _permitted(device, check) or good(check, f"{device} is there")
    elif parts is not None and parts.scheme in _PORTS:
        yield _reachable(check, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    elif parts is None and " ! " not in source:
        path = Path(source).expanduser()
        found = f"the recording {path}"
        yield good(check, found) if path.exists() else failed(check, f"there is no {path}", "Check [[camera]] source")


def _permitted(device: Path, check: str = "cameras") -> Finding | None:
    if os.access(device, os.R_OK | os.W_OK):
        return None
    try:
        group = grp.getgrgid(device.stat().st_gid).gr_name
    except (KeyError, OSError):
        group = "video"
    user = _user_name()
    return failed(check, f"{device} may not be opened by {user}", f"sudo usermod -aG {group} {user}, then log in again")


def _reachable(check: str, host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        fix = "Check the network, the address and the camera's power"
        return failed(check, f"{host}:{port} does not answer ({error})", fix)
    return good(check, f"{host}:{port} answers")


def disk(config: RunConfig | None) -> list[Finding]:
    """Room where state, events and drives go."""
    floor = _DEFAULT_FLOOR
    places = {home_directory(): (floor, 0)}
    for name in ("events", "drives"):
        section = getattr(config, name, None)
        if section is not None:
            places[section.dir or home_directory() / name] = (section.floor_bytes, section.max_bytes)
    return [_room(path, floor_bytes, quota) for path, (floor_bytes, quota) in places.items()]


def _room(path: Path, floor_bytes: int, quota_bytes: int) -> Finding:
    there = next(place for place in (path, *path.parents) if place.exists())
    space = os.statvfs(there)
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    found = f"{path}: {free / _GIGABYTE:.1f} of {total / _GIGABYTE:.1f} GB free"
    if space.f_flag & os.ST_RDONLY:
        return failed("disk", f"{path}: the disk is read-only", "Mount it writable; after errors check it with fsck")
    if free < floor_bytes:
        return failed("disk", f"{found}, less than the floor of {floor_bytes / _GIGABYTE:g} GB", "Free some space")
    if space.f_files and space.f_favail < 1000:
        return failed("disk", f"{found}, but only {space.f_favail} files more", "Delete files that are not needed")
    if quota_bytes > total:
        return warning("disk", f"{found}, but max_bytes is {quota_bytes / _GIGABYTE:g} GB", "Lower max_bytes")
    if free < floor_bytes + _GIGABYTE:
        return warning("disk", f"{found}, close to the floor of {floor_bytes / _GIGABYTE:g} GB", "Free some space")
    return good("disk", found)


def clock(config: RunConfig | None) -> list[Finding]:
    return [check_clock()]


def permissions(config: RunConfig | None) -> list[Finding]:
    """The home folder is ours, and nobody else can change what this device trusts or read its secrets."""
    user, home = _user_name(), home_directory()
    findings = []
    if os.geteuid() == 0:
        fix = f"sudo -u edgevad env EDGEVAD_HOME={home} {sys.argv[0]} doctor ..."
        findings.append(warning("permissions", "root may do everything: look as the service's user", fix))
    there = next(place for place in (home, *home.parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        findings.append(failed("permissions", f"{user} may not write to {there}", f"sudo chown -R {user} {home}"))
    for path in (home, home / "trust", home / "slots"):
        if path.exists() and path.stat().st_mode & stat.S_IWOTH:
            findings.append(failed("permissions", f"anybody may write to {path}", f"chmod o-w {path}"))
    for path in _secret_files(config):
        if path.exists() and path.stat().st_mode & stat.S_IROTH:
            findings.append(warning("permissions", f"anybody may read the secret {path}", f"chmod o-r {path}"))
    if all(finding.state == "warn" for finding in findings):
        findings.append(good("permissions", f"{home} is {user}'s"))
    return findings


def _secret_files(config: RunConfig | None) -> list[Path]:
    if config is None:
        return []
    found = [camera.password_file for camera in config.cameras] + [hook.secret_file for hook in config.webhooks]
    if config.mqtt is not None:
        found += [config.mqtt.password_file, config.mqtt.key_file]
    if config.metrics is not None:
        found.append(config.metrics.token_file)
    return [path for path in found if path is not None]


def machine(config: RunConfig | None) -> list[Finding]:
    """Heat and power, as far as the machine tells."""
    from edgevad.runtime.power import read_machine

    reading = read_machine()
    limit_c = config.governor.temperature_limit_c if config is not None and config.governor is not None else _HOT_C
    parts = [f"power mode {reading.power_mode}"] if reading.power_mode is not None else []
    if reading.temperature_c is not None:
        parts.append(f"hottest zone {reading.temperature_c:.0f} °C")
    if reading.memory_used_bytes is not None and reading.memory_total_bytes is not None:
        used, total = reading.memory_used_bytes / _GIGABYTE, reading.memory_total_bytes / _GIGABYTE
        parts.append(f"{used:.1f} of {total:.1f} GB memory used")
    found = ", ".join(parts) or "it tells neither heat nor power nor memory"
    if reading.throttled:
        fix = "Cool it, or choose another power mode (nvpmodel -q)"
        return [warning("machine", f"{found}, held back by {', '.join(reading.throttled)}", fix)]
    if limit_c and reading.temperature_c is not None and reading.temperature_c > limit_c:
        return [warning("machine", f"{found}, above {limit_c:g} °C: fewer frames are looked at", "Cool it")]
    return [good("machine", found)]


def service(config: RunConfig | None) -> list[Finding]:
    """The installed service, where systemd runs."""
    if not has_systemd():
        return [good("service", "systemd does not run here (a container?)")]
    try:
        state = service_state()
    except ServiceError as error:
        return [of_error("service", error, "warn")]
    if not state.is_installed:
        return [good("service", "not installed")]
    values = state.properties
    restarts = values.get("NRestarts") or "0"
    found = f"{values.get('ActiveState')}, {restarts} restarts, {values.get('StatusText') or 'says nothing'}"
    if values.get("ActiveState") == "failed" or values.get("Result") not in ("", None, "success"):
        return [failed("service", f"{found}, last result {values.get('Result')}", "journalctl -u edgevad -e")]
    if restarts.isdigit() and int(restarts) > 3:
        return [warning("service", found, "Why: journalctl -u edgevad -e")]
    return [good("service", found)]


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
