"""Only like is compared with like, and what is left out is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekd_bench.errors import InputError
from edgekd_bench.pairing import Contender, pair_models

BASE = Contender(
    name="base",
    backend="onnxruntime",
    device="cpu",
    precision="fp32",
    image_size=64,
    is_baseline=True,
    init="baseline",
    seed=None,
    teacher=None,
    parity="pass",
)
DISTILLED = replace(BASE, name="new", is_baseline=False, init="distilled", teacher="vit")


def test_pairs_are_by_seed_whatever_the_order() -> None:
    baselines = [replace(BASE, name=f"b{s}", seed=s) for s in (2, 0, 1)]
    candidates = [replace(DISTILLED, name=f"c{s}", seed=s) for s in (0, 1, 2)]
    pairing = pair_models([*candidates, *baselines])
    assert len(pairing.groups) == 1 and not pairing.notes
    group = pairing.groups[0]
    assert [c.name for c in group.candidates] == ["c0", "c1", "c2"]
    assert [b.name for b in group.baselines] == ["b0", "b1", "b2"]
    assert group.seeds == [0, 1, 2]


def test_none_pairs_with_none_only() -> None:
    pairing = pair_models([BASE, DISTILLED, replace(DISTILLED, name="s1", seed=1)])
    assert pairing.groups[0].seeds == [None]
    assert pairing.notes == [
        "s1 is not compared: no baseline with seed 1 on onnxruntime fp32 at 64 px"
    ]


@pytest.mark.parametrize(
    "change", [{"backend": "pytorch"}, {"precision": "int8"}, {"image_size": 96}, {"device": "gpu"}]
)
def test_groups_do_not_mix(change: dict[str, object]) -> None:
    pairing = pair_models([BASE, replace(DISTILLED, **change)])
    assert not pairing.groups and "not compared" in pairing.notes[0]


def test_deployed_backend_and_fp32_lead() -> None:
    kinds = [
        {"backend": "pytorch", "precision": "fp32"},
        {"backend": "onnxruntime", "precision": "int8"},
        {"backend": "onnxruntime", "precision": "fp32"},
    ]
    contenders = [replace(side, **kind) for kind in kinds for side in (BASE, DISTILLED)]
    order = [
        (g.candidates[0].backend, g.candidates[0].precision) for g in pair_models(contenders).groups
    ]
    assert order == [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("pytorch", "fp32")]


def test_a_failed_export_is_left_out_and_named() -> None:
    for failed in (
        [replace(BASE, parity="fail"), DISTILLED],
        [BASE, replace(DISTILLED, parity="fail")],
    ):
        pairing = pair_models(failed)
        assert not pairing.groups
        assert "parity gate failed" in pairing.notes[0]


def test_two_possible_baselines_are_refused() -> None:
    with pytest.raises(InputError, match="base and twin: both are baselines without a seed"):
        pair_models([BASE, replace(BASE, name="twin"), DISTILLED])


def test_models_without_seeds_are_experiments_of_their_own() -> None:
    other = replace(DISTILLED, name="other")
    groups = pair_models([BASE, DISTILLED, other]).groups
    assert [[c.name for c in group.candidates] for group in groups] == [["new"], ["other"]]


def test_teachers_are_not_pooled() -> None:
    bases = [replace(BASE, name=f"b{s}", seed=s) for s in (0, 1)]
    one = replace(DISTILLED, name="vit", seed=0)
    two = replace(DISTILLED, name="cnn", seed=1, teacher="cnn")
    assert len(pair_models([*bases, one, two]).groups) == 2


def test_without_baselines_there_is_nothing_to_remark() -> None:
    pairing = pair_models([DISTILLED])
    assert not pairing.groups and not pairing.notes
