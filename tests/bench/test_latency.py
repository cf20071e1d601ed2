"""Models take turns, nothing is dropped, and the clock stops only when both minima are reached."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import pytest
from bench.fake_runner import FakeRunner
from bench.synthetic_sets import write_yolo_set

from edgekd_bench.detections import Thresholds
from edgekd_bench.latency import Samples, TimingLimits, measure_latency, time_in_turns


def _images(root: Path) -> list[Path]:
    write_yolo_set(root)
    return sorted((root / "images/val").iterdir())


def test_runners_are_called_in_turns(tmp_path: Path) -> None:
    order: list[str] = []
    runners = [FakeRunner(name, order) for name in "ABC"]
    limits = TimingLimits(min_seconds=0, min_count=7, warmup=3)
    results = measure_latency(
        runners, _images(tmp_path), batch=1, limits=limits, thresholds=Thresholds()
    )
    rounds = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert all(sorted(turn) == ["A", "B", "C"] for turn in rounds)
    assert len(set(rounds)) > 1, "a fixed order gives each model the same predecessor"
    assert all(len(result.forward.milliseconds) == 7 for result in results)
    assert all(len(result.end_to_end.milliseconds) == 7 for result in results)
    counted = sum(2 * 7 + r.forward.num_warmup + r.end_to_end.num_warmup for r in results)
    assert counted == len(order), "every call is a warm-up or is in the samples"


def test_real_images_of_the_set_are_cycled_through(tmp_path: Path) -> None:
    runner = FakeRunner("A", [])
    limits = TimingLimits(min_seconds=0, min_count=6, warmup=1)
    measure_latency([runner], _images(tmp_path), batch=2, limits=limits, thresholds=Thresholds())
    assert {batch.shape for batch in runner.seen} == {(2, 3, 64, 64)}
    assert len({batch.tobytes() for batch in runner.seen}) == 3  # one batch a starting image
    assert all(batch.std() > 0 for batch in runner.seen)


def test_both_minima_hold() -> None:
    quick = time_in_turns([lambda _: time.sleep(0.001)], TimingLimits(0.05, 5, 1))[0]
    assert quick.milliseconds.sum() >= 50
    slow = time_in_turns([lambda _: time.sleep(0.004)], TimingLimits(0.0, 9, 1))[0]
    assert len(slow.milliseconds) == 9
    assert slow.milliseconds.min() >= 4


def test_outliers_stay_in() -> None:
    # Rounds are numbered anew after the warm-up, so the slow one is timed.
    samples = time_in_turns(
        [lambda number: time.sleep(0.05 if number == 3 else 0)], TimingLimits(0, 10, 1)
    )[0]
    assert samples.milliseconds.argmax() == 3
    assert samples.milliseconds.max() >= 50


def test_warm_up_goes_on_until_calls_settle() -> None:
    def settling(number: int) -> None:
        time.sleep(0.02 / (number + 1) + 0.002)

    unsettled = time_in_turns([settling], TimingLimits(0, 2, 4))[0]
    assert unsettled.num_warmup > 8


def test_garbage_collection_is_off_while_timing_and_back_on_after() -> None:
    states: list[bool] = []
    assert gc.isenabled()
    time_in_turns([lambda _: states.append(gc.isenabled())], TimingLimits(0, 3, 1))
    assert not any(states) and gc.isenabled()
    with pytest.raises(RuntimeError, match="broken"):
        time_in_turns([_fail], TimingLimits(0, 3, 1))
    assert gc.isenabled()


def test_percentiles_are_of_all_samples() -> None:
    samples = Samples(np.arange(101, dtype=np.float64), 0)
    assert [samples.percentile(q) for q in (50, 90, 99)] == [50, 90, 99]


def _fail(_: int) -> None:
    raise RuntimeError("broken")
