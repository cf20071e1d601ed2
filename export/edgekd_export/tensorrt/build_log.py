"""What TensorRT says while it parses and builds, kept so that a refusal can be explained.

TensorRT keeps the first logger of a process for all later builders and ignores the others, so
there is one for each library here, and each build reads the stretch that is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_WORTH_KEEPING = ("INTERNAL_ERROR", "ERROR", "WARNING")
_NOT_OURS = "differs from one already registered"  # another logger of this process came first
_loggers: dict[str, tuple[Any, list[LogLine]]] = {}


@dataclass(frozen=True)
class LogLine:
    """One message of at least warning level, on one line."""

    severity: str
    text: str


@dataclass
class BuildLog:
    """The messages of one build."""

    logger: Any  # a ``trt.ILogger``, to be given to the builder and the parser
    _lines: list[LogLine]
    _start: int = field(init=False)

    def __post_init__(self) -> None:
        self._start = len(self._lines)

    @property
    def lines(self) -> list[LogLine]:
        """Everything since this build began, oldest first."""
        return [line for line in self._lines[self._start :] if _NOT_OURS not in line.text]

    @property
    def warnings(self) -> list[str]:
        """What was odd but did not stop the build."""
        return [line.text for line in self.lines if line.severity == "WARNING"]

    @property
    def reason(self) -> str:
        """The last error, cut to a readable length."""
        errors = [line.text for line in self.lines if line.severity != "WARNING"]
        return errors[-1][:300] if errors else "TensorRT gave no reason"


def open_build_log(trt: Any) -> BuildLog:
    """A log for one build with the library ``trt``."""
    name: str = trt.__name__
    if name not in _loggers:
        lines: list[LogLine] = []
        _loggers[name] = (_make_logger(trt, lines), lines)
    logger, lines = _loggers[name]
    return BuildLog(logger, lines)


def _make_logger(trt: Any, lines: list[LogLine]) -> Any:
    class KeepingLogger(trt.ILogger):  # type: ignore[misc]  # known only once trt is imported
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 refuses a cooperative super().__init__()

        def log(self, severity: Any, message: str) -> None:
            if severity.name in _WORTH_KEEPING:
                lines.append(LogLine(severity.name, " ".join(message.split())))

    return KeepingLogger()
