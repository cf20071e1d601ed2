"""``torch.compile`` where it works, and one line where it does not."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from edgekd_bench.errors import InputError


def require_compiler(device: torch.device) -> None:
    """Compile one addition, so that a missing compiler shows before the first batch.

    Raises:
        InputError: there is none for this device.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:  # each backend fails in its own way
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"distill.compile: torch.compile does not work on {device} here ({reason}); install a "
            "C++ compiler (CPU) or Triton (GPU), or set distill.compile=false"
        ) from error


def compiled(module: nn.Module) -> nn.Module:
    """The module with the same weights, compiled at its first call."""
    return cast(nn.Module, torch.compile(module))
