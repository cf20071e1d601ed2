"""Fine-tune a detector, with or without distilled backbone weights: ``run(config, …)``."""

from edgekd.train.trainer import TrainResult, run

__all__ = ["TrainResult", "run"]
