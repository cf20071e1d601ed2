"""Distil a frozen teacher into a detector's backbone on unlabelled images: ``run(config)``."""

from edgekd.distill.trainer import DistillResult, StoppedError, run

__all__ = ["DistillResult", "StoppedError", "run"]
