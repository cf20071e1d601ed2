"""A row holds what was measured, and says itself what is wrong with it."""

from __future__ import annotations

import numpy as np
import pytest
from bench.fake_runner import FakeRunner

from edgekd_bench.accuracy import Accuracy
from edgekd_bench.backend_measurement import ModelResult
from edgekd_bench.coco_score import Score
from edgekd_bench.energy import BusyStretch
from edgekd_bench.latency import Latency
from edgekd_bench.record import Row
from edgekd_bench.result_rows import count_outliers, make_row
from edgekd_bench.runner import RunnerInfo
from edgekd_bench.settings import BenchSettings
from edgekd_bench.state_monitor import StateMonitor, StateWindow
from edgekd_bench.table import flag_lines
from edgekd_bench.throughput import Throughput
from edgekd_bench.turns import Samples

QUIET = StateWindow(None)


class _PowerMonitor(StateMonitor):
    """Knows one window, in which 4 W were drawn."""

    def window(self, start_monotonic_s: float, end_monotonic_s: float) -> StateWindow:
        assert (start_monotonic_s, end_monotonic_s) == (100.0, 110.0)
        return StateWindow(4.0, ("the rail was hot",))


def _samples(count: int = 400, *, settled: bool = True, spread: float = 0.01) -> Samples:
    draws = np.random.default_rng(0).normal(size=count)
    return Samples(10 * np.exp(spread * draws), 20, settled, 9 * np.exp(spread * draws))


def _row(
    host: Samples | None = None,
    end_to_end: Samples | None = None,
    window: StateWindow = QUIET,
    notes: tuple[str, ...] = (),
    busy: BusyStretch | None = None,
) -> Row:
    info = FakeRunner("m", []).info
    info = RunnerInfo(**{**vars(info), "notes": notes, "first_call_ms": 123.0})
    score = Score(0.5, 0.7, {"a": 0.5}, {"a": 0.7}, {"small": None}, ())
    result = ModelResult(
        info,
        Accuracy(score, 0.6, (), ()),
        Latency(host or _samples(), end_to_end or _samples()),
        Throughput(250.0, 8, 2),
        busy,
    )
    return make_row("m", "other", result, window, _PowerMonitor(sources=()), BenchSettings())


def test_a_quiet_row_has_every_clock_and_no_flag() -> None:
    row = _row()
    assert row.flags == []
    assert row.latency_p50_ms == pytest.approx(10, rel=0.01)
    assert row.device_p50_ms == pytest.approx(9, rel=0.01)
    for clock in ("latency", "end_to_end", "device"):
        for q in (50, 90, 99):
            field = f"{clock}_p{q}_ms"
            low, high = row.latency_intervals_ms[field]
            assert low <= getattr(row, field) <= high
    assert (row.throughput_images_per_s, row.throughput_batch, row.throughput_in_flight) == (
        250.0,
        8,
        2,
    )
    assert row.first_call_ms == 123.0 and row.num_warmup == 20 and row.num_timed == 400
    assert (row.power_w, row.energy_j_per_image) == (None, None)


def test_power_and_energy_are_of_the_stretch_it_ran_alone() -> None:
    row = _row(busy=BusyStretch(100.0, 110.0, 400))
    assert row.power_w == 4.0 and row.energy_j_per_image == pytest.approx(4 * 10 / 400)
    assert row.flags == ["while power was measured: the rail was hot"]


def test_everything_that_is_wrong_is_in_the_flags() -> None:
    row = _row(
        host=_samples(30, settled=False),
        end_to_end=_samples(200, spread=0.5),
        window=StateWindow(None, ("busy machine",)),
        notes=("kernels were launched one by one",),
    )
    text = "\n".join(row.flags)
    assert row.flags[:2] == ["busy machine", "kernels were launched one by one"]
    assert "latency had not settled after 20 warm-up calls" in text
    assert "latency: 30 calls are too few" in text
    assert "end-to-end: p90 is known to within" in text
    assert "latency_p99_ms" not in row.latency_intervals_ms, "30 calls cannot enclose a p99"


def test_a_clock_that_a_backend_lacks_stays_empty() -> None:
    host = _samples()
    row = _row(host=Samples(host.milliseconds, 20))
    assert row.device_p50_ms is row.device_p90_ms is row.device_p99_ms is None
    assert not any(field.startswith("device") for field in row.latency_intervals_ms)


def test_outliers_are_counted_and_kept() -> None:
    quiet = np.linspace(10, 11, 101)
    assert count_outliers(quiet) == 0
    disturbed = np.concatenate([quiet, [50.0, 90.0]])
    assert count_outliers(disturbed) == 2
    row = _row(host=Samples(disturbed, 20))
    assert row.num_outliers == 2 and row.latency_quantiles_ms[100] == 90.0


def test_a_flag_is_printed_once_and_names_its_models() -> None:
    first = _row(window=StateWindow(None, ("hot", "busy")))
    second = first.model_copy(update={"model": "n", "flags": ["busy"]})
    assert flag_lines([first, second]) == ["hot (m on onnxruntime)", "busy"]
    many = first.model_copy(update={"flags": [f"flag {k}" for k in range(12)]})
    assert flag_lines([many])[-1] == "4 more flags in results.json"
