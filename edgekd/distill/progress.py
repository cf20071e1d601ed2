"""What a distillation shows: what it does, where it stands, how fast, how long still."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgekd.config import Config
from edgekd.distill.setup import DistillData, Models
from edgekd.distill.targets import LEVEL_NAMES


def announce(
    console: Console, config: Config, data: DistillData, models: Models, arithmetic: str
) -> None:
    """Say which teacher teaches which student what, on how many images."""
    teacher = models.teacher.identity
    levels = ", ".join(
        f"{LEVEL_NAMES[p.student_stride]}←stride {p.teacher_stride} ({p.embed_dim})"
        for p in models.pairs
    )
    console.print(
        f"teacher [bold]{teacher.name}[/] ({teacher.licence}) → student "
        f"[bold]{config.student.model}[/]: {levels}"
    )
    console.print(
        f"{len(data.manifest.images)} images ({len(data.heldout)} held out, "
        f"{data.manifest.num_duplicates} duplicates, {len(data.manifest.skipped)} unreadable), "
        f"{config.image_size} px, {arithmetic}"
    )


def epoch_line(line: dict[str, Any], epochs: int) -> str:
    """One line of ``metrics.jsonl`` for a log file, where no bar can be drawn."""
    loss = f"loss {line['loss']:.3f}  " if "loss" in line else ""
    return (
        f"distil epoch {line['epoch']}/{epochs}  {loss}held-out cosine "
        f"{line['heldout_cosine']:.3f}  {line['images_per_second']:.0f} images/s"
    )


def filling_progress(console: Console) -> Progress:
    """Bar over the views that go through the teacher."""
    return Progress(
        TextColumn("[bold]fill the feature cache[/]"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=not console.is_terminal,
        disable=not console.is_terminal,
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
