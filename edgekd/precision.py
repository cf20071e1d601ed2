"""Choose device and arithmetic once, the same way for distillation and detector training."""

from __future__ import annotations

from typing import Literal

import torch

from edgekd_bench.errors import InputError

Precision = Literal["bf16", "fp32"]


def resolve_device(name: str) -> torch.device:
    """``auto`` → the first GPU, else the CPU.

    Raises:
        InputError: unknown name, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: '{name}' is not auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device: '{name}' asked for, but torch sees no GPU; use device=cpu")
    return device


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """bf16 if ``wanted`` says so, or for ``auto`` where the hardware multiplies it natively."""
    if wanted == "fp32":
        return "fp32"
    if wanted == "bf16":
        return "bf16"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"
