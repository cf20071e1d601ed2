"""The stages of a run, each guarded by its stamp.

`edgekd run` calls them in order for one configuration, `edgekd study` for many; both skip
a stage whose inputs are unchanged and whose files are all there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import edgekd_export
from edgekd.bench_process import bench_in_fresh_process
from edgekd.config import Config, section_hash
from edgekd.stages import Stamps
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.manifest import library_versions, sha256_of
from edgekd_bench.record import BenchRecord, read_record


@dataclass(frozen=True)
class LabelledData:
    """Both splits of the labelled set, and their content hashes: each image is read for those."""

    train: DetectionSet
    val: DetectionSet
    train_hash: str
    val_hash: str

    @classmethod
    def read(cls, data: Path) -> LabelledData:
        """Read and hash the set.

        Raises:
            InputError: it cannot be read.
        """
        train, val = load_detection_set(data, "train"), load_detection_set(data, "val")
        return cls(train, val, train.content_hash(), val.content_hash())


class RunStages:
    """The stages of one run folder.

    Args:
        config: the resolved options; ``data`` is given.
        console: where progress goes.
        data: ``config.data``, where it was read already.

    Raises:
        InputError: the labelled data cannot be read.
    """

    def __init__(self, config: Config, console: Console, data: LabelledData | None = None) -> None:
        self.config, self.console = config, console
        self.stamps = Stamps(config.run_dir)
        assert config.data is not None
        data = data or LabelledData.read(config.data)
        self.train_hash, self.val_hash = data.train_hash, data.val_hash
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
