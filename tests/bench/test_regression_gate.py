"""The gate reads conditions strictly, judges the right models, and never passes by looking away."""

from __future__ import annotations

from typing import Any

import pytest

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.gate_condition import check_keys, figures, parse_conditions
from edgekd_bench.pairing import Contender, pair_models
from edgekd_bench.record import BenchRecord, GateOutcome
from edgekd_bench.regression_gate import check_baselines, enforce, judge


def _row(model: str, **changes: Any) -> dict[str, Any]:
    row = {
        "model": model,
        "init": "other",
        "precision": "fp32",
        "backend": "onnxruntime",
        "device": "cpu",
        "image_size": 64,
        "batch": 1,
        "map50_95": 0.4,
        "map50": 0.6,
        "map50_95_per_class": {"traffic light": 0.3, "car": 0.5},
        "map50_95_by_size": {"small": 0.1, "medium": 0.4, "large": None},
        "latency_p50_ms": 5.0,
        "latency_p90_ms": 6.0,
        "latency_p99_ms": 7.0,
        "latency_intervals_ms": {"latency_p90_ms": (5.5, 8.5)},
        "end_to_end_p50_ms": 6.0,
        "end_to_end_p90_ms": 6.0,
        "end_to_end_p99_ms": 6.0,
        "num_warmup": 1,
        "num_timed": 9,
        "size_mb": 5.0,
        "num_params": 1000,
        "parity": "pass",
        "sha256": "0",
    }
    return row | changes


def _interval(estimate: float, low: float, high: float) -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high, "outcome": "undecided", "method": "m"}


def _comparison(baselines: list[str], candidates: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "backend": "onnxruntime",
        "precision": "fp32",
        "baselines": baselines,
        "candidates": candidates,
        "seeds": [None] * len(candidates),
        "map50_95_difference": _interval(-0.02, -0.05, 0.01),
        "latency_p50_ratio": _interval(1.25, 1.2, 1.3),
        "text": "t",
    } | changes


def _record(
    rows: list[dict[str, Any]], *comparisons: dict[str, Any], **changes: Any
) -> BenchRecord:
    verdict = {"headline": "h", "outcome": "undecided", "num_seeds": 1}
    verdict["comparisons"] = list(comparisons)
    return BenchRecord.model_validate(
        {"environment": {}, "rows": rows, "verdict": verdict} | changes
    )


def _judge(record: BenchRecord, *conditions: str) -> list[GateOutcome]:
    return judge(record, parse_conditions(conditions))


PAIR = _record(
    [_row("old", init="baseline", map50_95=0.42, latency_p50_ms=4.0), _row("new")],
    _comparison(["old"], ["new"]),
)


@pytest.mark.parametrize(
    ("condition", "violated"),
    [
        ("map50_95 < 0.41", True),
        ("map50_95 < 0.4", False),
        ("map50_95 <= 0.4", True),
        ("map50_95>=.4", True),
        ("map50_95 < baseline", True),
        ("map50_95 < baseline - 0.01", True),
        ("map50_95 < baseline - 3e-2", False),
        ("map50_95 < baseline*0.9", False),
        ("latency_p50_ms > baseline * 1.05", True),
        ("latency_p50_ms > baseline + 1.5", False),
        ("latency_p50_ms >= baseline / 0.8", True),
        ("latency_p90_ms > 8", False),
        ("map50_95_per_class.traffic light < 0.31", True),
        ("map50_95_per_class.car < baseline - 0.1", False),
        ("map50_95_by_size.small < 0.05", False),
        ("num_params > 999", True),
    ],
)
def test_a_condition_is_judged_on_the_candidate(condition: str, violated: bool) -> None:
    outcomes = _judge(PAIR, condition)
    assert [(o.models, o.violated) for o in outcomes] == [(["new"], violated)]
    assert outcomes[0].condition == " ".join(condition.split())


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("map50-95 < 1", "write FIGURE < NUMBER"),
        ("map50_95", "write FIGURE"),
        ("map50_95 < 0.1 < 0.2", "write FIGURE"),
        ("map50_95 == 0.3", "write FIGURE"),
        ("map50_95 < baseline - ", "write FIGURE"),
        ("map50_95 < baseline ** 2", "write FIGURE"),
        ("map50_95 < __import__('os').getpid()", "write FIGURE"),
        ("__class__ < 1", "unknown figure '__class__'"),
        ("map50_59 < 0.3", "did you mean 'map50_95'"),
        ("latncy_p90_ms > 8", "did you mean 'latency_p90_ms'"),
        ("seed > 8", "unknown figure 'seed'"),
        ("model > 8", "unknown figure 'model'"),
        ("map50_95_per_class < 0.3", "several values"),
        ("map50_95.car < 0.3", "one value"),
        ("map50_95_by_size.tiny < 0.3", "unknown size 'tiny'"),
        ("map50_95 < baseline / 0", "no limit"),
        ("map50_95 < 1e999", "no limit"),
        ("surely size_mb > 3", "no interval"),
        ("surely map50_95 < 0.4", "no interval"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(condition: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        parse_conditions([condition])
    assert "\n" not in str(caught.value) and condition in str(caught.value)


def test_every_number_of_a_row_can_be_named() -> None:
    single, keyed = figures()
    assert {"map50_95", "latency_p90_ms", "energy_j_per_image", "size_mb"} <= set(single)
    assert not {"seed", "model", "flags", "latency_quantiles_ms"} & set(single)
    assert {"map50_95_per_class", "map50_per_class", "map50_95_by_size"} == set(keyed)


def test_classes_are_held_against_the_set() -> None:
    conditions = parse_conditions(["map50_95_per_class.traffic lihgt < 0.3"])
    with pytest.raises(InputError, match="did you mean 'traffic light'"):
        check_keys(conditions, ["car", "traffic light"])
    check_keys(parse_conditions(["map50_per_class.car < 0.3"]), ["car"])


def test_the_message_has_both_numbers_and_the_interval() -> None:
    outcomes = _judge(PAIR, "map50_95 < baseline - 0.01", "latency_p90_ms > 8")
    assert outcomes[0].text == (
        "map50_95 < baseline - 0.01: new on onnxruntime has 0.4, the limit is 0.41 (baseline "
        "0.42); 95 % interval [0.37, 0.43] contains the limit, so this may be noise"
    )
    assert outcomes[1].text == (
        "latency_p90_ms > 8: new on onnxruntime has 6, the limit is 8; 95 % interval [5.5, 8.5] "
        "contains the limit"
    )
    with pytest.raises(GateError, match=r"map50_95 < baseline - 0\.01: new") as caught:
        enforce(outcomes)
    assert "latency_p90_ms" not in str(caught.value) and "\n" not in str(caught.value)
    enforce([outcomes[1]])


def test_surely_holds_only_where_the_whole_interval_does() -> None:
    doubtful, sure = "surely map50_95 < baseline - 0.01", "surely latency_p50_ms > baseline * 1.1"
    assert [o.violated for o in _judge(PAIR, doubtful, sure)] == [False, True]
    assert not _judge(PAIR, "surely latency_p90_ms > 5.8")[0].violated
    assert _judge(PAIR, "surely latency_p90_ms > 5.4")[0].violated
    check = {
        "model": "new",
        "backend": "onnxruntime",
        "latency_p50_ratio": _interval(1.1, 1.05, 1.15),
        "tolerance": 0.01,
        "passed": False,
    }
    distrusted = PAIR.model_copy(
        update={
            "self_checks": BenchRecord.model_validate(
                {**PAIR.model_dump(), "self_checks": [check]}
            ).self_checks
        }
    )
    assert not _judge(distrusted, sure)[0].violated, "nothing is sure on clocks that lie"
    assert _judge(distrusted, sure.removeprefix("surely "))[0].violated


def test_what_was_not_measured_or_is_void_is_a_violation() -> None:
    outcome = _judge(PAIR, "device_p50_ms > 100")[0]
    assert outcome.violated and outcome.value is None and "was not measured" in outcome.text
    assert _judge(PAIR, "map50_95_by_size.large < 0.1")[0].violated
    failed = _record([_row("new", parity="fail")])
    outcome = _judge(failed, "map50_95 < 0.1")[0]
    assert outcome.violated and "failed the parity gate" in outcome.text


def test_seeds_are_judged_by_their_mean() -> None:
    rows = [_row(f"b{s}", init="baseline", seed=s, map50_95=0.42) for s in (0, 1)]
    rows += [_row(f"c{s}", init="distilled", seed=s, map50_95=m) for s, m in ((0, 0.4), (1, 0.43))]
    paired = _record(rows, _comparison(["b0", "b1"], ["c0", "c1"], seeds=[0, 1]))
    outcome = _judge(paired, "map50_95 < baseline - 0.01")[0]
    assert not outcome.violated and outcome.value == pytest.approx(0.415)
    assert "mean of 2 seeds" in outcome.text
    alone = _judge(_record(rows[2:]), "map50_95 < 0.41")
    assert [o.models for o in alone] == [["c0", "c1"]] and not alone[0].violated


def test_a_quantised_model_without_a_baseline_is_held_against_its_own_fp32() -> None:
    rows = [_row("fp32", map50_95=0.45), _row("int8", precision="int8")]
    own = _comparison(["fp32"], ["int8"], kind="deployment", asked=False)
    record = _record(rows, own)
    outcomes = _judge(record, "map50_95 < baseline - 0.01")
    assert [(o.models, o.violated) for o in outcomes] == [(["int8"], True)]
    # Nobody called it a baseline, so a fixed limit applies to it too.
    assert [o.models for o in _judge(record, "latency_p90_ms > 8")] == [["int8"], ["fp32"]]
    named = _record([rows[0] | {"init": "baseline"}, rows[1]], own | {"asked": True})
    assert [o.models for o in _judge(named, "latency_p90_ms > 8")] == [["int8"]]


def test_the_baselines_own_int8_is_not_on_trial() -> None:
    rows = [
        _row("b", init="baseline"),
        _row("b8", init="baseline", precision="int8", map50_95=0.1),
        _row("c", init="distilled"),
        _row("c8", init="distilled", precision="int8", map50_95=0.3),
    ]
    record = _record(
        rows,
        _comparison(["b"], ["c"]),
        _comparison(["b8"], ["c8"], precision="int8"),
        _comparison(["b"], ["b8"], precision="int8", asked=False),
        _comparison(["c"], ["c8"], precision="int8", asked=False),
    )
    outcomes = _judge(record, "map50_95 < baseline - 0.01")
    assert [(o.models, o.violated) for o in outcomes] == [(["c"], False), (["c8"], False)]


def test_without_candidates_the_models_there_are_are_judged() -> None:
    assert _judge(_record([_row("b", init="baseline")]), "latency_p90_ms > 5")[0].violated
    with pytest.raises(InputError, match="no comparison with a baseline"):
        _judge(_record([_row("b")]), "map50_95 < baseline")


def test_a_candidate_that_could_not_be_judged_is_refused_beforehand() -> None:
    base = Contender("b", "onnxruntime", "cpu", "fp32", 64, True, "baseline", 0, None, "pass")
    mine = Contender("c", "onnxruntime", "cpu", "fp32", 64, False, "distilled", 0, None, "pass")
    lonely = Contender("d", "onnxruntime", "cpu", "fp32", 64, False, "distilled", 1, None, "pass")
    relative = parse_conditions(["map50_95 < baseline"])
    check_baselines(relative, [base, mine], pair_models([base, mine]))
    for contenders in ([base, mine, lonely], [lonely], [base]):
        with pytest.raises(InputError, match="baseline"):
            check_baselines(relative, contenders, pair_models(contenders))
        absolute = parse_conditions(["map50_95 < 0.1"])
        check_baselines(absolute, contenders, pair_models(contenders))
