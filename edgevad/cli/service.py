"""edgevad service: run as a service of the system, from its start on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgevad.cli._options import Json

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time

_CONFIG = Path("/etc/edgevad/edgevad.toml")
Root = Annotated[
    Path, typer.Option("--root", help="Folder of a system's image, for which this is done.", show_default="this system")
]


def register(app: typer.Typer) -> None:
    """Add `service` and its sub-commands to the application."""
    group = typer.Typer(help="Run edgevad as a service of the system (systemd).")
    group.command("install")(install)
    group.command("status")(status)
    group.command("uninstall")(uninstall)
    app.add_typer(group, name="service", no_args_is_help=True)


def install(
    config: Annotated[Path, typer.Option("--config", help="Configuration in TOML.")] = _CONFIG,
    root: Root = Path("/"),
    executable: Annotated[
        Optional[Path],
        typer.Option("--executable", help="The program edgevad on that system.", show_default="this one"),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Start it at once, not only at the next boot.")
    ] = True,
    all_devices: Annotated[
        bool,
        typer.Option("--all-devices", help="Open all devices, where the list in the unit lacks one of this board's."),
    ] = False,
    memory_max: Annotated[
        str, typer.Option("--memory-max", help="Memory it may take, such as 2G.", show_default="no limit")
    ] = "",
    refit: Annotated[
        Optional[str],
        typer.Option(
            "--refit",
            metavar="HOW-OFTEN",
            help="Refit the model from logged drives: daily, weekly, monthly or never.",
            show_default="as it is installed, else never",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the files and what would be run; do nothing.")
    ] = False,
) -> None:
    """Check the configuration, write the unit and its user, enable and start the service."""
    from edgevad.service.installing import plan_installation

    program = None if executable is None else (str(executable),)
    plan = plan_installation(
        config,
        root=root,
        command=program,
        start=start,
        all_devices=all_devices,
        memory_max=memory_max,
        refit=refit,
    )
    if dry_run:
        for path in plan.removed:
            print(f"# would remove {path}")
        for path, text in plan.files.items():
            print(f"# {path}\n{text}")
        for command in plan.commands:
            print("# would run: " + " ".join(command))
        return
    plan.carry_out()
    for path in plan.removed:
        print(f"Removed {path}")
    for path in plan.files:
        print(f"Wrote {path}")
    for command in plan.commands:
        print("Ran " + " ".join(command))
    print("Next: edgevad service status, journalctl -u edgevad -f")


def status(json_output: Json = False) -> None:
    """Say how the service is; exit code 3 where it does not run, as systemctl has it."""
    from edgevad.service.installing import service_state

    state = service_state()
    if json_output:
        flags = {"installed": state.is_installed, "active": state.is_active}
        print(json.dumps({**flags, **state.properties, "refit": state.refit}))
    elif not state.is_installed:
        print("The service is not installed. Run: sudo edgevad service install")
    else:
        from rich.console import Console

        from edgevad.report.service_view import service_table

        Console().print(service_table(state.properties, state.refit))
    if not state.is_active:
        raise typer.Exit(3)


def uninstall(root: Root = Path("/")) -> None:
    """Stop and remove the service; configuration, events, drives and bundles stay."""
    from edgevad.service.installing import uninstall as take_off

    for path in take_off(root):
        print(f"Removed {path}")
    print("Configuration (/etc/edgevad), data (/var/lib/edgevad) and the user edgevad stay.")
