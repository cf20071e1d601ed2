"""The two shapes everything in an inspection is shown in: named facts, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

_KEY_WIDTH = 16
_SHORT_HASH = 16


def facts(**values: str | None) -> RenderableType:
    """One line a fact, keys in a column of their own; what is None is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_KEY_WIDTH, style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in values.items():
        if value is not None:
            grid.add_row(f"  {key.replace('_', ' ')}", Text(value))
    return grid


def heading(text: str) -> Text:
    """The name of a part."""
    return Text(f"\n{text}", style="bold")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> RenderableType:
    """A table; its last ``right`` columns hold numbers."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False)
    for index, name in enumerate(headings):
        is_number = index >= len(headings) - right
        drawn.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def short(sha256: str) -> str:
    """Enough of a hash to recognise it; the JSON has all of it."""
    return sha256[:_SHORT_HASH]


def bytes_text(size: float) -> str:
    """``10.4 MB`` (10^6 bytes), kB or B where it is less than one."""
    if size < 1e3:
        return f"{size:.0f} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_a_row(values: Mapping[str, object]) -> str:
    """``a 1, b 2``"""
    return ", ".join(f"{key} {value}" for key, value in values.items())
