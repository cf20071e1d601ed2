"""The end of a distillation: the best epoch's backbone becomes a file, and the speed is judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from rich.console import Console

from edgekd.config import Config
from edgekd.distill import checkpoint as saved
from edgekd.distill.efficiency import Efficiency, Pace, batches_to_time, time_stages
from edgekd.distill.setup import DistillData, Models
from edgekd.distill.taught_batches import TaughtBatch, TaughtBatches
from edgekd.files import load_tensors
from edgekd.models.student import backbone_state
from edgekd_bench.manifest import library_versions, write_text_atomically


def describe_run(
    config: Config, data: DistillData, models: Models, precision: str, digest: str
) -> dict[str, Any]:
    """What goes into every file of a run.

    Args:
        config: the resolved options.
        data: the images.
        models: teacher and student.
        precision: of the arithmetic.
        digest: the hash under which a checkpoint may be continued.
    """
    return {
        "config_hash": digest,
        "student": config.student.model,
        "scope": config.distill.scope,
        "image_size": config.image_size,
        "epochs": config.distill.epochs,
        "seed": config.seed,
        "num_images": len(data.manifest.images),
        "images_sha256": data.digest,
        "teacher": models.teacher.identity.model_dump(),
        "precision": precision,
        "versions": library_versions("torch", "timm", "ultralytics"),
    }


def write_best_backbone(
    config: Config, models: Models, position: saved.Position, metadata: dict[str, Any]
) -> tuple[Path, str]:
    """Write ``student_backbone.pt`` from ``best.pt``; returns its path and the tensors' hash."""
    best = load_tensors(config.run_dir / "distill" / "best.pt", saved.CHECKPOINT_FORMAT)
    models.module.backbone.load_state_dict(best["backbone"])
    path = config.run_dir / "student_backbone.pt"
    digest = saved.save_backbone(
        path,
        backbone_state(models.detector, config.distill.scope),
        {
            **metadata,
            "best_epoch": position.best_epoch,
            "heldout_cosine": position.best_cosine,
        },
    )
    return path, digest


def measure_efficiency(
    folder: Path,
    pace: Pace,
    taught: TaughtBatches,
    step: Callable[[TaughtBatch], object],
    fabric: Fabric,
    console: Console,
) -> Efficiency | None:
    """Time the stages alone, and say and write how near the loop came to the slowest of them.

    Args:
        folder: gets ``efficiency.json``.
        pace: of the loop.
        taught: the loop's batches.
        step: one step of the student.
        fabric: device and processes, all of which must call this.
        console: where the line goes.

    Returns:
        None after a run too short to judge.
    """
    count, reason = fabric.broadcast(batches_to_time(pace))
    efficiency = None
    if count:
        alone = time_stages(taught, step, count, fabric)
        shared = fabric.device.type == "cpu"
        efficiency = Efficiency(pace.images_per_second, alone, shared, count)
    if fabric.is_global_zero:
        record = efficiency.as_record() if efficiency else {"not_measured": reason}
        write_text_atomically(folder / "efficiency.json", json.dumps(record) + "\n")
        console.print(efficiency.in_words() if efficiency else f"efficiency not measured: {reason}")
    return efficiency
