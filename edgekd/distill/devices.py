"""One process or many: who computes where, and how they stay one distillation.

A run started by ``torchrun`` or ``fabric run`` finds its place in the environment; otherwise it is
alone. Whatever the number, a batch is the configured number of images over all processes, its batch
statistics are those of the whole batch, and so the weights are the same up to rounding.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from edgekd.data.batches import World
from edgekd_bench.errors import InputError


def world_of_environment() -> World:
    """This process's place as its launcher put it into the environment."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def build_fabric(device: torch.device, precision: str, world: World) -> Fabric:
    """Fabric for this process, launched.

    Args:
        device: as configured; its index is ignored in a job of several processes.
        precision: ``bf16`` or ``fp32``.
        world: see `world_of_environment`.

    Raises:
        InputError: more processes on this machine than GPUs, or an option of ``fabric run`` that
            contradicts the config.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_gpu = device.type == "cuda"
    if on_gpu and local > torch.cuda.device_count():
        raise InputError(
            f"{local} processes on a machine with {torch.cuda.device_count()} GPUs; start as many "
            "processes as GPUs, or set device=cpu"
        )
    alone: int | list[int] = [device.index or 0] if on_gpu else 1
    try:
        fabric = Fabric(
            accelerator="cuda" if on_gpu else "cpu",
            devices=alone if world.size == 1 else local,
            num_nodes=max(1, world.size // local),
            strategy="auto" if world.size == 1 else "ddp",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
    except ValueError as error:
        if not _started_by_fabric_run():
            raise
        raise InputError(f"fabric run: {' '.join(str(error).split())}") from error
    if not _started_by_fabric_run():  # which has connected the processes already
        fabric.launch()
    return fabric


def _started_by_fabric_run() -> bool:
    return os.environ.get("LT_CLI_USED") == "1"


def asked_anywhere(asked: str | None, fabric: Fabric) -> str | None:
    """A signal that reached one process counts for all of them, after the same step."""
    if fabric.world_size == 1:
        return asked
    count = torch.tensor(float(asked is not None), device=fabric.device)
    torch.distributed.all_reduce(count)
    return (asked or "a signal to another process") if count > 0 else None


@contextmanager
def explaining_lost_processes(world: World, checkpoint: Path) -> Iterator[None]:
    """Say in one line that another process ended, where the transport says it in forty."""
    try:
        yield
    except RuntimeError as error:
        if world.size == 1:
            raise
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"process {world.rank} of {world.size} lost another one ({reason}); "
            f"{checkpoint} is whole: start the same job again with --resume"
        ) from error


def synchronize_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Make batch norms use the statistics of the whole batch instead of one process's part."""
    if device.type == "cuda":
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        converted: nn.Module = convert(module)
        return converted
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SyncedBatchNorm2d.like(child))
    return module


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduced gradient."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        del ctx
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        del ctx
        summed = gradients[0].clone()
        torch.distributed.all_reduce(summed)
        return summed


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes, on any device; torch's own needs CUDA.

    Every process must hold equally many values.
    """

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> SyncedBatchNorm2d:
        """The same parameters and statistics."""
        synced = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        synced.load_state_dict(norm.state_dict())
        return synced.to(next(iter(norm.state_dict().values())).device).train(norm.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise ``(B, C, H, W)``."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        size = torch.distributed.get_world_size()
        summed: torch.Tensor = _SumOverProcesses.apply(moments)
        mean, squares = summed / size
        variance = (squares - mean.square()).clamp_min(0)
        self._remember(mean.detach(), variance.detach(), size * values[:, 0].numel())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(input.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        unbiased = variance * count / max(1, count - 1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
