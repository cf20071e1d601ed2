"""The end of a distillation: the backbone of the best epoch becomes a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.config import Config
from edgekd.distill import checkpoint as saved
from edgekd.distill.setup import DistillData, Models
from edgekd.files import load_tensors
from edgekd.models.student import backbone_state
from edgekd_bench.manifest import library_versions


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
