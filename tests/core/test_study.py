"""The study pairs what belongs together, goes on where it stopped, and claims what it may."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench.synthetic_sets import imperfect_detections, random_set
from core.conftest import MakeConfig
from pydantic import ValidationError

from edgekd import distill, study
from edgekd.config import Config, StudyConfig
from edgekd.study.plan import BASELINE, Fraction, cells_of, fractions_of
from edgekd.study.record import StudyComparison
from edgekd.study.verdict import advise, compare_all
from edgekd_bench.coco_score import Score, score_detections
from edgekd_bench.errors import InputError
from edgekd_bench.record import Interval


def config(**options: object) -> Config:
    train = {"epochs": 20, "seeds": [0, 1]}
    return Config.model_validate({"name": "s", "train": train, "study": options})


def test_fewer_labels_train_for_more_epochs_up_to_a_limit() -> None:
    wanted = config(fractions=[1.0, 0.05, 0.5], max_epochs=100)
    assert fractions_of(wanted, 160) == [
        Fraction(0.05, 8, 100),
        Fraction(0.5, 80, 40),
        Fraction(1.0, 160, 20),
    ]


@pytest.mark.parametrize(
    ("fractions", "num_train", "words"),
    [([0.01, 1.0], 40, "not one image"), ([0.5, 0.52], 20, "equally many")],
)
def test_fractions_that_are_no_images_of_their_own(
    fractions: list[float], num_train: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fractions_of(config(fractions=fractions), num_train)


@pytest.mark.parametrize(
    "options",
    [
        {"fractions": [0.0]},
        {"fractions": [1.5]},
        {"fractions": [0.5, 0.5]},
        {"inits": {"baseline": None}},
        {"inits": {"a/b": None}},
        {"inits": {}},
    ],
)
def test_options_that_make_no_study(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StudyConfig.model_validate(options)


def test_every_init_meets_the_same_labels_length_and_seeds() -> None:
    wanted = config(fractions=[0.5, 1.0])
    cells = list(
        cells_of(wanted, fractions_of(wanted, 10), {"ours": Path("o"), "other": Path("x")})
    )
    assert len(cells) == 2 * 2 * 3
    by_init: dict[str, list[tuple[int, int, str]]] = {}
    for cell in cells:
        recipe = cell.config.train.model_dump_json()
        by_init.setdefault(cell.init, []).append((cell.fraction.num_labels, cell.seed, recipe))
    assert by_init["ours"] == by_init["other"] == by_init[BASELINE]
    assert len({(cell.config.run_dir, cell.seed) for cell in cells}) == len(cells)
    assert {cell.backbone for cell in cells if cell.init == BASELINE} == {None}


def scores(jitter: float) -> list[Score]:
    """Three seeds of a detector whose boxes are ``jitter`` pixels off."""
    dataset = random_set(40, np.random.default_rng(5))
    rngs = map(np.random.default_rng, range(3))
    return [score_detections(imperfect_detections(dataset, rng, jitter), dataset) for rng in rngs]


def test_comparisons_take_the_first_init_as_ours() -> None:
    table = {(8, BASELINE): scores(9.0), (8, "ours"): scores(1.0), (8, "other"): scores(9.0)}
    found = compare_all(table, [Fraction(1.0, 8, 1)], ["ours", "other"], bootstrap=200, seed=0)
    pairs = [(c.init, c.against, c.difference.outcome) for c in found]
    assert pairs == [
        ("ours", BASELINE, "better"),
        ("other", BASELINE, "undecided"),
        ("ours", "other", "better"),
    ]
    assert found[0].map50_95 == pytest.approx(np.mean([s.map50_95 for s in table[8, "ours"]]))


def compared(
    low: float, high: float, *, mean: float = 0.3, seeds: int = 3, labels: int = 8
) -> StudyComparison:
    outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
    interval = Interval(
        estimate=(low + high) / 2, low=low, high=high, outcome=outcome, method="given"
    )
    return StudyComparison(
        init="ours",
        against=BASELINE,
        num_labels=labels,
        num_seeds=seeds,
        map50_95=mean,
        map50_95_against=mean,
        difference=interval,
    )


@pytest.mark.parametrize(
    ("comparisons", "advice", "reason"),
    [
        ([compared(0.01, 0.2)], "distil", "helps with 8 labels"),
        ([compared(-0.1, 0.2), compared(0.01, 0.2, labels=80)], "distil", "helps with 80 labels"),
        ([compared(-0.2, -0.01)], "do not distil", "hurts with 8 labels"),
        ([compared(-0.02, 0.005)], "do not distil", "0.010 mAP50-95 is excluded"),
        ([compared(-0.02, 0.05)], "not enough evidence", "No interval excludes zero"),
        ([compared(0.01, 0.2), compared(-0.2, -0.1)], "not enough evidence", "hurts with others"),
        ([compared(0.01, 0.2, seeds=2)], "not enough evidence", "two paired seeds"),
        ([compared(0.0, 0.0, mean=0.0)], "not enough evidence", "No detector learned anything"),
    ],
)
def test_advice(comparisons: list[StudyComparison], advice: str, reason: str) -> None:
    verdict = advise("ours", comparisons, 40, worthwhile=0.01)
    assert verdict.advice == advice
    assert reason in verdict.text


def test_few_images_decide_nothing() -> None:
    verdict = advise("ours", [compared(0.01, 0.2)], 4, worthwhile=0.01)
    assert verdict.advice == "not enough evidence"
    assert "four val images" in verdict.text


def test_a_study_from_end_to_end_and_again(make_config: MakeConfig, labelled_set: Path) -> None:
    options = make_config(
        f"data={labelled_set}",
        "train.epochs=1",
        "train.seeds=[0, 1]",
        "study.fractions=[1.0]",
        "study.jobs=2",
    )
    result = study.run(options)
    cells = result.record.cells
    assert [(c.init, c.seed) for c in cells] == [
        (BASELINE, 0),
        ("distilled", 0),
        (BASELINE, 1),
        ("distilled", 1),
    ]
    assert len({c.sha256 for c in cells}) == 4
    assert all((options.run_dir / c.detector).is_file() for c in cells)
    assert result.record.verdicts[0].advice == "not enough evidence"
    assert result.record.config["distill"]["epochs"] == options.distill.epochs
    assert result.plot.read_bytes().startswith(b"\x89PNG")
    assert str(options.run_dir) not in result.results.read_text()

    lost = options.run_dir / cells[1].detector
    kept = options.run_dir / cells[0].detector
    before = kept.stat().st_mtime_ns
    lost.unlink()
    again = study.run(options)
    assert kept.stat().st_mtime_ns == before
    assert lost.is_file()
    assert [c.map50_95 for c in again.record.cells] == [c.map50_95 for c in cells]
    assert (
        json.loads(again.results.read_text())["comparisons"]
        == json.loads(again.record.model_dump_json())["comparisons"]
    )


@pytest.fixture
def foreign_backbone(make_config: MakeConfig) -> Path:
    """Backbone weights from another run."""
    return distill.run(make_config("name=first")).backbone


def test_a_foreign_backbone_is_an_init_without_distilling(
    make_config: MakeConfig, labelled_set: Path, foreign_backbone: Path
) -> None:
    options = make_config(
        "name=second",
        f"data={labelled_set}",
        "train.epochs=1",
        "study.fractions=[1.0]",
        f"study.inits={{theirs: {foreign_backbone}}}",
    )
    result = study.run(options)
    assert [c.init for c in result.record.cells] == [BASELINE, "theirs"]
    assert result.record.backbones["theirs"].source == "edgekd"
    assert "distill" not in result.record.config  # somebody else's recipe is not known
    assert not (options.run_dir / "distill").exists()


def test_a_backbone_of_another_student_stops_before_any_training(
    make_config: MakeConfig, labelled_set: Path, foreign_backbone: Path
) -> None:
    options = make_config(
        "name=second",
        f"data={labelled_set}",
        "student.model=yolov8n.yaml",
        f"study.inits={{theirs: {foreign_backbone}}}",
    )
    with pytest.raises(InputError, match="another model"):
        study.run(options)
    assert not (options.run_dir / "study").exists()
