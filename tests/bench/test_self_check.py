"""The self-check finds no difference where there is none, and every difference that is there."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd_bench.self_check import TOLERANCE, describe_check, doubt_about, judge_twins

NUM = 400


def _latencies(seed: int, factor: float = 1.0, spread: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 10 * factor * np.exp(spread * rng.normal(size=NUM))


def test_equal_models_pass_again_and_again() -> None:
    checks = [judge_twins("m", "b", _latencies(k), _latencies(k + 1000)) for k in range(50)]
    assert all(check.passed for check in checks)
    assert checks[0].tolerance == TOLERANCE
    assert "no difference, and one of 1." in describe_check(checks[0])


def test_a_drift_that_meets_both_is_no_difference() -> None:
    drift = np.linspace(1.0, 1.6, NUM)
    assert judge_twins("m", "b", _latencies(0) * drift, _latencies(1) * drift).passed


@pytest.mark.parametrize("factor", [0.9, 0.96, 1.04, 1.2])
def test_a_bias_fails_and_nothing_is_decided_there(factor: float) -> None:
    check = judge_twins("m.onnx", "openvino", _latencies(0), _latencies(1, factor))
    assert not check.passed
    assert "m.onnx against itself" in describe_check(check)
    assert "decide nothing" in describe_check(check)
    other = judge_twins("m.onnx", "onnxruntime", _latencies(0), _latencies(1))
    assert doubt_about({"openvino"}, [check, other]) == "the self-check failed on openvino"
    assert doubt_about({"onnxruntime", "openvino"}, [check, other]).endswith("on openvino")
    assert doubt_about({"onnxruntime"}, [check, other]) == ""


def test_a_bias_within_the_tolerance_is_let_through() -> None:
    quiet = _latencies(0, spread=1e-4), _latencies(1, 1 + TOLERANCE / 2, spread=1e-4)
    check = judge_twins("m", "b", *quiet)
    assert check.latency_p50_ratio.low > 1 and check.passed
