"""How the report writes numbers, in one place so that tables, plots and sentences agree.

A reader compares figures across the page, so the same quantity must have the same digits
everywhere, a missing value must never read as zero, and a minus sign must be as wide as a plus.
"""

from __future__ import annotations

import math

MISSING = "–"
_MINUS = "−"
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def fixed(value: float | None, digits: int = 3) -> str:
    """``value`` with ``digits`` decimals; a dash where it is None, NaN or infinite."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{abs(value):.{digits}f}"
    negative = value < 0 and float(text) != 0
    return _MINUS + text if negative else text


def signed(value: float | None, digits: int = 3) -> str:
    """Like ``fixed``, with a plus sign on what is above zero after rounding."""
    text = fixed(value, digits)
    positive = value is not None and value > 0 and text != MISSING and float(text) != 0
    return "+" + text if positive else text


def milliseconds(value: float | None) -> str:
    """A latency with three significant digits, never fewer than zero decimals."""
    if value is None or not math.isfinite(value):
        return MISSING
    return fixed(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def significant(value: float | None) -> str:
    """Three significant digits, never an exponent: throughput and joules span decades."""
    if value is None or not math.isfinite(value) or value <= 0:
        return fixed(value)
    return fixed(value, max(0, 2 - math.floor(math.log10(value))))


def interval(low: float, high: float, digits: int = 3) -> str:
    """``−0.004 to +0.047``."""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def count_word(number: int) -> str:
    """``three``; figures above ten."""
    return _WORDS[number] if 0 <= number < len(_WORDS) else str(number)


def counted(number: int, noun: str) -> str:
    """``three seeds``, ``one seed``, ``25 seeds``."""
    return f"{count_word(number)} {noun}" + ("" if number == 1 else "s")


def mean(values: list[float]) -> float:
    """Mean of the finite values; NaN where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
