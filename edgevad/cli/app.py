"""Puts the commands together and turns our errors into one line and exit code 2."""

from __future__ import annotations

import importlib
import sys

import typer

from edgevad import __version__
from edgevad.errors import EdgevadError

__all__ = ["build_app", "main"]

# In the order of a first day with edgevad; each module offers `register(app)`.
COMMANDS = (
    "demo",
    "synth",
    "train",
    "export",
    "targets",
    "bundle",
    "run",
    "events",
    "evaluate",
    "gate",
    "history",
    "activate",
    "slots",
    "refit",
    "build",
    "bench",
    "drives",
    "drift",
    "inspect",
    "dataset",
    "config",
    "service",
    "doctor",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"edgevad {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The typer application with every command registered."""
    app = typer.Typer(
        name="edgevad",
        help="Fully unsupervised video anomaly detection for vehicles: train, export, run.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    ) -> None:
        pass

    for name in COMMANDS:
        importlib.import_module(f"edgevad.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point of the `edgevad` command."""
    try:
        build_app()()
    except EdgevadError as error:
        print(f"edgevad: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away (| head)
        sys.stderr.close()
        sys.exit(141)
