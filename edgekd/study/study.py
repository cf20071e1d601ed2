"""Run a study from end to end, and continue one that was stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgekd.config import Config
from edgekd.pipeline import prepare
from edgekd.run_stages import LabelledData, RunStages
from edgekd.study.cells import Trained, score_of, train_cells
from edgekd.study.plan import Cell, Fraction, cells_of, fractions_of
from edgekd.study.plot import draw
from edgekd.study.record import StudyBackbone, StudyCell, StudyRecord
from edgekd.study.verdict import advise, compare_all
from edgekd_bench.coco_score import Score
from edgekd_bench.device_state import describe_environment
from edgekd_bench.manifest import library_versions, short_name, write_text_atomically


@dataclass(frozen=True)
class StudyResult:
    """The files of a study, and its record."""

    results: Path
    plot: Path
    record: StudyRecord


def run(config: Config, *, console: Console | None = None) -> StudyResult:
    """Train every init on every fraction of the labels with every seed, and weigh the differences.

    Raises:
        InputError: bad input to any stage.
        GateError: a hand-over could not be proven.
        StoppedError: stopped by the user; start it again to go on.
    """
    console = console or Console(quiet=True)
    config = prepare(config, console)
    assert config.data is not None
    data = LabelledData.read(config.data)
    fractions = fractions_of(config, len(data.train.images))
    backbones = _backbones(config, data, console)
    cells = list(cells_of(config, fractions, backbones))
    done = _train(cells, config, data, console)
    record = _record(config, fractions, backbones, done, data)
    folder = config.run_dir / "study"
    write_text_atomically(folder / "results.json", record.model_dump_json(indent=2) + "\n")
    draw(record, folder / "study.png")
    return StudyResult(folder / "results.json", folder / "study.png", record)


def _backbones(config: Config, data: LabelledData, console: Console) -> dict[str, Path]:
    """Weights of each init; files are tried on the student before the first training.

    Raises:
        InputError: a file that is missing, or of another student.
    """
    from edgekd.models.student import build_detector
    from edgekd.train.handover import load_backbone, read_backbone_weights

    given = {name: path for name, path in config.study.inits.items() if path is not None}
    detector = build_detector(config.student.model)
    for path in given.values():
        load_backbone(detector, read_backbone_weights(path))
    if len(given) == len(config.study.inits):
        return given
    own = RunStages(config, console, data).distill()
    return {name: path or own for name, path in config.study.inits.items()}


def _train(
    cells: Sequence[Cell], config: Config, data: LabelledData, console: Console
) -> list[tuple[Cell, Trained, Score]]:
    """All cells in the order of the plan."""
    done: dict[str, tuple[Cell, Trained, Score]] = {}
    for cell, trained in train_cells(cells, data, config.study.jobs, console):
        score = score_of(trained, data)
        done[cell.name] = (cell, trained, score)
        console.print(f"study {len(done)}/{len(cells)}: {cell.name}: mAP50-95 {score.map50_95:.3f}")
    return [done[cell.name] for cell in cells]


def _record(
    config: Config,
    fractions: Sequence[Fraction],
    backbones: Mapping[str, Path],
    done: Sequence[tuple[Cell, Trained, Score]],
    data: LabelledData,
) -> StudyRecord:
    assert config.data is not None
    scores: dict[tuple[int, str], list[Score]] = {}
    for cell, _, score in done:
        scores.setdefault((cell.fraction.num_labels, cell.init), []).append(score)
    comparisons = compare_all(
        scores, fractions, list(backbones), bootstrap=config.bench.bootstrap, seed=config.bench.seed
    )
    num_images, worthwhile = len(data.val.images), config.study.worthwhile
    return StudyRecord(
        data={
            "name": short_name(config.data),
            "num_train_images": len(data.train.images),
            "num_val_images": num_images,
            "val_sha256": data.val_hash,
        },
        recipe={
            "student": config.student.model,
            "image_size": config.image_size,
            "seeds": list(config.train.seeds),
            "batch_size": config.train.batch_size,
            "epochs": {str(f.num_labels): f.epochs for f in fractions},
            "evaluation": "the last epoch, in PyTorch fp32, with the deployed pre- and "
            "postprocessing",
        },
        backbones={name: _origin(path) for name, path in backbones.items()},
        cells=[_cell(config, *one) for one in done],
        comparisons=comparisons,
        verdicts=[advise(init, comparisons, num_images, worthwhile) for init in backbones],
        versions=library_versions("torch", "ultralytics", "timm"),
        environment=describe_environment(None),
        config=_public(config),
    )


def _cell(config: Config, cell: Cell, trained: Trained, score: Score) -> StudyCell:
    return StudyCell(
        init=cell.init,
        share=cell.fraction.share,
        num_labels=cell.fraction.num_labels,
        epochs=cell.fraction.epochs,
        seed=cell.seed,
        map50_95=score.map50_95,
        map50=score.map50,
        detector=str(trained.detector.relative_to(config.run_dir)),
        sha256=trained.sha256,
    )


def _origin(path: Path) -> StudyBackbone:
    from edgekd.train.handover import read_backbone_weights

    weights = read_backbone_weights(path)
    return StudyBackbone(sha256=weights.sha256, source=weights.source, teacher=weights.teacher)


def _public(config: Config) -> dict[str, object]:
    """The options without the layout of somebody's disk."""
    own = None in config.study.inits.values()
    wanted = {"train", "teacher", "distill", "seed"} if own else {"train"}
    sections = config.model_dump(mode="json", include=wanted)
    for section, key in (("teacher", "weights"), ("distill", "cache")):
        sections.get(section, {}).pop(key, None)
    return sections
