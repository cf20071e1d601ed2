"""The language of ``--fail-if``: what a figure may not be.

    map50_95 < baseline - 0.01
    latency_p90_ms > 8
    latency_p50_ms > baseline * 1.05
    map50_95_per_class.person < 0.4
    surely map50_95 < baseline

A condition names a figure of the record, an operator, and a number or the baseline's figure, alone
or with one number added, subtracted, multiplied or divided. With ``surely`` it holds only where the
whole 95 % interval does, so that noise does not fail a build. Text is taken apart by a pattern and
never evaluated. Conditions are read before anything is measured: a typing error must not cost an
hour.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Union, get_args, get_origin

from edgekd_bench.errors import InputError
from edgekd_bench.record import Row

Operator = Literal["<", "<=", ">", ">="]
Step = Literal["+", "-", "*", "/"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CONDITION = re.compile(
    rf"\s*(?P<surely>surely\s+)?(?P<field>\w+)(?:\.(?P<key>[^<>]+?))?\s*(?P<operator><=|>=|<|>)\s*"
    rf"(?:(?P<number>{_NUMBER})|(?P<baseline>baseline)(?:\s*(?P<step>[-+*/])\s*(?P<amount>{_NUMBER}))?)"
    r"\s*"
)
_HOLDS: dict[Operator, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_APPLY: dict[Step, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
# Figures whose difference from the baseline's has an interval in a comparison.
COMPARED_FIELDS = ("map50_95", "latency_p50_ms")
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Condition:
    """One condition that must not hold."""

    text: str
    field: str
    key: str | None  # class or size, for figures that have one value each
    operator: Operator
    amount: float  # the limit itself, or what is done to the baseline's figure
    step: Step | None  # None: the limit is `amount`
    surely: bool

    @property
    def is_relative(self) -> bool:
        """Whether a baseline is needed to judge it."""
        return self.step is not None

    @property
    def figure(self) -> str:
        """The figure as it was written."""
        return self.field if self.key is None else f"{self.field}.{self.key}"

    def limit(self, baseline: float | None) -> float:
        """The number on the right; ``baseline`` is the baseline's figure, if it is relative."""
        if self.step is None:
            return self.amount
        assert baseline is not None, "a relative condition is judged beside a baseline"
        return _APPLY[self.step](baseline, self.amount)

    def holds(self, value: float, limit: float) -> bool:
        """Whether the condition holds, so that the gate fails."""
        return _HOLDS[self.operator](value, limit)

    def value_in(self, row: Row) -> float | None:
        """The figure in a row; None: not measured there."""
        found = getattr(row, self.field)
        if self.key is not None:
            found = found.get(self.key)
        return None if found is None else float(found)


def parse_conditions(texts: Sequence[str]) -> list[Condition]:
    """Read conditions.

    Raises:
        InputError: not in the language, or an unknown figure (with the nearest known one).
    """
    return [_parse(text) for text in texts]


def check_keys(conditions: Sequence[Condition], classes: Sequence[str]) -> None:
    """Hold the classes that conditions name against those of the evaluation set.

    Raises:
        InputError: with the nearest class.
    """
    for condition in conditions:
        if condition.key is not None and condition.field.endswith("_per_class"):
            _check_known(condition.text, "class", condition.key, classes)


def _parse(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise InputError(
            f"--fail-if '{text}': write FIGURE < NUMBER or FIGURE < baseline - NUMBER (operators "
            "< <= > >=, steps + - * /), for example 'map50_95 < baseline - 0.01'"
        )
    part: Mapping[str, str | None] = found.groupdict()
    field, key = str(part["field"]), part["key"]
    _check_figure(text, field, key)
    relative = part["baseline"] is not None
    step: Step | None = (part["step"] or "+") if relative else None  # type: ignore[assignment]
    condition = Condition(
        text=" ".join(text.split()),
        field=field,
        key=key,
        operator=part["operator"],  # type: ignore[arg-type]
        amount=float((part["amount"] or 0) if relative else str(part["number"])),
        step=step,
        surely=part["surely"] is not None,
    )
    if not math.isfinite(condition.amount) or (step == "/" and condition.amount == 0):
        raise InputError(f"--fail-if '{text}': no limit can be computed from that")
    if condition.surely and not _has_interval(condition):
        raise InputError(
            f"--fail-if '{text}': no interval is known for that figure, so nothing is sure of it; "
            "leave 'surely' out"
        )
    return condition


def _has_interval(condition: Condition) -> bool:
    if condition.is_relative:
        return condition.field in COMPARED_FIELDS
    return re.fullmatch(r"(latency|end_to_end|device)_p\d+_ms", condition.field) is not None


def _check_figure(text: str, field: str, key: str | None) -> None:
    single, keyed = figures()
    _check_known(text, "figure", field, [*single, *keyed])
    if field in keyed and key is None:
        raise InputError(f"--fail-if '{text}': {field} has several values; write {field}.NAME")
    if field in single and key is not None:
        raise InputError(f"--fail-if '{text}': {field} has one value; leave '.{key}' out")
    if key is not None and field.endswith("_by_size"):
        _check_known(text, "size", key, SIZES)


def _check_known(text: str, kind: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
    raise InputError(f"--fail-if '{text}': unknown {kind} '{name}'; {hint}")


def figures() -> tuple[list[str], list[str]]:
    """The fields of a row that are one number, and those with a number for each name."""
    single, keyed = [], []
    for name, field in Row.model_fields.items():
        kind = _without_none(field.annotation)
        if kind in (int, float) and name != "seed":
            single.append(name)
        elif get_origin(kind) is dict and _without_none(get_args(kind)[1]) is float:
            keyed.append(name)
    return single, keyed


def _without_none(kind: object) -> object:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    known = [part for part in get_args(kind) if part is not type(None)]
    return known[0] if len(known) == 1 else kind
