"""Treat a distilled backbone with care: it knows something the random head beside it does not.

Large gradients of an untrained head can wash out what distillation put in. Three remedies, each off
by default and each for handed-over weights only: a lower learning rate, a frozen start, and batch
statistics of the target images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn

from edgekd.config import Scope
from edgekd.models.student import scope_depth


def student_of(model: nn.Module) -> nn.Module:
    """The detector that learns; Ultralytics wraps it where ``distill_model`` gives it a teacher."""
    return cast(nn.Module, getattr(model, "student_model", model))


def handed_over_layers(model: nn.Module, scope: Scope) -> list[nn.Module]:
    """The layers whose weights came out of the distillation."""
    detector = student_of(model)
    return list(cast(Any, detector).model)[: scope_depth(detector, scope)]


def scale_learning_rate(
    optimizer: torch.optim.Optimizer, layers: Iterable[nn.Module], factor: float
) -> None:
    """Split every parameter group in two, and give the layers' half ``factor`` times its rate."""
    chosen = {id(parameter) for layer in layers for parameter in layer.parameters()}
    for group in list(optimizer.param_groups):
        slow = [p for p in group["params"] if id(p) in chosen]
        if not slow:
            continue
        group["params"] = [p for p in group["params"] if id(p) not in chosen]
        options = {key: value for key, value in group.items() if key != "params"}
        optimizer.add_param_group({**options, "params": slow, "lr": group["lr"] * factor})


def set_frozen(trainer: Any, layers: Iterable[nn.Module], frozen: bool) -> None:
    """Stop or start the learning of layers, their batch statistics included.

    Ultralytics keeps batch norms in eval mode whose names match ``trainer.freeze_layer_names``.
    """
    chosen = {id(layer) for layer in layers}
    detector = student_of(trainer.model)
    prefix = "student_model." if detector is not trainer.model else ""
    names = [
        f"{prefix}model.{index}."
        for index, layer in enumerate(cast(Any, detector).model)
        if id(layer) in chosen
    ]
    kept = [name for name in trainer.freeze_layer_names if name not in names]
    trainer.freeze_layer_names = kept + (names if frozen else [])
    for index, layer in enumerate(cast(Any, detector).model):
        if id(layer) not in chosen:
            continue
        for name, parameter in layer.named_parameters():
            always = any(word in f"model.{index}.{name}" for word in kept)
            parameter.requires_grad_(not frozen and not always)


@torch.no_grad()
def recalibrate_batch_norm(
    model: nn.Module, layers: Iterable[nn.Module], batches: Iterable[torch.Tensor]
) -> int:
    """Replace the layers' batch statistics by those of the given images.

    Args:
        model: the whole detector, run forward in training mode.
        layers: whose statistics are replaced; all others are left as they are.
        batches: images ``(B, 3, H, W)`` in ``[0, 1]``.

    Returns:
        The number of images used.

    Source: BatchNorm calibration as in Yu and Huang, "Universally slimmable networks" (arXiv
    1903.05134), section 3.
    """
    norms = [m for layer in layers for m in layer.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    num_images = 0
    for images in batches:
        model(images)
        num_images += len(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
    return num_images
