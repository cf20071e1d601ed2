"""From what was measured of a model to its row in the record.

Every flag a row can carry is put together here: what the machine did, what the backend has to
confess, and what the clocks themselves could not settle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgekd_bench.backend_measurement import ModelResult
from edgekd_bench.manifest import Init
from edgekd_bench.quantile_intervals import quantile_interval, relative_width
from edgekd_bench.record import Row
from edgekd_bench.settings import BenchSettings
from edgekd_bench.state_monitor import StateMonitor, StateWindow
from edgekd_bench.turns import Samples

Float64Array = npt.NDArray[np.float64]

_PERCENTILES = (50, 90, 99)
_OUTLIER_STEPS = 5  # steps of p75 - p50 above p50


def make_row(
    name: str,
    init: Init,
    result: ModelResult,
    window: StateWindow,
    monitor: StateMonitor,
    how: BenchSettings,
) -> Row:
    """One model on one backend.

    Args:
        name: of the model in the results.
        init: baseline, distilled or other.
        result: what was measured.
        window: what the machine did while the models of the backend were timed.
        monitor: knows what it did while this model ran alone.
        how: the settings.
    """
    info, score, host = result.info, result.accuracy.score, result.latency.host
    alone = monitor.window(result.busy.start_s, result.busy.end_s) if result.busy else None
    power_w = alone.power_w if alone else None
    clocks = _clocks(result)
    known = _percentiles(clocks)
    return Row(
        model=name,
        init=init,
        seed=info.seed,
        precision=info.precision,
        backend=info.backend,
        device=info.device,
        image_size=info.image_size,
        batch=how.batch,
        map50_95=score.map50_95,
        map50=score.map50,
        map50_95_per_class=score.map50_95_per_class,
        map50_per_class=score.map50_per_class,
        map50_95_by_size=score.map50_95_by_size,
        map50_95_any_class=result.accuracy.map50_95_any_class,
        latency_p50_ms=known["latency_p50_ms"],
        latency_p90_ms=known["latency_p90_ms"],
        latency_p99_ms=known["latency_p99_ms"],
        end_to_end_p50_ms=known["end_to_end_p50_ms"],
        end_to_end_p90_ms=known["end_to_end_p90_ms"],
        end_to_end_p99_ms=known["end_to_end_p99_ms"],
        device_p50_ms=known.get("device_p50_ms"),
        device_p90_ms=known.get("device_p90_ms"),
        device_p99_ms=known.get("device_p99_ms"),
        latency_intervals_ms=_intervals(clocks),
        latency_quantiles_ms=np.percentile(host.milliseconds, np.arange(101)).tolist(),
        num_outliers=count_outliers(host.milliseconds),
        first_call_ms=info.first_call_ms,
        throughput_images_per_s=result.throughput.images_per_s if result.throughput else None,
        throughput_batch=result.throughput.batch if result.throughput else None,
        throughput_in_flight=result.throughput.in_flight if result.throughput else None,
        power_w=power_w,
        energy_j_per_image=(
            result.busy.joules_per_image(power_w)
            if result.busy is not None and power_w is not None
            else None
        ),
        flags=list(_flags(result, window, alone, how)),
        num_warmup=host.num_warmup,
        num_timed=len(host.milliseconds),
        size_mb=info.size_mb,
        num_params=info.num_params,
        parity=info.parity,
        sha256=info.sha256,
        teacher=info.teacher,
    )


def count_outliers(milliseconds: Float64Array) -> int:
    """Calls beyond p50 + 5 (p75 - p50): they stay in every figure."""
    p50, p75 = np.percentile(milliseconds, [50, 75])
    return int(np.sum(milliseconds > p50 + _OUTLIER_STEPS * (p75 - p50)))


def _clocks(result: ModelResult) -> dict[str, Float64Array]:
    """Series by the prefix of their fields."""
    latency = result.latency
    series = {
        "device": latency.host.device_ms,
        "latency": latency.host.milliseconds,
        "end_to_end": latency.end_to_end.milliseconds,
    }
    return {clock: values for clock, values in series.items() if values is not None}


def _percentiles(clocks: dict[str, Float64Array]) -> dict[str, float]:
    return {
        f"{clock}_p{q}_ms": float(np.percentile(values, q))
        for clock, values in clocks.items()
        for q in _PERCENTILES
    }


def _intervals(clocks: dict[str, Float64Array]) -> dict[str, tuple[float, float]]:
    """Only those that the number of calls allows."""
    found = {
        f"{clock}_p{q}_ms": quantile_interval(values, q / 100)
        for clock, values in clocks.items()
        for q in _PERCENTILES
    }
    return {field: interval for field, interval in found.items() if interval is not None}


def _flags(
    result: ModelResult, window: StateWindow, alone: StateWindow | None, how: BenchSettings
) -> Iterator[str]:
    yield from window.flags
    yield from (f"while power was measured: {flag}" for flag in (alone.flags if alone else ()))
    yield from result.info.notes
    clocks = (("latency", result.latency.host), ("end-to-end", result.latency.end_to_end))
    for clock, samples in clocks:
        yield from _clock_flags(clock, samples, how)


def _clock_flags(clock: str, samples: Samples, how: BenchSettings) -> Iterator[str]:
    count = len(samples.milliseconds)
    if not samples.has_settled:
        yield f"{clock} had not settled after {samples.num_warmup} warm-up calls"
    width = relative_width(samples.milliseconds, 0.9)
    if width is None:
        yield f"{clock}: {count} calls are too few to say how well p90 is known"
    elif width > how.p90_within:
        yield f"{clock}: p90 is known to within {width:.1%} only, after {count} calls"
