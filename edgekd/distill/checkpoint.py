"""What a distillation saves: resumable checkpoints and the backbone it was all for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.files import load_tensors, save_tensors
from edgekd_bench.errors import InputError

CHECKPOINT_FORMAT = "edgekd.distill.2"
BACKBONE_FORMAT = "edgekd.backbone.1"


@dataclass
class Position:
    """Where a run stands. ``epoch`` and ``batch`` are the next to be done, counted from 0."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_cosine: float = -1.0
    best_epoch: int = 0


@dataclass(frozen=True)
class Learner:
    """Everything that changes during a distillation."""

    backbone: nn.Module
    projectors: nn.Module
    target_space: nn.Module
    optimizer: torch.optim.Optimizer


def save_checkpoint(
    path: Path, learner: Learner, position: Position, metadata: dict[str, Any]
) -> None:
    """Write a checkpoint a run can continue from, atomically."""
    save_tensors(
        {
            "format": CHECKPOINT_FORMAT,
            "metadata": json.dumps(metadata),
            "position": asdict(position),
            "backbone": learner.backbone.state_dict(),
            "projectors": learner.projectors.state_dict(),
            "target_space": learner.target_space.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
        },
        path,
    )


def load_checkpoint(path: Path, learner: Learner, config_hash: str) -> Position:
    """Restore ``learner`` in place and return where it stood.

    Raises:
        InputError: damaged file, or written under other options.
    """
    content = load_tensors(path, CHECKPOINT_FORMAT)
    metadata = json.loads(content["metadata"])
    if metadata["config_hash"] != config_hash:
        raise InputError(
            f"{path}: was written with other options or images (hash {metadata['config_hash']}, "
            f"now {config_hash}); restore them, or start anew with --overwrite"
        )
    learner.backbone.load_state_dict(content["backbone"])
    learner.projectors.load_state_dict(content["projectors"])
    learner.target_space.load_state_dict(content["target_space"])
    learner.optimizer.load_state_dict(content["optimizer"])
    return Position(**content["position"])


def save_backbone(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> str:
    """Write ``student_backbone.pt``: tensors under the detector's own names, and JSON metadata.

    Returns:
        The hash of the tensors (see `tensors_hash`).
    """
    plain = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in tensors.items()
    }
    digest = tensors_hash(plain)
    metadata = {**metadata, "tensors_hash": digest, "num_tensors": len(plain)}
    save_tensors(
        {"format": BACKBONE_FORMAT, "metadata": json.dumps(metadata), "tensors": plain}, path
    )
    return digest


def tensors_hash(tensors: dict[str, torch.Tensor]) -> str:
    """Short SHA-256 over names and values in name order; equal weights give equal hashes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
