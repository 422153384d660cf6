"""What TensorRT calls while it works: a logger and a progress monitor, as subclasses of its own classes."""

from __future__ import annotations

from typing import Any

from edgevad.runtime.engines.options import BuildProgress, BuildStep

__all__ = ["make_log", "make_monitor", "one_line"]


def make_log(trt: Any) -> Any:
    """A logger that keeps TensorRT's latest complaints for our messages, and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # bindings want it called by name
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors = [*self.errors[-7:], one_line(message)]

        def last(self) -> str:
            return self.errors[-1] if self.errors else "it does not say why"

    return Log()


def make_monitor(trt: Any, progress: BuildProgress) -> Any:
    """Hands TensorRT's phases on, as they nest."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self._phases: dict[str, tuple[str | None, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase or None, num_steps)
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return self.failure is None  # False ends the build

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def _tell(self, phase: str, done: int) -> None:
            parent, total = self._phases.get(phase, (None, 0))
            try:
                progress(BuildStep(phase, parent, done, total))
            except BaseException as error:  # must not pass through TensorRT: it is raised after the build
                self.failure = self.failure or error

    return Monitor()


def one_line(text: str) -> str:
    """`text` without line breaks, cut at 300 characters."""
    return " ".join(text.split())[:300]
