"""One detector training: lay out the data, hand over the backbone, train, keep the result."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from edgekd.config import Config, section_hash
from edgekd.files import require_writable
from edgekd.memory import keep_freed_memory
from edgekd.models.student import build_detector, student_identity
from edgekd.precision import resolve_device, resolve_precision
from edgekd.train.handover import (
    BackboneWeights,
    HandoverProof,
    load_backbone,
    read_backbone_weights,
)
from edgekd.train.labelled_set import LabelledSet, lay_out
from edgekd.train.progress import TrainProgress
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import (
    Manifest,
    Parent,
    library_versions,
    short_name,
    write_manifest,
)
from edgekd_bench.ultralytics_checkpoint import read_checkpoint_file
from edgekd_bench.ultralytics_setup import prepare_ultralytics


@dataclass(frozen=True)
class TrainResult:
    """A trained detector and how it started."""

    detector: Path
    manifest: Path
    init: Literal["baseline", "distilled"]
    seed: int
    results_csv: Path
    map50_95: float
    handover: HandoverProof | None
    num_labeled: int


def run(
    config: Config,
    *,
    backbone_weights: Path | None = None,
    seed: int | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> TrainResult:
    """Train ``config.student`` on ``config.data``; with ``backbone_weights`` it starts from them.

    Args:
        config: the resolved options.
        backbone_weights: ``student_backbone.pt``, an Ultralytics ``.pt`` or a LightlyTrain export;
            None trains the baseline.
        seed: of this training; None: the first of ``train.seeds``.
        resume: continue from the checkpoint of a stopped training where there is one.
        console: where progress goes; None: nowhere.

    Returns:
        The detector, as ``train/<init>-seed<k>/detector.pt`` in the run folder.

    Raises:
        InputError: bad data, labels, arguments or weights.
        GateError: the hand-over could not be proven inside the trainer.
    """
    console = console or Console(quiet=True)
    if config.data is None:
        raise InputError("no labelled data: give data=FILE (a data.yaml or a coco.yaml)")
    prepare_ultralytics((config.run_dir / "ultralytics").resolve())
    keep_freed_memory()
    seed = config.train.seeds[0] if seed is None else seed
    weights = read_backbone_weights(backbone_weights) if backbone_weights else None
    init: Literal["baseline", "distilled"] = "distilled" if weights else "baseline"
    folder = config.run_dir / "train" / f"{init}-seed{seed}"
    _check_before_training(config, weights)
    require_writable(folder)
    labelled = lay_out(config.data, folder / "data", config.train.num_labeled)
    last = folder / "weights" / "last.pt"
    continued = resume and _can_continue(last, config.train.epochs)
    if not continued:
        last.unlink(missing_ok=True)
    trainer = _build_trainer(
        config, labelled, weights, seed, folder, console, last if continued else None
    )
    trainer.train()
    return _keep(config, labelled, weights, trainer, folder, seed)


def _check_before_training(config: Config, weights: BackboneWeights | None) -> None:
    """Build the student once and try the weights on it, so that nothing is written on bad input."""
    from edgekd.train.ultralytics_arguments import check_passthrough

    check_passthrough(config.train.ultralytics)
    detector = build_detector(config.student.model)
    if weights is not None:
        load_backbone(detector, weights)


def _can_continue(last: Path, epochs: int) -> bool:
    """True for a checkpoint of an unfinished training; a damaged one starts it anew."""
    try:
        checkpoint = read_checkpoint_file(last)
    except InputError:
        return False
    done = checkpoint.get("epoch", -1) + 1
    return checkpoint.get("optimizer") is not None and 0 < done < epochs


def _build_trainer(
    config: Config,
    labelled: LabelledSet,
    weights: BackboneWeights | None,
    seed: int,
    folder: Path,
    console: Console,
    last: Path | None,
) -> Any:
    from edgekd.train.detector_trainer import HandoverTrainer
    from edgekd.train.ultralytics_arguments import train_arguments

    device = resolve_device(config.device)
    bf16 = resolve_precision(config.train.precision, device) == "bf16"
    label = f"{folder.name} ({labelled.num_train} labels)"
    arguments = train_arguments(config, labelled.data_yaml, seed, folder)
    if last is not None:
        console.print(f"train {folder.name}: continuing from {last}")
        arguments |= {"resume": str(last), "save_dir": str(folder.resolve())}
    return HandoverTrainer(
        arguments,
        weights,
        channels_last=config.train.channels_last,
        cpu_bf16=bf16 and device.type == "cpu",
        val_every=config.train.val_every,
        keep_best=config.train.checkpoint == "best",
        care=config.train,
        on_proof=lambda proof: console.print(f"hand-over {folder.name}: {proof}"),
        on_epoch=TrainProgress(
            console, label, config.train.epochs, labelled.num_train, config.train.val_every
        ),
    )


def _keep(
    config: Config,
    labelled: LabelledSet,
    weights: BackboneWeights | None,
    trainer: Any,
    folder: Path,
    seed: int,
) -> TrainResult:
    """Move the chosen checkpoint to ``detector.pt`` and write its manifest."""
    source: Path = trainer.last if config.train.checkpoint == "last" else trainer.best
    detector = folder / "detector.pt"
    partial = folder / f".detector.pt.{os.getpid()}.partial"
    shutil.copyfile(source, partial)
    partial.replace(detector)
    init: Literal["baseline", "distilled"] = "distilled" if weights else "baseline"
    data_name = short_name(config.data) if config.data else ""
    parents = [Parent(role="labelled data", name=data_name, sha256=labelled.digest)]
    if weights is not None:
        parents.append(
            Parent(role="backbone weights", name=weights.path.name, sha256=weights.sha256)
        )
    manifest = Manifest(
        kind="detector",
        init=init,
        seed=seed,
        names=labelled.names,
        image_size=config.image_size,
        stride=int(trainer.stride),
        end_to_end=bool(getattr(trainer.ema.ema, "end2end", False)),
        parents=parents,
        teacher=weights.teacher if weights else None,
        versions=library_versions("torch", "ultralytics"),
        config_hash=recipe_hash(config),
    )
    return TrainResult(
        detector=detector,
        manifest=write_manifest(detector, manifest),
        init=init,
        seed=seed,
        results_csv=folder / "results.csv",
        map50_95=float(trainer.metrics.get("metrics/mAP50-95(B)", float("nan"))),
        handover=getattr(trainer, "proof", None),
        num_labeled=labelled.num_train,
    )


def recipe_hash(config: Config) -> str:
    """Hash of everything baseline and distilled must share (seed and data are hashed apart)."""
    recipe = config.train.model_copy(update={"seeds": (0,)})
    return section_hash(recipe, student_identity(config.student.model), config.image_size)
