"""The Pareto front: no point on it is beaten, every point off it is."""

from __future__ import annotations

import numpy as np
import pytest
from bench.report_rich_record import build_rich_record

from edgekd_bench.report_pareto import pareto_plot
from edgekd_bench.report_rows import family, pareto_front, seed_groups


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@pytest.mark.parametrize("seed", range(20))
def test_the_front_holds_exactly_what_nothing_beats(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = [(float(a), float(b)) for a, b in generator.integers(0, 6, (25, 2))]
    front = [points[index] for index in pareto_front(points)]
    assert front == sorted(front)
    for point in points:
        unbeaten = not any(beats(other, point) for other in points)
        assert (point in front) == unbeaten


def test_latencies_that_cannot_be_told_apart_keep_no_worse_model_on_the_front() -> None:
    points = [(10.00, 0.50), (10.05, 0.60), (12.0, 0.61)]
    assert pareto_front(points) == [0, 1, 2]
    assert pareto_front(points, same=0.01) == [1, 2]


def test_an_empty_front() -> None:
    assert pareto_front([]) == []


def test_seeds_are_one_point_and_the_table_says_what_is_on_the_front() -> None:
    record = build_rich_record("better")
    drawing = pareto_plot(record.rows, record.verdict.comparisons)
    assert drawing is not None
    assert len(drawing.rows) == len(seed_groups(record.rows)) == 6
    on_front = {(row[1], row[2]) for row in drawing.rows if row[-1] == "yes"}
    assert on_front == {("distilled", "onnxruntime fp32"), ("distilled", "onnxruntime int8")}
    assert drawing.markup.count("seed s-") == sum(int(row[3]) for row in drawing.rows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("distilled-seed2.onnx", "distilled.onnx"),
        ("distilled-seed12/detector.pt", "distilled/detector.pt"),
        ("yolo11n_seed0.int8.onnx", "yolo11n.int8.onnx"),
        ("seedling.onnx", "seedling.onnx"),
    ],
)
def test_the_seed_is_taken_out_of_a_name(name: str, expected: str) -> None:
    row = build_rich_record().rows[0]
    assert family(row.model_copy(update={"model": name, "seed": 2})) == expected
    assert family(row.model_copy(update={"model": name, "seed": None})) == name
