"""Intervals rest on COCO's own mAP, reflect images and seeds, and do not cry wolf."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from bench.synthetic_sets import imperfect_detections, random_set

from edgekd_bench.coco_score import Score, score_detections
from edgekd_bench.comparison import compare
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.detections import Detections
from edgekd_bench.intervals import Measurement, map_difference
from edgekd_bench.record import Row, SelfCheck
from edgekd_bench.resampled_map import draw_image_weights, resampled_map
from edgekd_bench.self_check import doubt_about


def measurement(
    score: Score,
    *,
    name: str = "m",
    init: str = "baseline",
    seed: int | None = 0,
    forward_ms: np.ndarray | None = None,
) -> Measurement:
    """A row with a real score around made-up latencies."""
    times = np.full(40, 5.0) if forward_ms is None else forward_ms
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    row = Row.model_validate(
        {
            "model": name,
            "init": init,
            "seed": seed,
            "precision": "fp32",
            "backend": "onnxruntime",
            "device": "cpu",
            "image_size": 64,
            "batch": 1,
            "map50_95": score.map50_95,
            "map50": score.map50,
            "latency_p50_ms": p50,
            "latency_p90_ms": p90,
            "latency_p99_ms": p99,
            "end_to_end_p50_ms": p50,
            "end_to_end_p90_ms": p90,
            "end_to_end_p99_ms": p99,
            "num_warmup": 1,
            "num_timed": len(times),
            "size_mb": 1.0,
            "num_params": 1,
            "parity": "pass",
            "sha256": "0",
        }
    )
    return Measurement(row, score.matches, times)


def models(
    dataset: DetectionSet, seeds: Sequence[int], jitter: float, init: str
) -> list[Measurement]:
    """One model a seed: detections with the given error around the truth."""
    return [
        measurement(
            score_detections(
                imperfect_detections(dataset, np.random.default_rng(seed), jitter), dataset
            ),
            name=f"{init}{seed}",
            init=init,
            seed=position,
        )
        for position, seed in enumerate(seeds)
    ]


@pytest.fixture(scope="module")
def dataset() -> DetectionSet:
    """Sixty images."""
    return random_set(60, np.random.default_rng(3))


@pytest.mark.parametrize("crowd", [False, True])
def test_each_image_once_is_hotcocos_own_map(crowd: bool) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        images = random_set(20, rng, crowd)
        score = score_detections(imperfect_detections(images, rng), images)
        once = resampled_map(score.matches, np.ones((1, 20), np.int64))
        assert once[0] == pytest.approx(score.map50_95, abs=1e-9)


def test_a_weight_is_a_repeated_image(dataset: DetectionSet) -> None:
    """Scoring a set with its images really repeated gives the same mAP as weights do."""
    rng = np.random.default_rng(0)
    found = imperfect_detections(dataset, rng)
    # Distinct scores: how ties between copies are ordered is nobody's promise.
    found = [Detections(d.boxes, rng.random(len(d)).astype(np.float32), d.class_ids) for d in found]
    weights = draw_image_weights(60, 4, rng)
    assert (weights.sum(axis=1) == 60).all()
    resampled = resampled_map(score_detections(found, dataset).matches, weights)
    for row, value in zip(weights, resampled, strict=True):
        chosen = np.repeat(np.arange(60), row)
        repeated = DetectionSet(
            dataset.names, tuple(dataset.images[i] for i in chosen), dataset.source, "val"
        )
        expected = score_detections([found[i] for i in chosen], repeated).map50_95
        assert value == pytest.approx(expected, abs=1e-9)


def test_a_resample_without_truth_is_no_number(dataset: DetectionSet) -> None:
    score = score_detections(imperfect_detections(dataset, np.random.default_rng(0)), dataset)
    assert np.isnan(resampled_map(score.matches, np.zeros((2, 60), np.int64))).all()


def test_a_clear_gain_over_three_seeds_is_better(dataset: DetectionSet) -> None:
    weak, strong = (
        models(dataset, [1, 2, 3], 14, "baseline"),
        models(dataset, [4, 5, 6], 2, "distilled"),
    )
    for pair, outcome, sign in ((weak, strong), "better", 1), ((strong, weak), "worse", -1):
        interval = map_difference(*pair, 300, np.random.default_rng(0))
        assert interval.outcome == outcome
        assert interval.low * sign > 0 and interval.high * sign > 0
        assert interval.low <= interval.estimate <= interval.high
        assert "3 paired seeds" in interval.method and "60 images" in interval.method


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_too_few_seeds_are_always_undecided(dataset: DetectionSet, num_seeds: int) -> None:
    weak = models(dataset, [1, 2, 3][:num_seeds], 14, "baseline")
    strong = models(dataset, [4, 5, 6][:num_seeds], 1, "distilled")
    comparison = compare(weak, strong, bootstrap=200, seed=0)
    assert comparison.map50_95_difference.estimate > 0.2
    assert comparison.map50_95_difference.outcome == "undecided"
    words = {1: "one seed proves nothing", 2: "2 seeds prove nothing"}[num_seeds]
    assert words in comparison.text


def test_too_few_images_are_always_undecided() -> None:
    few = random_set(6, np.random.default_rng(0))
    weak, strong = models(few, [1, 2, 3], 25, "baseline"), models(few, [4, 5, 6], 0.1, "distilled")
    comparison = compare(weak, strong, bootstrap=200, seed=0)
    assert comparison.map50_95_difference.outcome == "undecided"
    assert "6 images prove nothing" in comparison.text


def test_seeds_that_disagree_widen_the_interval(dataset: DetectionSet) -> None:
    base = models(dataset, [1, 2, 3], 6, "baseline")
    same = models(dataset, [1, 1, 1], 5, "distilled")
    mixed = [models(dataset, [4], jitter, "distilled")[0] for jitter in (1, 6, 14)]
    agreed = map_difference([base[0]] * 3, same, 300, np.random.default_rng(0))
    disputed = map_difference(base, mixed, 300, np.random.default_rng(0))
    assert disputed.high - disputed.low > 3 * (agreed.high - agreed.low)
    assert disputed.outcome == "undecided"


def test_equal_methods_are_seldom_called_different(dataset: DetectionSet) -> None:
    """Three seeds of one method against three others: a 95 % interval errs one time in twenty."""
    pool = models(dataset, range(60), 6, "baseline")
    wrong = 0
    for start in range(0, 60, 6):
        one, other = pool[start : start + 3], pool[start + 3 : start + 6]
        outcome = map_difference(one, other, 200, np.random.default_rng(start)).outcome
        wrong += outcome != "undecided"
    assert wrong <= 1


def test_files_alone_need_no_seeds_and_their_interval_has_none(dataset: DetectionSet) -> None:
    one, other = models(dataset, [1], 10, "other"), models(dataset, [2], 2, "other")
    comparison = compare(one, other, bootstrap=300, seed=0, kind="models")
    assert comparison.map50_95_difference.outcome == "better"
    assert "seed" not in comparison.map50_95_difference.method + comparison.text
    few = random_set(6, np.random.default_rng(0))
    pair = models(few, [1], 25, "other"), models(few, [4], 0.1, "other")
    undecided = compare(*pair, bootstrap=200, seed=0, kind="models")
    assert undecided.map50_95_difference.outcome == "undecided"


def test_equal_files_are_seldom_called_different() -> None:
    """Two detectors of equal quality on forty sets of images: one set in twenty may mislead."""
    wrong = 0
    for trial in range(40):
        images = random_set(50, np.random.default_rng(trial))
        one = models(images, [1000 + trial], 6, "other")
        other = models(images, [2000 + trial], 6, "other")
        interval = map_difference(one, other, 200, np.random.default_rng(trial), kind="models")
        wrong += interval.outcome != "undecided"
    assert wrong <= 6, "a 95 % interval misses more than six of forty once in a hundred"


def test_a_failed_self_check_takes_the_latency_out_of_the_verdict(dataset: DetectionSet) -> None:
    steady = np.full(100, 5.0) + np.random.default_rng(0).normal(0, 0.02, 100)
    score = score_detections(imperfect_detections(dataset, np.random.default_rng(1)), dataset)
    one = [measurement(score, forward_ms=steady)]
    other = [measurement(score, init="other", forward_ms=steady * 0.5)]
    trusted = compare(one, other, bootstrap=200, seed=0, kind="models")
    assert trusted.latency_p50_ratio.outcome == "better" and trusted.relation == "dominates"
    check = SelfCheck(
        model="m",
        backend="onnxruntime",
        latency_p50_ratio=trusted.latency_p50_ratio.model_copy(update={"estimate": 1.07}),
        tolerance=0.02,
        passed=False,
    )
    doubt = doubt_about({"onnxruntime"}, [check])
    doubted = compare(one, other, bootstrap=200, seed=0, kind="models", doubt=doubt)
    assert doubted.latency_p50_ratio.outcome == "undecided" and doubted.relation == "undecided"
    assert "latency undecided because the self-check failed on onnxruntime" in doubted.text


def test_a_busy_machine_decides_nothing_about_latency(dataset: DetectionSet) -> None:
    rng = np.random.default_rng(1)
    score = score_detections(imperfect_detections(dataset, rng), dataset)
    busy = np.where(rng.random(300) < 0.3, 30.0, 10.0)
    one = [measurement(score, forward_ms=np.full(300, 10.0))]
    other = [measurement(score, init="other", forward_ms=busy * 1.5)]
    comparison = compare(one, other, bootstrap=200, seed=0, kind="models")
    assert comparison.latency_p50_ratio.outcome == "undecided"
    assert "the machine was busy" in comparison.text


def test_a_seed_makes_the_comparison_repeatable(dataset: DetectionSet) -> None:
    base, new = (
        models(dataset, [1, 2, 3], 8, "baseline"),
        models(dataset, [4, 5, 6], 5, "distilled"),
    )
    assert compare(base, new, bootstrap=200, seed=7) == compare(base, new, bootstrap=200, seed=7)
