"""The words claim what the intervals allow, and nothing more."""

from __future__ import annotations

import pytest

from edgekd_bench.record import Comparison, ComparisonKind, Interval, Outcome, Relation, Row
from edgekd_bench.verdict import conclude, describe, relate


def _row(map50_95: float, init: str = "distilled", **changes: object) -> Row:
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
            "latency_p90_ms": 5.1,
            "latency_p99_ms": 5.1,
            "end_to_end_p50_ms": 6,
            "end_to_end_p90_ms": 6,
            "end_to_end_p99_ms": 6,
            "num_warmup": 1,
            "num_timed": 9,
            "size_mb": 1,
            "num_params": 1,
            "parity": "pass",
            "sha256": "0",
            **changes,
        }
    )


def _interval(estimate: float, low: float, high: float, outcome: Outcome) -> Interval:
    return Interval(estimate=estimate, low=low, high=high, outcome=outcome, method="test")


SAME = _interval(1.01, 0.98, 1.03, "undecided")
GAIN = _interval(0.031, 0.01, 0.052, "better")


LOSS = _interval(-0.012, -0.02, -0.004, "worse")
FASTER = _interval(0.55, 0.53, 0.57, "better")
SLOWER = _interval(1.2, 1.1, 1.3, "worse")


def _text(
    difference: Interval,
    ratio: Interval = SAME,
    *,
    seeds: int = 3,
    images: int = 50,
    doubt: str = "",
) -> str:
    before, after = [_row(0.112, "baseline")] * seeds, [_row(0.143)] * seeds
    relation = relate(difference, ratio)
    return describe(before, after, difference, ratio, images, "training", relation, doubt)


def test_a_gain_is_said_in_one_sentence() -> None:
    assert _text(GAIN) == (
        "Distillation: +0.031 mAP50-95 (0.112 → 0.143), 95 % interval [+0.010, +0.052], 3 seeds: "
        "better, at the same latency (p50 ratio 1.010 [0.980, 1.030]); it dominates the baseline."
    )


@pytest.mark.parametrize(
    ("difference", "seeds", "images", "words"),
    [
        (_interval(-0.03, -0.05, -0.01, "worse"), 3, 50, ": worse,"),
        (_interval(0.01, -0.01, 0.03, "undecided"), 3, 50, "the interval includes 0"),
        (_interval(0.001, -0.002, 0.003, "undecided"), 3, 50, "the same within 0.005"),
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
    ("ratio", "doubt", "words"),
    [
        (SLOWER, "", "20.0% slower"),
        (_interval(0.8, 0.7, 0.9, "better"), "", "20.0% faster"),
        (_interval(1.2, 0.9, 1.5, "undecided"), "", "latency undecided (p50"),
        (_interval(1.01, 0.9, 1.2, "undecided"), "", "latency undecided (p50"),
        (_interval(1.2, 1.1, 1.5, "undecided"), "the machine was busy", "because the machine was"),
    ],
)
def test_latency_is_put_into_words(ratio: Interval, doubt: str, words: str) -> None:
    assert words in _text(GAIN, ratio, doubt=doubt)


@pytest.mark.parametrize(
    ("difference", "ratio", "relation"),
    [
        (GAIN, FASTER, "dominates"),
        (GAIN, SAME, "dominates"),
        (_interval(0.0, -0.003, 0.004, "undecided"), FASTER, "dominates"),
        (LOSS, SLOWER, "dominated"),
        (LOSS, SAME, "dominated"),
        (GAIN, SLOWER, "trades"),
        (LOSS, FASTER, "trades"),
        # Not shown to be no worse: a wide interval is no proof of equality.
        (GAIN, _interval(1.0, 0.8, 1.2, "undecided"), "undecided"),
        (_interval(0.0, -0.02, 0.02, "undecided"), FASTER, "undecided"),
        (_interval(0.0, -0.02, 0.02, "undecided"), SAME, "undecided"),
        (GAIN, None, "undecided"),
        (None, FASTER, "undecided"),
    ],
)
def test_both_figures_place_the_pair(
    difference: Interval | None, ratio: Interval | None, relation: Relation
) -> None:
    assert relate(difference, ratio) == relation


def test_the_price_of_int8_is_a_claim_about_files_not_about_seeds() -> None:
    before = _row(0.143)
    after = _row(0.131, precision="int8")
    text = describe([before], [after], LOSS, FASTER, 200, "deployment", "trades")
    assert text == (
        "int8 against its own fp32: -0.012 mAP50-95 (0.143 → 0.131), 95 % interval "
        "[-0.020, -0.004], 200 images: worse, 45.0% faster (p50 ratio 0.550 [0.530, 0.570]); "
        "it trades mAP for latency."
    )


def test_files_of_unknown_training_are_called_by_their_names() -> None:
    before, after = _row(0.3, "baseline", model="old.onnx"), _row(0.33, "other", model="new.onnx")
    text = describe([before], [after], GAIN, FASTER, 200, "models", "dominates")
    assert text.startswith("new.onnx against old.onnx: +0.031") and "seed" not in text
    elsewhere = after.model_copy(update={"backend": "openvino", "image_size": 320})
    text = describe([before], [elsewhere], GAIN, FASTER, 200, "models", "dominates")
    assert "(openvino fp32 320 px against onnxruntime fp32 64 px)" in text


def _comparison(
    difference: Interval, precision: str = "fp32", kind: ComparisonKind = "training"
) -> Comparison:
    return Comparison.model_validate(
        {
            "backend": "onnxruntime",
            "precision": precision,
            "baselines": ["b"] * 3,
            "candidates": ["c"] * 3,
            "seeds": [0, 1, 2],
            "map50_95_difference": difference,
            "latency_p50_ratio": SAME,
            "kind": kind,
            "baseline_precision": "fp32",
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


def test_a_gain_by_training_and_a_loss_by_int8_do_not_contradict_each_other() -> None:
    verdict = conclude([_comparison(GAIN), _comparison(LOSS, "int8", "deployment")], [], True)
    assert verdict.outcome == "better"
    assert "int8 c, c, c against its own fp32 -0.012" in verdict.headline


def test_no_comparison_says_why() -> None:
    alone = conclude([], [], has_baseline=False)
    assert alone.outcome == "no baseline" and "--baseline" in alone.headline
    unpaired = conclude([], ["c1 is not compared: no baseline with seed 1"], has_baseline=True)
    assert "seed 1" in unpaired.headline and "--baseline" not in unpaired.headline
