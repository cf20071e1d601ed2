"""``bench/ablation.py``: the committed ablations are valid, and the table says what was found."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from core.conftest import BENCH, load_script

from edgekd.config import load_config
from edgekd.study.plan import BASELINE
from edgekd.study.record import StudyComparison, StudyRecord
from edgekd_bench.record import Interval

ABLATIONS = sorted((BENCH / "ablations").glob("*.yaml"))


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    return load_script("ablation")


@pytest.mark.parametrize("file", ABLATIONS, ids=lambda file: file.stem)
def test_every_variant_is_a_configuration_of_its_own(ablation: ModuleType, file: Path) -> None:
    read = ablation.Ablation.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    demo = BENCH.parent / "configs" / "demo.yaml"
    configs = [load_config(demo, [*read.base, *own]) for own in read.variants.values()]
    distillations = {(c.distill.model_dump_json(), c.seed) for c in configs}
    assert len(distillations) == len(configs)
    assert len({c.train.model_dump_json() for c in configs}) == 1
    assert len(configs[0].train.seeds) >= 3


def compared(init: str, against: str, mean: float, low: float, high: float) -> StudyComparison:
    interval = Interval(
        estimate=(low + high) / 2, low=low, high=high, outcome="undecided", method="given"
    )
    return StudyComparison(
        init=init,
        against=against,
        num_labels=10,
        num_seeds=3,
        map50_95=mean,
        map50_95_against=0.1,
        difference=interval,
    )


def test_the_table_turns_differences_to_the_first_variant_around(ablation: ModuleType) -> None:
    record = StudyRecord(
        data={},
        recipe={},
        backbones={},
        cells=[],
        comparisons=[
            compared("default", BASELINE, 0.3, 0.1, 0.3),
            compared("mlp", BASELINE, 0.25, 0.05, 0.25),
            compared("default", "mlp", 0.3, -0.02, 0.06),
        ],
        verdicts=[],
        versions={},
        environment={},
        config={},
    )
    made = ablation.Ablation(title="t", variants={"default": [], "mlp": ["distill.projector=mlp"]})
    rows = ablation.table(record, {"default": 0.5, "mlp": 0.25}, made).splitlines()[2:]
    assert rows == [
        "| default |  | 0.500 | 10 | 0.300 | +0.200 [+0.100, +0.300] |  |",
        "| mlp | `distill.projector=mlp` | 0.250 | 10 | 0.250 | +0.150 [+0.050, +0.250] "
        "| -0.020 [-0.060, +0.020] |",
    ]


def test_the_cosine_is_that_of_the_epoch_that_was_kept(
    ablation: ModuleType, tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics.jsonl"
    epochs = [(0.2, 0.9), (0.4, 0.5), (0.3, 0.7)]
    lines = [
        {"epoch": n + 1, "heldout_cosine": mean, "heldout_cosine/p4": at_p4}
        for n, (mean, at_p4) in enumerate(epochs)
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert ablation.best_cosine(metrics) == 0.5
