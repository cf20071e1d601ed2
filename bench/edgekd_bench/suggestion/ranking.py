"""Hold timings against a budget and put the combinations into an order.

A combination meets the budget if the whole 95 % interval of its percentile does; if the interval
contains the budget it is on the border. Published mAP compares networks of one image size, and int8
costs an mAP that nobody knows before it is measured; so one combination dominates another only
within the same image size and among floats or among int8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekd_bench.suggestion.catalog import FAMILIES, SCALES
from edgekd_bench.suggestion.result import Choice, Option, Status, Timing

_ORDER: tuple[Status, ...] = ("meets", "borderline", "over", "skipped", "not measured")


def rank(
    choices: Sequence[Choice],
    timings: Mapping[Choice, Timing],
    left_out: Mapping[Choice, str],
    *,
    target_ms: float,
    percentile: int,
) -> list[Option]:
    """Every combination with its status: those within budget first, and of them the Pareto front.

    Args:
        choices: all combinations that were asked for.
        timings: of those that were measured.
        left_out: why others were not.
        target_ms: the budget.
        percentile: which latency must stay within it.
    """
    options = [
        _option(choice, timings.get(choice), left_out.get(choice, ""), target_ms, percentile)
        for choice in choices
    ]
    marked = [
        option.model_copy(update={"pareto": _on_front(option, options, percentile)})
        for option in options
    ]
    return sorted(marked, key=lambda option: _place(option, percentile))


def latency(timing: Timing, percentile: int) -> float:
    """One percentile of a timing, milliseconds."""
    return {50: timing.p50_ms, 90: timing.p90_ms, 99: timing.p99_ms}[percentile]


def _option(
    choice: Choice, timing: Timing | None, why_not: str, target_ms: float, percentile: int
) -> Option:
    published = FAMILIES[choice.family].scales[choice.scale]
    status, reason = _judge(timing, why_not, target_ms, percentile)
    return Option(
        choice=choice,
        status=status,
        reason=reason,
        timing=timing,
        published_map50_95=published.map50_95,
        published_params_m=published.params_m,
        published_gflops=published.gflops,
    )


def _judge(
    timing: Timing | None, why_not: str, target_ms: float, percentile: int
) -> tuple[Status, str]:
    if timing is None:
        return ("skipped" if why_not.startswith("misses") else "not measured"), why_not
    value = latency(timing, percentile)
    low, high = timing.intervals_ms.get(f"p{percentile}_ms", (value, value))
    words = f"p{percentile} {value:.2f} ms"
    if timing.rough:
        words = f"about {timing.p50_ms:.0f} ms, from {timing.num_timed} calls"
    if not timing.quiet:
        words += ", on a busy machine"
    if high <= target_ms:
        return "meets", words
    if low <= target_ms:
        return "borderline", f"{words}, 95 % interval [{low:.2f}, {high:.2f}]"
    return "over", words


def _on_front(option: Option, options: Sequence[Option], percentile: int) -> bool:
    if option.status != "meets":
        return False
    return not any(_dominates(other, option, percentile) for other in options)


def _dominates(one: Option, other: Option, percentile: int) -> bool:
    if one.status != "meets" or _league(one) != _league(other):
        return False
    assert one.timing is not None and other.timing is not None, "both were measured"
    quicker = latency(one.timing, percentile) - latency(other.timing, percentile)
    better = one.published_map50_95 - other.published_map50_95
    return (quicker <= 0 and better >= 0) and (quicker < 0 or better > 0)


def _league(option: Option) -> tuple[int, bool]:
    return option.choice.image_size, option.choice.precision == "int8"


def _place(option: Option, percentile: int) -> tuple[object, ...]:
    choice = option.choice
    took = latency(option.timing, percentile) if option.timing else 0.0
    return (
        _ORDER.index(option.status),
        not option.pareto,
        -choice.image_size,
        choice.precision == "int8",
        -option.published_map50_95,
        took,
        SCALES.index(choice.scale),
        choice.key,
    )
