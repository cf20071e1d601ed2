"""Hold a pretrained backbone near its starting weights while it learns from the teacher.

A detector that was trained on labels knows things a distillation can wash out. The anchor is the
L2-SP penalty of Li, Grandvalet and Davoine (arXiv 1802.01483): weight decay towards the starting
point instead of towards zero. Random starting weights are worth no anchor, so those are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgekd.config import Config
from edgekd_bench.errors import InputError

_SMALLEST_RMS = 1e-3  # a tensor that starts at zero is measured against this instead


def check_anchor(config: Config) -> None:
    """Refuse to anchor a student to random weights.

    Raises:
        InputError: says what to give instead.
    """
    if config.distill.anchor > 0 and not config.student.model.endswith(".pt"):
        raise InputError(
            f"distill.anchor {config.distill.anchor:g}: '{config.student.model}' starts from "
            "random weights, which are not worth keeping; give a trained checkpoint "
            "(student.model=FILE.pt) or set distill.anchor=0"
        )


class Anchor:
    """How far parameters have moved from where they were when this object was made.

    The distance is relative: ``mean over tensors of ||w - w0||² / ||w0||²``. So it is 0 at the
    start and 0.01 when every tensor has moved by a tenth of its norm, whatever the network.

    Args:
        parameters: those that learn, at their starting values.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        start = [parameter.detach() for parameter in self._parameters]
        floor = _SMALLEST_RMS**2
        scales = [
            1 / (len(start) * t.square().sum().clamp_min(floor * t.numel())).expand(t.numel())
            for t in start
        ]
        self._start = _side_by_side(start)  # (N,), N numbers in all tensors
        self._scale = torch.cat(scales)  # (N,)

    def distance(self) -> torch.Tensor:
        """The relative squared distance, a scalar with a gradient."""
        moved = _side_by_side(self._parameters) - self._start
        return (moved.square() * self._scale).sum()


def _side_by_side(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All numbers as one vector: a few large operations instead of hundreds of small ones."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
