"""Distil a frozen teacher into a detector's backbone on unlabelled images: ``run(config)``."""

from edgekd.distill.result import DistillResult, StoppedError
from edgekd.distill.trainer import run

__all__ = ["DistillResult", "StoppedError", "run"]
