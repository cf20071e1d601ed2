"""The words claim what the intervals allow, and nothing more."""

from __future__ import annotations

import pytest

from edgekd_bench.record import Comparison, Interval, Outcome, Row
from edgekd_bench.verdict import conclude, describe


def _row(map50_95: float, init: str = "distilled", p90: float = 5.1) -> Row:
    return Row.model_validate(
        {
            "model": "m",
            "init": init,
            "precision": "fp32",
            "backend": "onnxruntime",
            "device": "cpu",
            "image_size": 64,
            "batch": 1,
            "map50_95": map50_95,
            "map50": map50_95,
            "latency_p50_ms": 5,
            "latency_p90_ms": p90,
            "latency_p99_ms": p90,
            "end_to_end_p50_ms": 6,
            "end_to_end_p90_ms": 6,
            "end_to_end_p99_ms": 6,
            "num_warmup": 1,
            "num_timed": 9,
            "size_mb": 1,
            "num_params": 1,
            "parity": "pass",
            "sha256": "0",
        }
    )


def _interval(estimate: float, low: float, high: float, outcome: Outcome) -> Interval:
    return Interval(estimate=estimate, low=low, high=high, outcome=outcome, method="test")


SAME = _interval(1.01, 0.98, 1.03, "undecided")
GAIN = _interval(0.031, 0.01, 0.052, "better")


def _text(
    difference: Interval,
    ratio: Interval = SAME,
    *,
    seeds: int = 3,
    images: int = 50,
    p90: float = 5.1,
) -> str:
    before, after = [_row(0.112, "baseline")] * seeds, [_row(0.143, p90=p90)] * seeds
    return describe(before, after, difference, ratio, images)


def test_a_gain_is_said_in_one_sentence() -> None:
    assert _text(GAIN) == (
        "Distillation: +0.031 mAP50-95 (0.112 → 0.143), 95 % interval [+0.010, +0.052], 3 seeds: "
        "better, at the same latency (p50 ratio 1.010 [0.980, 1.030])."
    )


@pytest.mark.parametrize(
    ("difference", "seeds", "images", "words"),
    [
        (_interval(-0.03, -0.05, -0.01, "worse"), 3, 50, ": worse,"),
        (_interval(0.01, -0.01, 0.03, "undecided"), 3, 50, "the interval includes 0"),
        (_interval(0.03, 0.01, 0.05, "undecided"), 1, 50, "one seed proves nothing"),
        (_interval(0.03, 0.01, 0.05, "undecided"), 2, 50, "2 seeds prove nothing"),
        (_interval(0.03, 0.01, 0.05, "undecided"), 3, 4, "4 images prove nothing"),
    ],
)
def test_what_is_missing_is_said(difference: Interval, seeds: int, images: int, words: str) -> None:
    text = _text(difference, seeds=seeds, images=images)
    assert words in text
    assert ("better" in text) is (difference.outcome == "better")
    assert text.startswith("No gain shown") is (difference.low <= 0 <= difference.high)


@pytest.mark.parametrize(
    ("ratio", "p90", "words"),
    [
        (_interval(1.2, 1.1, 1.3, "worse"), 5.1, "20.0% slower"),
        (_interval(0.8, 0.7, 0.9, "better"), 5.1, "20.0% faster"),
        (_interval(1.2, 0.9, 1.5, "undecided"), 5.1, "latency undecided (p50"),
        (_interval(1.2, 1.1, 1.5, "undecided"), 50, "because the machine was busy"),
    ],
)
def test_latency_is_put_into_words(ratio: Interval, p90: float, words: str) -> None:
    assert words in _text(GAIN, ratio, p90=p90)


def _comparison(difference: Interval, precision: str = "fp32") -> Comparison:
    return Comparison.model_validate(
        {
            "backend": "onnxruntime",
            "precision": precision,
            "baselines": ["b"] * 3,
            "candidates": ["c"] * 3,
            "seeds": [0, 1, 2],
            "map50_95_difference": difference,
            "latency_p50_ratio": SAME,
            "text": _text(difference),
        }
    )


def test_the_first_comparison_leads_and_the_others_are_named() -> None:
    undecided = _comparison(_interval(0.01, -0.01, 0.03, "undecided"), "int8")
    verdict = conclude([_comparison(GAIN), undecided], ["x is left out"], True)
    assert verdict.outcome == "better" and verdict.num_seeds == 3
    assert verdict.headline.startswith("Distillation: +0.031")
    assert "Also: onnxruntime int8" in verdict.headline
    assert verdict.headline.endswith("x is left out.")


def test_contradictions_decide_nothing() -> None:
    loss = _comparison(_interval(-0.03, -0.05, -0.01, "worse"), "int8")
    verdict = conclude([_comparison(GAIN), loss], [], True)
    assert verdict.outcome == "undecided" and "contradict" in verdict.headline


def test_no_comparison_says_why() -> None:
    alone = conclude([], [], has_baseline=False)
    assert alone.outcome == "no baseline" and "--baseline" in alone.headline
    unpaired = conclude([], ["c1 is not compared: no baseline with seed 1"], has_baseline=True)
    assert "seed 1" in unpaired.headline and "--baseline" not in unpaired.headline
