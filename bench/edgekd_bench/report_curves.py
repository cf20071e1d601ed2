"""Read the histories a run leaves behind: distillation metrics and the trainer's ``results.csv``.

Both files grow while a run is alive and may end in half a line after a kill, hold NaN where nothing
was validated, or repeat an epoch after a resume. All that is normal, so lines that cannot be read
are counted, not fatal; drawing is left to ``report_curve_plots``.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Points = list[tuple[float, float]]
_TRAIN_FOLDER = re.compile(r"^(?P<init>.+)-seed(?P<seed>\d+)$")
_VALIDATION = "metrics/mAP50-95(B)"


@dataclass(frozen=True)
class History:
    """Columns of ``(epoch, value)``, finite values only, in order of epoch."""

    columns: Mapping[str, Points] = field(default_factory=dict)
    num_skipped: int = 0

    def points(self, name: str) -> Points:
        """The column ``name``; empty where the file has none."""
        return self.columns.get(name, [])


@dataclass(frozen=True)
class TrainingHistory:
    """One detector training: validation mAP50-95 and the sum of the training losses."""

    init: str
    seed: int
    validation: Points
    loss: Points
    num_skipped: int = 0


def read_distillation(path: Path) -> History | None:
    """``distill/metrics.jsonl``, or None where it is missing."""
    if not path.is_file():
        return None
    table: dict[float, dict[str, float]] = {}
    skipped = 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError):
            raw = None
        if not isinstance(raw, dict):
            skipped += 1
            continue
        values = {str(key): _number(value) for key, value in raw.items()}
        epoch = values.pop("epoch", math.nan)
        table[epoch if math.isfinite(epoch) else float(number)] = values
    return History(_columns(table), skipped)


def read_trainings(folder: Path) -> list[TrainingHistory]:
    """Every ``<init>-seed<k>/results.csv`` under ``folder``, in order of init, then seed."""
    found = []
    for path in folder.glob("*/results.csv"):
        match = _TRAIN_FOLDER.match(path.parent.name)
        if match:
            found.append(_read_training(path, match["init"], int(match["seed"])))
    return sorted(found, key=lambda history: (history.init, history.seed))


def _read_training(path: Path, init: str, seed: int) -> TrainingHistory:
    history = read_csv(path)
    losses = [
        dict(points)
        for name, points in history.columns.items()
        if name.startswith("train/") and name.endswith("loss")
    ]
    common = set.intersection(*map(set, losses)) if losses else set()
    total = [(epoch, sum(loss[epoch] for loss in losses)) for epoch in sorted(common)]
    validation = without_repeats(history.points(_VALIDATION))
    return TrainingHistory(init, seed, validation, total, history.num_skipped)


def read_csv(path: Path) -> History:
    """A CSV whose header and cells may be padded with spaces; an ``epoch`` column is expected."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    table: dict[float, dict[str, float]] = {}
    skipped = 0
    header = rows[0] if rows else []
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            skipped += 1
            continue
        values = {name: _number(cell) for name, cell in zip(header, row, strict=True)}
        epoch = values.pop("epoch", math.nan)
        table[epoch if math.isfinite(epoch) else float(number)] = values
    return History(_columns(table), skipped)


def without_repeats(points: Points) -> Points:
    """Drop values that only repeat the one before.

    Where validation runs every few epochs the trainer writes its last result again in between;
    drawn as it stands that would look like plateaus that were never measured.
    """
    kept: Points = []
    for epoch, value in points:
        if not kept or kept[-1][1] != value:
            kept.append((epoch, value))
    return kept


def mean_curve(curves: list[Points]) -> Points:
    """Mean over ``curves`` at the epochs all of them have."""
    tables = [dict(curve) for curve in curves if curve]
    if not tables:
        return []
    common = set.intersection(*map(set, tables))
    return [(e, sum(table[e] for table in tables) / len(tables)) for e in sorted(common)]


def _number(value: object) -> float:
    """A float, or NaN for whatever is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _columns(table: dict[float, dict[str, float]]) -> dict[str, Points]:
    columns: dict[str, Points] = {}
    for epoch in sorted(table):
        for name, value in table[epoch].items():
            if math.isfinite(value):
                columns.setdefault(name, []).append((epoch, value))
    return columns
