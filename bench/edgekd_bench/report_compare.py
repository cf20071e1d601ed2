"""What changed between two runs: two versions of a model, or two devices.

Two runs share neither the minute nor, as a rule, the machine, so nothing in them is paired: of mAP
only the point estimates can be subtracted, and of latency only the two intervals be held against
each other. What differed around the measurements is collected first, because it may be the cause.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekd_bench.errors import InputError
from edgekd_bench.record import Row
from edgekd_bench.report_numbers import MISSING, counted, fixed, interval, signed
from edgekd_bench.report_provenance import flattened
from edgekd_bench.report_rows import measured
from edgekd_bench.report_runs import Run, data_hash

SAME_LATENCY = 0.01  # changes up to this share are not called faster or slower
SAME_MAP = 0.0005  # three decimals
Reading = Literal["faster", "slower", "not told apart", "flagged", "not trusted", "no interval"]
_WORDS: dict[Reading, str] = {
    "faster": "faster",
    "slower": "slower",
    "not told apart": "not told apart",
    "flagged": "flagged",
    "not trusted": "not to be trusted",
    "no interval": "without an interval",
}
MapReading = Literal["equal", "no interval", "other images"]


@dataclass(frozen=True)
class Ratio:
    """After over before; ``low`` and ``high`` are NaN where either side has no interval."""

    estimate: float
    low: float
    high: float
    reading: Reading


@dataclass(frozen=True)
class Change:
    """One model under one configuration, in both runs."""

    before: Row
    after: Row
    map_difference: float
    map_reading: MapReading
    latency: Ratio
    end_to_end: Ratio

    @property
    def same_file(self) -> bool:
        """Both runs measured the same bytes."""
        return self.before.sha256 == self.after.sha256

    def ratio(self, value: Callable[[Row], float | None]) -> float:
        """After over before of any quantity; NaN where a side lacks it."""
        return _over(value(self.after), value(self.before))


@dataclass(frozen=True)
class RunComparison:
    """Everything that can be said about two runs."""

    before: Run
    after: Run
    changes: list[Change]
    only_before: list[Row]
    only_after: list[Row]
    differences: list[tuple[str, str, str]]
    num_equal: int
    notes: list[str]
    title: str
    summary: str

    @property
    def headline(self) -> str:
        """Both in one line."""
        return f"{self.title}. {self.summary}"


def compare_runs(before: Run, after: Run) -> RunComparison:
    """Match the rows of two runs and read each change.

    Raises:
        InputError: no row of one matches a row of the other.
    """
    pairs = match_rows(before.record.rows, after.record.rows)
    if not pairs:
        raise InputError(
            f"{before.source} and {after.source}: no row of one matches a row of the other by "
            "model (or SHA-256), backend, precision, image size and batch; nothing to compare"
        )
    changes = [_change(first, second, before, after) for first, second in pairs]
    differences, num_equal = _differences(before, after)
    taken = {id(row) for pair in pairs for row in pair}
    return RunComparison(
        before,
        after,
        changes,
        [row for row in before.record.rows if id(row) not in taken],
        [row for row in after.record.rows if id(row) not in taken],
        differences,
        num_equal,
        _notes(before, after, changes),
        _title(changes),
        _summary(before, after, changes),
    )


def match_rows(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Pairs of rows in the order of ``before``; each row is used once.

    The same model on the same device comes first, then the same file under another name, then the
    same model on another device.
    """
    pairs: list[tuple[int, Row, Row]] = []
    left, right = dict(enumerate(before)), dict(enumerate(after))
    for key in (_named_on_device, _by_hash, _named):
        for index, row in list(left.items()):
            partner = next((i for i, other in right.items() if key(other) == key(row)), None)
            if partner is not None:
                pairs.append((index, left.pop(index), right.pop(partner)))
    return [(first, second) for _, first, second in sorted(pairs, key=lambda pair: pair[0])]


def _conditions(row: Row) -> tuple[object, ...]:
    return row.backend, row.precision, row.image_size, row.batch


def _named_on_device(row: Row) -> tuple[object, ...]:
    return row.model, row.device, *_conditions(row)


def _by_hash(row: Row) -> tuple[object, ...]:
    return row.sha256, *_conditions(row)


def _named(row: Row) -> tuple[object, ...]:
    return row.model, *_conditions(row)


def _change(first: Row, second: Row, before: Run, after: Run) -> Change:
    difference = second.map50_95 - first.map50_95
    if same_images(before, after) is not True:
        reading: MapReading = "other images"
    else:
        reading = "equal" if abs(difference) < SAME_MAP else "no interval"
    trusted = len(measured([first, second])) == 2 and not any(
        check.backend == row.backend and not check.passed
        for run, row in ((before, first), (after, second))
        for check in run.record.self_checks
    )
    return Change(
        first,
        second,
        difference,
        reading,
        _ratio(first, second, "latency_p50_ms", lambda row: row.latency_p50_ms, trusted),
        _ratio(first, second, "end_to_end_p50_ms", lambda row: row.end_to_end_p50_ms, trusted),
    )


def same_images(before: Run, after: Run) -> bool | None:
    """Whether both runs used the same evaluation set; None where a record does not say."""
    hashes = [data_hash(run.record.data) for run in (before, after)]
    return None if None in hashes else hashes[0] == hashes[1]


def _over(after: float | None, before: float | None) -> float:
    if after is None or before is None or not before > 0 or not math.isfinite(after):
        return math.nan
    return after / before


def _ratio(
    before: Row, after: Row, field: str, value: Callable[[Row], float], trusted: bool
) -> Ratio:
    """The ratio and the widest span the two 95 % intervals allow.

    Both true values lie in their intervals with at least 90 % (Bonferroni), and then the true ratio
    lies in the span: a conservative interval that needs no pairing.
    """
    estimate = _over(value(after), value(before))
    spans = before.latency_intervals_ms.get(field), after.latency_intervals_ms.get(field)
    if spans[0] is None or spans[1] is None or not min(spans[0]) > 0:
        return Ratio(estimate, math.nan, math.nan, "no interval")
    low, high = spans[1][0] / spans[0][1], spans[1][1] / spans[0][0]
    if not trusted:
        return Ratio(estimate, low, high, "not trusted")
    if before.flags or after.flags:
        return Ratio(estimate, low, high, "flagged")
    reading: Reading = "not told apart"
    if high < 1 and estimate <= 1 - SAME_LATENCY:
        reading = "faster"
    elif low > 1 and estimate >= 1 + SAME_LATENCY:
        reading = "slower"
    return Ratio(estimate, low, high, reading)


def _differences(before: Run, after: Run) -> tuple[list[tuple[str, str, str]], int]:
    """What is not equal around the measurements, and how many entries are."""
    found: list[tuple[str, str, str]] = []
    num_equal = 0
    for part in ("environment", "settings", "data"):
        first, second = (
            dict(flattened(getattr(run.record, part), part)) for run in (before, after)
        )
        for key in dict.fromkeys([*first, *second]):
            values = first.get(key, MISSING), second.get(key, MISSING)
            if values[0] == values[1]:
                num_equal += 1
            else:
                found.append((key, *values))
    return found, num_equal


def _notes(before: Run, after: Run, changes: Sequence[Change]) -> list[str]:
    """What a reader must know before the figures."""
    notes = []
    same = same_images(before, after)
    if same is False:
        notes.append("The evaluation sets differ, so the mAPs are of different images.")
    elif same is None:
        notes.append("A record does not name its evaluation set, so the images may differ.")
    odd = [c for c in changes if same and c.same_file and abs(c.map_difference) >= SAME_MAP]
    if odd:
        notes.append(
            f"{counted(len(odd), 'pair').capitalize()} measured the same file on the same images "
            "and found another mAP: backend, settings or preprocessing changed."
        )
    disturbed = [c for c in changes if c.before.flags or c.after.flags]
    if disturbed:
        reasons = dict.fromkeys(
            flag.rstrip(".") for c in disturbed for row in (c.before, c.after) for flag in row.flags
        )
        notes.append(
            f"{counted(len(disturbed), 'pair').capitalize()} with flagged rows: "
            f"{'; '.join(list(reasons)[:4])}."
        )
    notes += [
        f"The self-check of {run.name} on {check.backend} failed."
        for run in (before, after)
        for check in run.record.self_checks
        if not check.passed
    ]
    failed = [c for c in changes if len(measured([c.before, c.after])) < 2]
    if failed:
        names = ", ".join(change.after.model for change in failed)
        notes.append(f"Parity failed or figures are missing on one side: {names}.")
    return notes


def _title(changes: Sequence[Change]) -> str:
    """``Latency p50: 4 of 6 rows faster, 2 not told apart``."""
    readings = Counter(_WORDS[change.latency.reading] for change in changes).most_common()
    (first, number), *others = readings
    rest = "".join(f", {count} {reading}" for reading, count in others)
    noun = "row" if len(changes) == 1 else "rows"
    return f"Latency p50: {number} of {len(changes)} {noun} {first}{rest}"


def _summary(before: Run, after: Run, changes: Sequence[Change]) -> str:
    """How far mAP and latency moved, over all matched rows."""
    parts = [f"{before.name} → {after.name}, {counted(len(changes), 'row')} matched"]
    differences = [c.map_difference for c in changes if math.isfinite(c.map_difference)]
    if differences:
        one = len(set(map(signed, differences))) == 1
        span = signed(differences[0]) if one else interval(min(differences), max(differences))
        parts.append(f"mAP50-95 {span} (no interval across runs)")
    ratios = [c.latency.estimate for c in changes if math.isfinite(c.latency.estimate)]
    if ratios:
        one = len(set(map(fixed, ratios))) == 1
        span = f"×{fixed(min(ratios))}" + ("" if one else f" to ×{fixed(max(ratios))}")
        parts.append(f"latency p50 {span}")
    return "; ".join(parts) + "."
