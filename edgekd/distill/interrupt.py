"""Turn Ctrl-C and SIGTERM into a flag the loop reads between two steps.

A checkpoint written from inside a signal handler would be half a step old; so the handler only
takes note, the loop finishes its step, saves and says so. A second signal stops at once.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class StopRequest:
    """Context manager; ``requested`` holds the signal's name once one has arrived."""

    def __init__(self) -> None:
        self.requested: str | None = None
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested is not None:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
