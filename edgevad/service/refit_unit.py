"""The pair of units that refit the model now and then: a timer, and the service it starts.

The service is the other one's guest: the same user, folders and walls, none of its cameras and none of its network. It
takes what processor, disk and memory the other one leaves, and is the first to go where memory is out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from edgevad.errors import OptionError
from edgevad.service.unit import UNIT_NAME, USER, UnitSpec, devices_text, escaped, sandbox_text

__all__ = [
    "NEVER",
    "REFIT_TIMER",
    "REFIT_UNIT",
    "SCHEDULES",
    "refit_timer_text",
    "refit_unit_text",
    "schedule_of",
    "schedule_seen",
]

REFIT_UNIT = "edgevad-refit.service"
REFIT_TIMER = "edgevad-refit.timer"
SCHEDULES = ("daily", "weekly", "monthly")
NEVER = "never"


def schedule_of(text: str) -> str | None:
    """What `--refit TEXT` asks for; None for "never". Raises OptionError for anything else than these and SCHEDULES."""
    if text not in (*SCHEDULES, NEVER):
        raise OptionError(f"refit {text[:40]!r}", expected="one of " + ", ".join((*SCHEDULES, NEVER)))
    return None if text == NEVER else text


def schedule_seen(timer: Path) -> str | None:
    """The schedule in a timer that was written before; None where there is none, or none of ours."""
    try:
        lines = timer.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((name for name in SCHEDULES if f"OnCalendar={name}" in lines), None)


def refit_timer_text(schedule: str) -> str:
    """The whole timer; `schedule` is one of SCHEDULES."""
    return dedent(f"""\
        # Made by edgevad service install --refit {schedule}; changes belong into: systemctl edit {REFIT_TIMER}
        [Unit]
        Description=edgevad, refit the model {schedule}

        [Timer]
        OnCalendar={schedule}
        # A vehicle sleeps most of the time: what it slept through is made up for, some time after it woke.
        Persistent=true
        RandomizedDelaySec=15min
        AccuracySec=1min

        [Install]
        WantedBy=timers.target
        """)


def refit_unit_text(spec: UnitSpec) -> str:
    """The whole service; `spec` is that of the service that scores."""
    # What learns (PyTorch) writes machine code while it runs; and nobody is called, whatever the other one's sinks are.
    walls = replace(spec, needs_network=False, needs_jit=True, has_csi=False, has_plugins=False, all_devices=False)
    return "\n".join([_unit(spec), _service(spec), _resources(), sandbox_text(walls), _devices(spec)])


def _unit(spec: UnitSpec) -> str:
    mounts = " ".join(escaped(path) for path in (spec.config, *spec.readable, *spec.writable))
    return dedent(f"""\
        # Made by edgevad service install; changes belong into: systemctl edit {REFIT_UNIT}
        [Unit]
        Description=edgevad, refit the model from logged drives
        Documentation=man:systemd.service(5)
        After={UNIT_NAME}
        RequiresMountsFor={mounts}
        """)


def _service(spec: UnitSpec) -> str:
    parts = (*spec.command, "refit", "--config", str(spec.config))
    command = " ".join(escaped(part).replace("$", "$$") for part in parts)
    # No RuntimeDirectory: it would be taken away from the service that scores when this one ends.
    return dedent(f"""\
        [Service]
        Type=oneshot
        ExecStart={command}
        # It has a budget of its own; what is killed goes on where it was the next time.
        TimeoutStartSec=infinity
        # A challenger that was refused, and minutes that were not enough, are no failures of the service.
        SuccessExitStatus=1 75
        KillMode=mixed
        TimeoutStopSec=30

        User={USER}
        Group={USER}
        SupplementaryGroups={" ".join(spec.groups)}
        StateDirectory=edgevad
        StateDirectoryMode=0750
        CacheDirectory=edgevad
        ConfigurationDirectory=edgevad
        Environment=EDGEVAD_HOME=%S/edgevad
        Environment=CUDA_CACHE_PATH=%C/edgevad/cuda XDG_CACHE_HOME=%C/edgevad
        Environment=PYTHONFAULTHANDLER=1
        UMask=0027
        """)


def _resources() -> str:
    return dedent("""\
        # Only what nobody else wants.
        Nice=19
        CPUSchedulingPolicy=batch
        CPUWeight=5
        IOSchedulingClass=idle
        IOWeight=5
        OOMScoreAdjust=800
        OOMPolicy=stop
        LimitCORE=0
        """)


def _devices(spec: UnitSpec) -> str:
    """The GPU where the other one may have it; cameras never."""
    lines = devices_text(replace(spec, has_plugins=False, all_devices=False)).splitlines(keepends=True)
    return "".join(line for line in lines if "video4linux" not in line and "media" not in line)
