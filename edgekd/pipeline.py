"""``edgekd run``: distil, train baseline and distilled, export, benchmark, report.

Stages hand files to each other and never call each other; this is the only place that knows their
order. Each is skipped when it is done and its inputs are unchanged, so a run that was stopped
anywhere goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import edgekd_export
from edgekd.bench_process import bench_in_fresh_process
from edgekd.config import Config, dump_config, section_hash
from edgekd.files import require_writable
from edgekd.stages import Stamps
from edgekd_bench import report
from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import library_versions, sha256_of, write_text_atomically
from edgekd_bench.record import BenchRecord, read_record
from edgekd_bench.ultralytics_setup import prepare_ultralytics


@dataclass(frozen=True)
class RunResult:
    """The files a whole run ends in, and its record."""

    results: Path
    report: Path
    backbone: Path
    record: BenchRecord


def run(config: Config, *, console: Console | None = None) -> RunResult:
    """Run every stage that is not done yet.

    Raises:
        InputError: bad input to any stage.
        GateError: the hand-over or the parity gate failed.
        StoppedError: stopped by the user; start it again to go on.
    """
    console = console or Console(quiet=True)
    require_writable(config.run_dir)
    config = with_built_in_data(config, console)
    if config.data is None:
        raise InputError("no labelled data: give data=FILE (a data.yaml or a coco.yaml)")
    write_text_atomically(config.run_dir / "config.yaml", dump_config(config))
    _refuse_early(config)
    stages = _Stages(config, console)
    backbone = stages.distill()
    exported = []
    for seed in config.train.seeds:
        for weights in (None, backbone):
            detector = stages.train(weights, seed)
            exported.append((stages.export(detector), detector, weights is None))
    record = stages.bench(
        [f for onnx, pt, base in exported if not base for f in (onnx, pt)],
        [f for onnx, pt, base in exported if base for f in (onnx, pt)],
    )
    page = report.run(config.run_dir)
    return RunResult(config.run_dir / "results.json", page.path, backbone, record)


def _refuse_early(config: Config) -> None:
    """What only the training would notice: hours of distillation should not come before it."""
    prepare_ultralytics((config.run_dir / "ultralytics").resolve())
    from edgekd.train.ultralytics_arguments import check_passthrough

    check_passthrough(config.train.ultralytics)


def with_built_in_data(config: Config, console: Console | None = None) -> Config:
    """Draw the dice scenes where a config asks for them, and point the config at them.

    Raises:
        InputError: built-in scenes and own data are both given.
    """
    scenes = config.dice_scenes
    if scenes is None:
        return config
    if config.data is not None or config.unlabeled.manifest is not None:
        raise InputError(
            "dice_scenes draws its own data; set dice_scenes=null to use data and unlabeled"
        )
    from edgekd.data.dice_scenes import write_dice_scenes

    folder = config.run_dir / "dice_scenes"
    if console is not None:
        total = scenes.num_unlabeled + scenes.num_train + scenes.num_val
        console.print(f"dice scenes: {total} images of {scenes.image_size} px in {folder}")
    made = write_dice_scenes(
        folder,
        num_unlabeled=scenes.num_unlabeled,
        num_train=scenes.num_train,
        num_val=scenes.num_val,
        image_size=scenes.image_size,
        seed=scenes.seed,
    )
    unlabeled = config.unlabeled.model_copy(update={"manifest": made.unlabeled_yaml})
    return config.model_copy(
        update={"data": made.data_yaml, "unlabeled": unlabeled, "dice_scenes": None}
    )


class _Stages:
    """The stages of one run, each guarded by its stamp."""

    def __init__(self, config: Config, console: Console) -> None:
        self.config, self.console = config, console
        self.stamps = Stamps(config.run_dir)
        assert config.data is not None
        self.train_hash = load_detection_set(config.data, "train").content_hash()
        self.val_hash = load_detection_set(config.data, "val").content_hash()
        self.versions = str(library_versions("torch", "ultralytics", "timm", "onnxruntime"))

    def distill(self) -> Path:
        """→ ``student_backbone.pt``"""
        from edgekd.distill import trainer
        from edgekd.distill.setup import image_listing_hash
        from edgekd.models.student import student_identity

        config = self.config
        backbone = config.run_dir / "student_backbone.pt"
        inputs = section_hash(
            config.distill,
            config.teacher,
            student_identity(config.student.model),
            config.seed,
            config.image_size,
            image_listing_hash(config),
            self.val_hash,
            self.versions,
        )
        if self._skip("distill", inputs):
            return backbone
        same = self.stamps.begin("distill", inputs)
        trainer.run(config, resume=same, overwrite=not same, console=self.console)
        self.stamps.mark_done("distill", inputs, [backbone])
        return backbone

    def train(self, weights: Path | None, seed: int) -> Path:
        """→ ``train/<init>-seed<k>/detector.pt``"""
        from edgekd.train import trainer

        stage = f"{'distilled' if weights else 'baseline'}-seed{seed}"
        detector = self.config.run_dir / "train" / stage / "detector.pt"
        inputs = section_hash(
            trainer.recipe_hash(self.config),
            seed,
            self.train_hash,
            self.val_hash,
            sha256_of(weights) if weights else None,
            self.versions,
        )
        if not self._skip(f"train-{stage}", inputs):
            result = trainer.run(
                self.config,
                backbone_weights=weights,
                seed=seed,
                resume=self.stamps.begin(f"train-{stage}", inputs),
                console=self.console,
            )
            self.stamps.mark_done(f"train-{stage}", inputs, [detector, result.manifest])
        return detector

    def export(self, detector: Path) -> Path:
        """→ ``export/<init>-seed<k>.onnx``, in the configured precision, past the parity gate"""
        stage = detector.parent.name
        onnx = self.config.run_dir / "export" / f"{stage}.onnx"
        inputs = section_hash(
            self.config.export,
            sha256_of(detector),
            self.val_hash,
            self.train_hash if self.config.export.precision == "int8" else None,  # calibrates it
            self.versions,
        )
        if not self._skip(f"export-{stage}", inputs):
            result = edgekd_export.run(
                detector,
                out=onnx,
                data=self.config.data,
                settings=self.config.export,
                console=self.console,
            )
            self.console.print(f"export {stage}: {result.parity.summary()}")
            self.stamps.mark_done(f"export-{stage}", inputs, [onnx, result.manifest_path])
        return onnx

    def bench(self, models: list[Path], baselines: list[Path]) -> BenchRecord:
        """→ ``results.json`` and ``predictions.json``"""
        config, results = self.config, self.config.run_dir / "results.json"
        assert config.data is not None
        inputs = section_hash(
            config.bench, *map(sha256_of, [*models, *baselines]), self.val_hash, self.versions
        )
        if self._skip("bench", inputs):
            return read_record(results)
        record = bench_in_fresh_process(
            models, baselines, config.data, config.bench, config.run_dir, self.console
        )
        self.stamps.mark_done("bench", inputs, [results, config.run_dir / "predictions.json"])
        return record

    def _skip(self, stage: str, inputs: str) -> bool:
        done = self.stamps.is_done(stage, inputs)
        if done:
            self.console.print(f"[dim]{stage}: done and unchanged[/]")
        return done
