"""The progress line of a distillation: where it stands, how fast, how long still."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def distill_progress(console: Console) -> Progress:
    """Bar over all batches with epoch, loss, held-out cosine, images/s and time left."""
    return Progress(
        TextColumn("[bold]distil[/] epoch {task.fields[epoch]}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("cos {task.fields[cosine]:.3f}"),
        TextColumn("{task.fields[rate]:.0f} img/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=not console.is_terminal,
        disable=not console.is_terminal,
    )
