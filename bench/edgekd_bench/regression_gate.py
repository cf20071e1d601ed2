"""Judge the conditions of ``--fail-if`` on a record, so that a regression stops a build.

Who is judged: every candidate, that is every model but the baselines; where there are only
baselines, they are. Seeds of one experiment are judged by their mean. "baseline" in a condition is
the partner in the record's comparison: the baseline of the same backend, and for a quantised model
without one its own fp32. A figure that was not measured, and a model whose export failed its parity
gate, count as violations: a gate that passes because it could not look is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.gate_condition import Condition
from edgekd_bench.pairing import Contender, Pairing
from edgekd_bench.record import BenchRecord, Comparison, GateOutcome, Row


@dataclass(frozen=True)
class _Judged:
    """The rows that are judged together, and their baselines if they have any."""

    rows: list[Row]
    baselines: list[Row]
    comparison: Comparison | None

    def name(self) -> str:
        return f"{', '.join(row.model for row in self.rows)} on {self.rows[0].backend}"


@dataclass(frozen=True)
class _Figure:
    """A measured figure beside its limit."""

    value: float
    limit: float
    baseline: float | None
    interval: tuple[float, float] | None


def check_baselines(
    conditions: Sequence[Condition], contenders: Sequence[Contender], pairing: Pairing
) -> None:
    """See before anything is measured that every candidate can be judged.

    Raises:
        InputError: a condition speaks of the baseline and a candidate has none.
    """
    relative = next((c.text for c in conditions if c.is_relative), None)
    if relative is None:
        return
    partnered = [c for group in pairing.groups for c in (*group.candidates, *group.baselines)]
    for contender in contenders:
        alone = contender not in partnered and contender.parity != "fail"
        if alone and not contender.is_baseline:
            raise InputError(
                f"--fail-if '{relative}': {contender.name} on {contender.backend} has no "
                "baseline; give one with --baseline"
            )
    if not pairing.groups:
        raise InputError(f"--fail-if '{relative}': there is no baseline to compare with")


def judge(record: BenchRecord, conditions: Sequence[Condition]) -> list[GateOutcome]:
    """Judge conditions on a record, candidate by candidate.

    Raises:
        InputError: the record has no such class, or no baseline where a condition speaks of it.
    """
    groups = _groups(record)
    outcomes = []
    for condition in conditions:
        chosen = [group for group in groups if group.baselines or not condition.is_relative]
        if not chosen:
            raise InputError(
                f"--fail-if '{condition.text}': the record has no comparison with a baseline"
            )
        outcomes += [_judge(condition, group, record) for group in chosen]
    return outcomes


def enforce(outcomes: Sequence[GateOutcome]) -> None:
    """Fail if any condition was violated.

    Raises:
        GateError: names each of them with its figures.
    """
    violated = [outcome.text for outcome in outcomes if outcome.violated]
    if violated:
        raise GateError("; ".join(violated))


def _groups(record: BenchRecord) -> list[_Judged]:
    by_key = {(row.model, row.backend): row for row in record.rows}
    comparisons = sorted(record.verdict.comparisons, key=lambda c: not c.asked)
    references = {key for c in comparisons if c.asked for key in _baseline_keys(c)}
    kept = {key for key, row in by_key.items() if key not in references}
    others = {key for key in kept if by_key[key].init != "baseline"}
    waiting = others or kept or set(by_key)
    groups: list[_Judged] = []
    for comparison in comparisons:
        keys = [(model, comparison.backend) for model in comparison.candidates]
        if waiting.issuperset(keys):
            waiting = waiting - set(keys)
            baselines = [by_key[key] for key in _baseline_keys(comparison)]
            groups.append(_Judged([by_key[key] for key in keys], baselines, comparison))
    return groups + _without_comparison([row for key, row in by_key.items() if key in waiting])


def _baseline_keys(comparison: Comparison) -> list[tuple[str, str]]:
    backend = comparison.baseline_backend or comparison.backend
    return [(model, backend) for model in comparison.baselines]


def _without_comparison(rows: Sequence[Row]) -> list[_Judged]:
    """Seeds of one experiment together, all others alone."""
    families: dict[object, list[Row]] = {}
    for row in rows:
        experiment = (row.backend, row.device, row.precision, row.image_size, row.init, row.teacher)
        key = (row.model, row.backend) if row.seed is None else experiment
        families.setdefault(key, []).append(row)
    return [_Judged(members, [], None) for members in families.values()]


def _judge(condition: Condition, group: _Judged, record: BenchRecord) -> GateOutcome:
    failed = [row.model for row in group.rows if row.parity == "fail"]
    figure = _figure(condition, group)
    if failed:
        violated, text = True, f"{', '.join(failed)} failed the parity gate: its figures are void"
    elif figure is None:
        violated, text = True, f"{condition.figure} was not measured for {group.name()}"
    else:
        violated = _is_violated(condition, figure, group, record)
        text = _words(condition, figure, violated, group)
    return GateOutcome(
        condition=condition.text,
        models=[row.model for row in group.rows],
        backend=group.rows[0].backend,
        value=figure.value if figure else None,
        limit=figure.limit if figure else None,
        violated=violated,
        text=f"{condition.text}: {text}",
    )


def _figure(condition: Condition, group: _Judged) -> _Figure | None:
    value = _mean([condition.value_in(row) for row in group.rows])
    baseline = None
    if condition.is_relative:
        baseline = _mean([condition.value_in(row) for row in group.baselines])
    if value is None or (condition.is_relative and baseline is None):
        return None
    interval = _interval(condition, group, baseline)
    return _Figure(value, condition.limit(baseline), baseline, interval)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _interval(
    condition: Condition, group: _Judged, baseline: float | None
) -> tuple[float, float] | None:
    """The 95 % interval of the figure, beside the baseline's as it was measured."""
    if baseline is None:
        known = [row.latency_intervals_ms.get(condition.field) for row in group.rows]
        bounds = [pair for pair in known if pair is not None]
        if condition.key is not None or len(bounds) < len(known):
            return None
        return (
            sum(low for low, _ in bounds) / len(bounds),
            sum(high for _, high in bounds) / len(bounds),
        )
    if group.comparison is None or condition.key is not None:
        return None
    if condition.field == "map50_95":
        difference = group.comparison.map50_95_difference
        return baseline + difference.low, baseline + difference.high
    if condition.field == "latency_p50_ms":
        ratio = group.comparison.latency_p50_ratio
        return baseline * ratio.low, baseline * ratio.high
    return None


def _is_violated(
    condition: Condition, figure: _Figure, group: _Judged, record: BenchRecord
) -> bool:
    if not condition.surely:
        return condition.holds(figure.value, figure.limit)
    backend = group.rows[0].backend
    broken = any(not c.passed for c in record.self_checks if c.backend == backend)
    if figure.interval is None or (broken and condition.field != "map50_95"):
        return False
    return all(condition.holds(end, figure.limit) for end in figure.interval)


def _words(condition: Condition, figure: _Figure, violated: bool, group: _Judged) -> str:
    right = f"{figure.limit:.4g}"
    if figure.baseline is not None:
        right += f" (baseline {figure.baseline:.4g})"
    mean = f", mean of {len(group.rows)} seeds" if len(group.rows) > 1 else ""
    text = f"{group.name()} has {figure.value:.4g}{mean}, the limit is {right}"
    if figure.interval is None:
        return text
    low, high = figure.interval
    text += f"; 95 % interval [{low:.4g}, {high:.4g}]"
    if condition.holds(low, figure.limit) != condition.holds(high, figure.limit):
        text += " contains the limit" + (", so this may be noise" if violated else "")
    return text
