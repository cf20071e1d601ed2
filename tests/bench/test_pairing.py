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
    with pytest.raises(InputError, match="base and twin: both are baselines for new"):
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


OWN = replace(BASE, name="fp32", is_baseline=False, init="other", weights="w")
INT8 = replace(OWN, name="int8", precision="int8")


@pytest.mark.parametrize(
    "change", [{"backend": "openvino"}, {"precision": "int8"}, {"image_size": 96}, {"seed": 3}]
)
def test_a_baseline_named_by_hand_is_compared_with_everything(change: dict[str, object]) -> None:
    by_hand = replace(BASE, given=True)
    pairing = pair_models([by_hand, replace(DISTILLED, **change)])
    assert [c.name for g in pairing.groups for c in g.candidates] == ["new"]
    assert not pairing.notes


def test_but_not_with_another_seed() -> None:
    pairing = pair_models([replace(BASE, given=True, seed=0), replace(DISTILLED, seed=1)])
    assert not pairing.groups and "no baseline with seed 1" in pairing.notes[0]


def test_int8_files_laid_out_for_other_runtimes_do_not_get_in_each_others_way() -> None:
    contenders = [
        replace(side, name=f"{side.name} for {layout}", precision="int8", layout=layout)
        for layout in ("openvino", "onnxruntime")
        for side in (BASE, DISTILLED)
    ]
    groups = pair_models(contenders).groups
    assert [(g.baselines[0].name, g.candidates[0].name) for g in groups] == [
        ("base for openvino", "new for openvino"),
        ("base for onnxruntime", "new for onnxruntime"),
    ]


def test_the_nearest_of_several_named_baselines_is_taken() -> None:
    near = replace(BASE, name="near", given=True, precision="fp16")
    far = replace(BASE, name="far", given=True, backend="openvino", precision="int8")
    candidate = replace(DISTILLED, precision="int8")
    groups = pair_models([far, near, candidate]).groups
    assert [b.name for b in groups[0].baselines] == ["near"]
    with pytest.raises(InputError, match="near and twin: both are baselines for new"):
        pair_models([near, replace(near, name="twin"), candidate])


def test_an_exact_baseline_goes_before_one_named_by_hand() -> None:
    foreign = replace(BASE, name="foreign", given=True, seed=None)
    own = replace(BASE, name="own", seed=2)
    groups = pair_models([foreign, own, replace(DISTILLED, seed=2)]).groups
    assert [b.name for g in groups for b in g.baselines] == ["own"]


def test_several_seeds_may_be_held_against_one_file() -> None:
    foreign = replace(BASE, name="foreign", given=True)
    group = pair_models([foreign, *(replace(DISTILLED, seed=s) for s in (0, 1, 2))]).groups[0]
    assert [b.name for b in group.baselines] == ["foreign"] * 3 and group.kind == "training"


def test_lower_precision_is_held_against_its_own_fp32_without_being_asked() -> None:
    for contenders in ([OWN, INT8], [replace(OWN, is_baseline=True), INT8]):
        groups = pair_models(contenders).groups
        assert [(g.baselines[0].name, g.candidates[0].name) for g in groups] == [("fp32", "int8")]
        assert groups[0].kind == "deployment"
    elsewhere = [{"backend": "openvino"}, {"image_size": 96}, {"weights": "v"}, {"weights": None}]
    for change in elsewhere:
        assert not pair_models([replace(OWN, **change), INT8]).groups


def test_a_baselines_own_int8_is_compared_too_and_training_leads() -> None:
    contenders = [
        replace(side, name=f"{side.name}-{precision}", precision=precision, weights=side.name)
        for side in (BASE, DISTILLED)
        for precision in ("int8", "fp32")
    ]
    pairing = pair_models(contenders)
    found = [(g.kind, g.baselines[0].name, g.candidates[0].name) for g in pairing.groups]
    assert found == [
        ("training", "base-fp32", "new-fp32"),
        ("training", "base-int8", "new-int8"),
        ("deployment", "base-fp32", "base-int8"),
        ("deployment", "new-fp32", "new-int8"),
    ]
    assert not pairing.notes


def test_an_fp32_named_as_baseline_of_its_own_int8_is_one_comparison() -> None:
    groups = pair_models([replace(OWN, is_baseline=True, given=True), INT8]).groups
    assert len(groups) == 1 and groups[0].kind == "deployment"


def test_files_of_unknown_training_are_files() -> None:
    pairing = pair_models([replace(BASE, given=True), replace(OWN, name="mine")])
    assert pairing.groups[0].kind == "models"
    seeded = pair_models([replace(BASE, given=True), replace(OWN, seed=4)])
    assert seeded.groups[0].kind == "training"
