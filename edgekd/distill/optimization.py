"""AdamW with a warm-up and a cosine to zero, written as a function of the step.

Because the learning rate depends on the step alone, a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

_END_SHARE = 0.01


def build_optimizer(
    module: nn.Module, lr: float, weight_decay: float, anchored: Iterable[nn.Parameter] = ()
) -> torch.optim.AdamW:
    """AdamW over all parameters; biases and norms are not decayed.

    Nor are ``anchored`` ones: a pull to zero would work against the pull to their start.
    """
    held = {id(p) for p in anchored}
    parameters = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in held]
    plain = [p for p in parameters if p.ndim <= 1 or id(p) in held]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """Linear from ``peak / warmup_steps`` to ``peak``, then cosine to 1 % of it at the end."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * (_END_SHARE + (1 - _END_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))
