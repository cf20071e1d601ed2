"""bf16 autocast for Ultralytics on a CPU that multiplies bf16 natively.

Ultralytics offers bf16 on CUDA only and refuses it elsewhere, though its models train in it: on a
CPU with AVX-512 BF16 a step takes about two thirds of the time. Its trainer asks one function for
the context of each step; that function is replaced for the duration of one training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ultralytics.engine import trainer as ultralytics_trainer


@contextmanager
def cpu_bf16_steps() -> Iterator[None]:
    """Within this context Ultralytics' training steps run under CPU bf16 autocast."""
    original = ultralytics_trainer.autocast

    def autocast(enabled: Any, device: str = "cpu") -> torch.autocast:
        del enabled
        return torch.autocast(device, dtype=torch.bfloat16)

    ultralytics_trainer.autocast = autocast
    try:
        yield
    finally:
        ultralytics_trainer.autocast = original
