"""Ranges: equal to ONNX Runtime's calibraters where those can be asked, in constant memory."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from export.slim_families import SIDE, slim_detector, traced
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.calibrate import HistogramCollector

from edgekd_bench.errors import InputError
from edgekd_export.quantization.activation_histogram import NUM_BINS, ActivationHistogram
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.ranges import measure

BATCHES = [
    (np.random.default_rng(seed).random((1, 3, SIDE, SIDE), np.float32) * (seed + 1) / 4, 1)
    for seed in range(4)
]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The same images for ONNX Runtime."""

    def __init__(self) -> None:
        self._waiting = iter(BATCHES)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._waiting, None)
        return None if batch is None else {"images": batch[0]}


@pytest.fixture(scope="module")
def source() -> Int8Source:
    return Int8Source(traced(slim_detector("yolov8n")))


def test_minmax_is_that_of_onnxruntime(
    source: Int8Source, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ort")
    path = folder / "fp32.onnx"
    onnx.save(source.fp32, path)
    calibrator = create_calibrator(
        path,
        ["Conv"],
        str(folder / "augmented.onnx"),
        CalibrationMethod.MinMax,
        extra_options={"symmetric": True},
    )
    calibrator.collect_data(Reader())
    theirs = calibrator.compute_data()
    ours = measure(source.fp32, source.tensors, BATCHES)
    assert set(ours) == set(source.tensors)
    for name, histogram in ours.items():
        _, highest = theirs[name].range_value
        assert histogram.largest == pytest.approx(float(np.asarray(highest).item()), rel=1e-4)


def long_tailed(seed: int, size: int = 50_000) -> np.ndarray:
    """Like an activation after SiLU: most values small, a few large."""
    random = np.random.default_rng(seed)
    values = random.exponential(0.5, size) * np.where(random.random(size) < 0.001, 20, 1)
    return np.concatenate([values, -0.27 * random.random(size // 4)]).astype(np.float32)


def filled(*parts: np.ndarray) -> ActivationHistogram:
    histogram = ActivationHistogram()
    for part in parts:
        histogram.add(part)
    return histogram


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99, 100.0])
def test_a_percentile_is_one_up_to_a_bin(percent: float) -> None:
    values = long_tailed(0)
    histogram = filled(values)
    exact = float(np.percentile(abs(values), percent, method="higher"))
    bin_width = histogram.largest / NUM_BINS
    assert exact <= histogram.percentile(percent) <= exact + bin_width


def test_entropy_clips_outliers_about_as_onnxruntime_does() -> None:
    parts = [long_tailed(seed, 5000) for seed in range(3)]
    collector = HistogramCollector(
        method="entropy",
        symmetric=True,
        num_bins=512,
        num_quantized_bins=128,
        percentile=0,
        scenario="same",
    )
    collector.collect({"x": np.concatenate(parts)})
    theirs = float(collector.compute_entropy()["x"][1])
    ours = filled(*parts).entropy()
    largest = max(float(part.max()) for part in parts)
    assert theirs < largest / 2, "this distribution has outliers to clip"
    assert ours < largest / 2
    assert 0.4 < ours / theirs < 2.5  # bins differ: theirs are 8 times as wide


def test_entropy_keeps_the_range_of_an_even_distribution() -> None:
    even = np.random.default_rng(0).uniform(-3, 3, 100_000).astype(np.float32)
    assert filled(even).entropy() > 2.9


def test_values_that_grow_are_counted_as_if_the_limit_had_been_known() -> None:
    small, large = long_tailed(1, 2000) / 50, long_tailed(2, 2000)
    growing, known = filled(small, large), filled(large, small)
    assert growing.largest == known.largest
    for percent in (50.5, 90, 99):
        wider_bin = 2 * growing.largest / NUM_BINS  # the limit doubles, so it may overshoot
        assert growing.percentile(percent) == pytest.approx(
            known.percentile(percent), abs=wider_bin
        )


def test_zeros_alone_are_a_range_too() -> None:
    zeros = np.zeros(10, np.float32)
    histogram = filled(zeros)
    assert (histogram.largest, histogram.percentile(99.9), histogram.entropy()) == (0, 0, 0)
    both = filled(zeros, np.array([2.0], np.float32))
    assert both.largest == 2
    assert both.percentile(90) < 0.01


def test_padding_is_not_counted(source: Int8Source) -> None:
    real = np.full((1, 3, SIDE, SIDE), 0.25, np.float32)
    padded = np.concatenate([real, real * 4])
    fp32 = traced(slim_detector("yolov8n"), batch=2)
    alone = measure(source.fp32, source.tensors, [(real, 1)])
    beside_padding = measure(fp32, source.tensors, [(padded, 1)])
    for name, histogram in alone.items():
        assert beside_padding[name].largest == pytest.approx(histogram.largest, rel=1e-4)


def test_a_network_that_overflows_is_refused(source: Int8Source) -> None:
    infinite = np.full((1, 3, SIDE, SIDE), np.inf, np.float32)
    with pytest.raises(InputError, match="NaN or infinity at"):
        measure(source.fp32, source.tensors, [(infinite, 1)])
