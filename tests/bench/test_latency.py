"""The clocks see real images, the same ones on every model, and the work that is theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.fake_runner import FakeRunner
from bench.synthetic_sets import write_yolo_set

from edgekd_bench.detections import Thresholds
from edgekd_bench.energy import keep_busy
from edgekd_bench.latency import measure_latency
from edgekd_bench.throughput import measure_throughput
from edgekd_bench.timing_inputs import TimingInputs, prepare_inputs
from edgekd_bench.turns import TimingLimits

LIMITS = TimingLimits(min_seconds=0, min_count=6, warmup=1)


def _images(root: Path) -> list[Path]:
    if not (root / "images").exists():
        write_yolo_set(root)
    return sorted((root / "images/val").iterdir())


def _inputs(root: Path, batch: int = 1) -> TimingInputs:
    return prepare_inputs(_images(root), batch, [64])


def test_every_model_and_the_twin_take_turns(tmp_path: Path) -> None:
    order: list[str] = []
    first, second = FakeRunner("A", order, device_ms=3.0), FakeRunner("B", order)
    twin = FakeRunner("A again", order)
    latencies, twin_samples = measure_latency(
        [first, second], twin, _inputs(tmp_path), limits=LIMITS, thresholds=Thresholds()
    )
    assert [len(latency.host.milliseconds) for latency in latencies] == [6, 6]
    assert [len(latency.end_to_end.milliseconds) for latency in latencies] == [6, 6]
    assert len(twin_samples.milliseconds) == 6
    device = latencies[0].host.device_ms
    assert device is not None and device.tolist() == [3.0] * 6
    assert latencies[1].host.device_ms is None
    host_calls = order[: 3 * (6 + latencies[0].host.num_warmup)]
    assert host_calls.count("A") == host_calls.count("A again") == host_calls.count("B")
    assert "A again" not in order[len(host_calls) :], "the twin has the host clock only"


def test_real_images_of_the_set_are_cycled_through(tmp_path: Path) -> None:
    runner = FakeRunner("A", [])
    measure_latency(
        [runner], FakeRunner("T", []), _inputs(tmp_path, 2), limits=LIMITS, thresholds=Thresholds()
    )
    assert {batch.shape for batch in runner.seen} == {(2, 3, 64, 64)}
    assert len({batch.tobytes() for batch in runner.seen}) == 3  # one batch a starting image
    assert all(batch.std() > 0 for batch in runner.seen)


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 50])
def test_batches_hold_all_images_and_little_more(tmp_path: Path, batch: int) -> None:
    inputs = _inputs(tmp_path, batch)
    contents = {path.read_bytes() for path in _images(tmp_path)}
    assert all(len(files) == batch for files in inputs.files)
    assert {data for files in inputs.files for data in files} == contents
    assert len(inputs.tensors[64]) == len(inputs.files) <= max(len(contents), 2)
    assert inputs.tensors[64][0].shape == (batch, 3, 64, 64)


def test_throughput_counts_all_images_over_all_time(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path, 2)
    slow, quick = FakeRunner("A", [], seconds=0.004), FakeRunner("B", [], seconds=0.001)
    found = measure_throughput([slow, quick], inputs, min_seconds=0.05)
    assert found[0].images_per_s <= 2 / 0.004
    assert found[1].images_per_s > found[0].images_per_s
    assert (found[0].batch, found[0].in_flight) == (2, 1)
    assert len(slow.seen) * 0.004 >= 0.05


def test_a_busy_stretch_lasts_and_counts_its_images(tmp_path: Path) -> None:
    runner = FakeRunner("A", [], seconds=0.002)
    stretch = keep_busy(runner, _inputs(tmp_path, 2), 0.03)
    assert stretch.end_s - stretch.start_s >= 0.03
    assert stretch.num_images == 2 * len(runner.seen)
    seconds = stretch.end_s - stretch.start_s
    assert stretch.joules_per_image(10.0) == pytest.approx(10 * seconds / stretch.num_images)
    assert keep_busy(runner, _inputs(tmp_path, 1), 0.0).num_images == 1
    np.testing.assert_array_equal(runner.seen[0].shape, (2, 3, 64, 64))
