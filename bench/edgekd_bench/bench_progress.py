"""Show how far a benchmark is, or nothing at all where no console was given.

A terminal gets a bar. Into a file or a pipe nothing is drawn, unless whoever reads it asks for a
line a stage by ``EDGEKD_PROGRESS=lines``, as the one who follows a run on another machine does.

During latency rounds the bar redraws only when it is told to, between timed calls: a background
thread that draws would take time from the network it is watching.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_REDRAW_SECONDS = 0.25
PROGRESS_VARIABLE = "EDGEKD_PROGRESS"


def is_shown(console: Console | None) -> bool:
    """Whether progress on this console is seen by anybody."""
    wanted = os.environ.get(PROGRESS_VARIABLE) == "lines"
    return console is not None and (console.is_terminal or wanted)


class BenchProgress:
    """A progress display of consecutive stages."""

    def __init__(self, console: Console | None) -> None:
        self._bar: Progress | None = None
        self._lines: Console | None = None
        if console is not None and not console.is_terminal:
            self._lines = console if is_shown(console) else None
        elif console is not None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                auto_refresh=False,
                transient=True,
            )

    def __enter__(self) -> BenchProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def stage(self, description: str, total: int | None) -> Iterator[Callable[[], None]]:
        """Show one stage; yields what to call after each of its ``total`` steps."""
        if self._lines is not None:
            self._lines.print(description, markup=False)
        if self._bar is None:
            yield lambda: None
            return
        bar = self._bar
        task = bar.add_task(description, total=total)
        last_drawn = 0.0

        def advance() -> None:
            nonlocal last_drawn
            bar.update(task, advance=1)
            if time.monotonic() - last_drawn > _REDRAW_SECONDS:
                bar.refresh()
                last_drawn = time.monotonic()

        try:
            yield advance
        finally:
            bar.remove_task(task)
