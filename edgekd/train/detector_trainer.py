"""The Ultralytics detection trainer with edgekd's additions.

1. Backbone weights go in where the trainer builds its model, and the hand-over is proven on the
   trainer's own tensors before its first step.
2. Channels-last memory and bf16 on the CPU too: Ultralytics keeps both for CUDA, but CPUs with
   AVX-512 gain from them as well.
3. The next batch is prepared while the network works, where Ultralytics has no loader processes.
4. Validation every few epochs instead of every epoch; the curve has gaps then, never copies.

Importing this module imports Ultralytics; call ``prepare_ultralytics`` first.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from typing import Any

import torch
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from edgekd.train.cpu_autocast import cpu_bf16_steps
from edgekd.train.handover import BackboneWeights, HandoverProof, load_backbone, prove_handover
from edgekd.train.prefetch import PrefetchLoader


class HandoverTrainer(DetectionTrainer):  # type: ignore[misc]
    """See the module's docstring.

    Args:
        overrides: Ultralytics train arguments.
        weights: backbone weights, or None for the baseline.
        channels_last: memory layout of model and batches.
        cpu_bf16: bf16 autocast on the CPU (on a GPU it is Ultralytics' own ``amp``).
        val_every: epochs between validations.
        on_proof: called with the proof before the first step.
        on_epoch: called with (epochs done, metrics) after each epoch.
    """

    def __init__(
        self,
        overrides: dict[str, Any],
        weights: BackboneWeights | None,
        channels_last: bool,
        cpu_bf16: bool,
        val_every: int,
        on_proof: Callable[[HandoverProof], None],
        on_epoch: Callable[[int, dict[str, float]], None],
    ) -> None:
        self._weights = weights
        self._channels_last = channels_last
        self._cpu_bf16 = cpu_bf16
        self._val_every = val_every
        self._on_proof = on_proof
        self.proof: HandoverProof | None = None
        super().__init__(overrides=overrides)
        self.add_callback("on_train_start", _prove)
        self.add_callback("on_fit_epoch_end", lambda t: on_epoch(t.epoch + 1, dict(t.metrics)))

    def _do_train(self) -> None:
        with cpu_bf16_steps() if self._cpu_bf16 else nullcontext():
            super()._do_train()

    def get_model(
        self,
        cfg: str | dict[str, Any] | None = None,
        weights: nn.Module | None = None,
        verbose: bool = False,
    ) -> nn.Module:
        """Build the detector as Ultralytics does, then put the backbone weights in."""
        del verbose
        model: nn.Module = super().get_model(cfg, weights, verbose=False)
        if self._weights is not None:
            load_backbone(model, self._weights)
        if self._channels_last:
            model = model.to(memory_format=torch.channels_last)
        return model

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Ultralytics' own, without its bars, and one batch ahead where it has no workers."""
        with redirect_stdout(io.StringIO()):
            loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        ahead = mode == "train" and loader.num_workers == 0
        return PrefetchLoader(loader) if ahead else loader

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ultralytics' own, with images in channels-last memory."""
        batch = super().preprocess_batch(batch)
        if self._channels_last:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def validate(self) -> tuple[dict[str, float] | None, float | None]:
        """Validate every ``val_every`` epochs and at the end; NaN in between."""
        done = self.epoch + 1
        if done % self._val_every == 0 or done >= self.epochs or self.stop:
            metrics, fitness = super().validate()
            return metrics, fitness
        return dict.fromkeys(self.metrics, float("nan")), None

    def final_eval(self) -> None:
        """Strip the checkpoints without another validation: edgekd measures the exported model."""
        from ultralytics.utils.torch_utils import strip_optimizer

        for file in (self.last, self.best):
            if file.exists():
                strip_optimizer(file)

    def prove(self) -> None:
        """Prove the hand-over on the model and its EMA.

        Raises:
            GateError: see `prove_handover`.
        """
        if self._weights is None:
            return
        detectors = {"model": unwrap_model(self.model), "EMA": self.ema.ema}
        self.proof = prove_handover(detectors, self._weights)
        self._on_proof(self.proof)


def _prove(trainer: HandoverTrainer) -> None:
    trainer.prove()
