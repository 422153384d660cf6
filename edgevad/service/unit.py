"""The systemd unit: what the service may see, touch and use, and that it always comes back.

Everything is closed that scoring does not need. What stays open, and why:

- cameras and GPU are devices, so there is no PrivateDevices; DeviceAllow lists them, by driver, so that a camera that
  is plugged in later is one of them;
- GPU drivers, OpenVINO and GStreamer write machine code while they run (OpenVINO refuses every graph otherwise, ONNX
  Runtime does without), so memory may be made executable where they are used;
- /proc is whole, but for other users' processes: memory, board and driver are read there;
- the network is there where the configuration has something that needs it, and only then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from edgevad.service.config import RunConfig
from edgevad.service.needs import read_paths, written_folders

__all__ = [
    "GROUPS",
    "PLUGIN_GROUPS",
    "STATE",
    "UNIT_NAME",
    "USER",
    "UnitSpec",
    "devices_text",
    "escaped",
    "sandbox_text",
    "sysusers_text",
    "unit_spec",
    "unit_text",
]

UNIT_NAME = "edgevad.service"
USER = "edgevad"
STATE = Path("/var/lib/edgevad")
# Those of them that a machine has are joined: of cameras, GPU, jetson-stats; of plug-ins' pins and buses.
GROUPS = ("video", "render", "jtop")
PLUGIN_GROUPS = ("gpio", "i2c", "dialout")

_CAMERAS = ("char-video4linux rw", "char-media rw")
# As /proc/devices calls drivers of GPUs, and those devices of a Jetson that share the number of "misc".
_GPU = (
    "char-nvidia* rw",
    "char-nvhost* rw",
    "char-nvgpu* rw",
    "char-nvmap rw",
    "/dev/nvmap rw",
    "/dev/host1x-fence rw",
    "char-drm rw",
)
_PLUGINS = (
    "char-gpiochip* rw",
    "char-i2c rw",
    "char-ttyUSB rw",
    "char-ttyACM rw",
    "char-ttyTHS rw",
    "char-ttyAMA rw",
    "char-ttyS rw",
)


@dataclass(frozen=True)
class UnitSpec:
    """What differs from one vehicle's unit to the next.

    Attributes:
        command: what starts edgevad, before its own arguments.
        config: the configuration file.
        groups: joined beside the user's own.
        readable: files and folders beside the program's own that it reads, and whose disks are waited for.
        writable: folders beside /var/lib/edgevad that are written to.
        needs_network: a camera, sink or plugin of the configuration uses it.
        needs_jit: the engine, or GStreamer, writes machine code while it runs.
        needs_gpu, has_csi, has_plugins: devices and places that are opened for them.
        sees_homes: the program, its configuration, or what that names lies in somebody's home.
        all_devices: no list of devices, for boards whose drivers it does not know.
        memory_max: bytes, as systemd writes them ("2G"), or "" for no limit.
        systemd_version: of the machine it is for; what that does not know is left out.
    """

    command: tuple[str, ...]
    config: Path
    groups: tuple[str, ...] = ("video",)
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    needs_network: bool = True
    needs_jit: bool = True
    needs_gpu: bool = True
    has_csi: bool = False
    has_plugins: bool = False
    sees_homes: bool = False
    all_devices: bool = False
    memory_max: str = ""
    systemd_version: int = 249


def unit_spec(
    config: RunConfig, command: tuple[str, ...], *, groups: tuple[str, ...] = ("video",), **more: object
) -> UnitSpec:
    """What the unit for `config` has to allow; `more` are further fields of `UnitSpec`."""
    sources = [camera.source for camera in config.cameras]
    is_networked = any("://" in source and not source.startswith("csi:") for source in sources)
    # Its videoconvert compiles what it does to pixels (ORC).
    has_gstreamer = any(source.startswith("csi:") or " ! " in source for source in sources)
    sinks = (config.mqtt, config.metrics, *config.webhooks)
    return UnitSpec(
        command,
        config.path,
        groups=groups,
        readable=tuple(read_paths(config)),
        writable=tuple(path for path in written_folders(config) if not path.is_relative_to(STATE)),
        needs_network=is_networked or bool(config.plugins) or any(sink is not None for sink in sinks),
        needs_jit=config.run.backend != "onnxruntime" or has_gstreamer,
        needs_gpu=config.run.backend not in ("onnxruntime", "openvino"),
        has_csi=any(source.startswith("csi:") or "nvargus" in source for source in sources),
        has_plugins=bool(config.plugins),
        **more,  # type: ignore[arg-type]
    )


def sysusers_text() -> str:
    """The service's own user, for systemd-sysusers."""
    return f'# Made by edgevad service install.\nu {USER} - "edgevad, video anomaly detection" {STATE}\n'


def unit_text(spec: UnitSpec) -> str:
    """The whole unit file."""
    return "\n".join(
        [_unit(spec), _service(spec), _resources(spec), sandbox_text(spec), devices_text(spec), _install()]
    )


def _unit(spec: UnitSpec) -> str:
    mounts = " ".join(escaped(path) for path in (spec.config, *spec.readable, *spec.writable))
    return dedent(f"""\
        # Made by edgevad service install; changes belong into: systemctl edit edgevad
        [Unit]
        Description=edgevad, unsupervised video anomaly detection
        Documentation=man:systemd.service(5)
        # A sane clock, where the machine can have one early; nothing here waits for a network.
        Wants=time-set.target
        After=time-set.target network.target nvargus-daemon.service nvpmodel.service jtop.service
        RequiresMountsFor={mounts}
        # A car has nobody who would start it again: it is tried for ever.
        StartLimitIntervalSec=0
        """)


def _service(spec: UnitSpec) -> str:
    parts = (*spec.command, "run", "--config", str(spec.config))
    command = " ".join(escaped(part).replace("$", "$$") for part in parts)
    # Each start costs a second of a core; but systemd counts from the boot on, so the longest pause must do, too, for
    # what happens once a week.
    steps = "RestartSteps=4\nRestartMaxDelaySec=15\n" if spec.systemd_version >= 254 else ""
    return (
        dedent(f"""\
        [Service]
        Type=notify
        NotifyAccess=main
        ExecStart={command}
        ExecReload=/bin/kill -HUP $MAINPID
        # An engine that has to be built first asks for more time by itself.
        TimeoutStartSec=120
        WatchdogSec=20
        Restart=on-failure
        RestartSec=2
        """)
        + steps
        + dedent(f"""\
        # The main process finishes its files; what it started is ended after it.
        KillMode=mixed
        KillSignal=SIGTERM
        TimeoutStopSec=10

        User={USER}
        Group={USER}
        SupplementaryGroups={" ".join(spec.groups)}
        StateDirectory=edgevad
        StateDirectoryMode=0750
        CacheDirectory=edgevad
        RuntimeDirectory=edgevad
        ConfigurationDirectory=edgevad
        Environment=EDGEVAD_HOME=%S/edgevad
        Environment=CUDA_CACHE_PATH=%C/edgevad/cuda XDG_CACHE_HOME=%C/edgevad
        # Where the watchdog ends a hung process, the journal shows where it hung.
        Environment=PYTHONFAULTHANDLER=1
        UMask=0027
        """)
    )


def _resources(spec: UnitSpec) -> str:
    limit = f"MemoryMax={spec.memory_max}\n" if spec.memory_max else ""
    return (
        dedent("""\
        # Frames come on time, and memory runs out for others first; a build of an engine that is killed for memory
        # ends that build, not the service.
        Nice=-5
        CPUWeight=200
        IOWeight=50
        OOMScoreAdjust=-500
        OOMPolicy=continue
        LimitCORE=0
        """)
        + limit
    )


def sandbox_text(spec: UnitSpec) -> str:
    """What the service may see, write and call."""
    writable = "".join(f"ReadWritePaths=-{escaped(path)}\n" for path in spec.writable)
    families = "AF_UNIX"
    if spec.needs_network:
        families += " AF_INET AF_INET6" + (" AF_CAN" if spec.has_plugins else "")
    network = "" if spec.needs_network else "IPAddressDeny=any\n"
    # CSI cameras are spoken to through a socket in /tmp.
    private_tmp = "no" if spec.has_csi else "yes"
    return (
        dedent(f"""\
        ProtectSystem=strict
        ProtectHome={"read-only" if spec.sees_homes else "yes"}
        PrivateTmp={private_tmp}
        """)
        + writable
        + network
        + dedent(f"""\
        NoNewPrivileges=yes
        CapabilityBoundingSet=
        AmbientCapabilities=
        ProtectClock=yes
        ProtectControlGroups=yes
        ProtectHostname=yes
        ProtectKernelLogs=yes
        ProtectKernelModules=yes
        ProtectKernelTunables=yes
        ProtectProc=invisible
        PrivateMounts=yes
        PrivateNetwork={"no" if spec.needs_network else "yes"}
        RestrictAddressFamilies={families}
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes
        RemoveIPC=yes
        KeyringMode=private
        LockPersonality=yes
        MemoryDenyWriteExecute={"no" if spec.needs_jit else "yes"}
        SystemCallArchitectures=native
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged
        SystemCallErrorNumber=EPERM
        """)
    )


def devices_text(spec: UnitSpec) -> str:
    """Which devices it may open."""
    if spec.all_devices:
        return "DevicePolicy=auto\n"
    devices = _CAMERAS + (_GPU if spec.needs_gpu else ()) + (_PLUGINS if spec.has_plugins else ())
    return "DevicePolicy=closed\n" + "".join(f"DeviceAllow={device}\n" for device in devices)


def _install() -> str:
    return "[Install]\nWantedBy=multi-user.target\n"


def escaped(part: str | Path) -> str:
    """One word of a unit file: blanks and quotes quoted, `%` meaning itself. `$` is a mark in commands alone."""
    text = str(part).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(mark in text for mark in " '\"\\;") else text
