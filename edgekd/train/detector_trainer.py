"""The Ultralytics detection trainer with edgekd's additions.

1. Backbone weights go in where the trainer builds its model, and the hand-over is proven on the
   trainer's own tensors before its first step.
2. Channels-last memory and bf16 on the CPU too: Ultralytics keeps both for CUDA, but CPUs with
   AVX-512 gain from them as well.
3. The next batch is prepared while the network works, where Ultralytics has no loader processes.
4. Validation every few epochs instead of every epoch; the curve has gaps then, never copies.
5. A checkpoint a minute instead of one an epoch, written atomically, to continue from after a stop.

Importing this module imports Ultralytics; call ``prepare_ultralytics`` first.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from edgekd.config import TrainConfig
from edgekd.train.backbone_care import (
    handed_over_layers,
    recalibrate_batch_norm,
    scale_learning_rate,
    set_frozen,
    student_of,
)
from edgekd.train.cpu_autocast import cpu_bf16_steps
from edgekd.train.handover import BackboneWeights, HandoverProof, load_backbone, prove_handover
from edgekd.train.prefetch import PrefetchLoader
from edgekd_bench.manifest import write_text_atomically

_SAVE_SECONDS = 60.0


class HandoverTrainer(DetectionTrainer):  # type: ignore[misc]
    """See the module's docstring.

    Args:
        overrides: Ultralytics train arguments.
        weights: backbone weights, or None for the baseline.
        channels_last: memory layout of model and batches.
        cpu_bf16: bf16 autocast on the CPU (on a GPU it is Ultralytics' own ``amp``).
        val_every: epochs between validations.
        keep_best: also keep the epoch with the best validation.
        care: how handed-over layers are treated; see ``backbone_care``.
        on_proof: called with the proof before the first step.
        on_epoch: called with (epochs done, metrics) after each epoch.
    """

    last: Path

    def __init__(
        self,
        overrides: dict[str, Any],
        weights: BackboneWeights | None,
        channels_last: bool,
        cpu_bf16: bool,
        val_every: int,
        keep_best: bool,
        care: TrainConfig,
        on_proof: Callable[[HandoverProof], None],
        on_epoch: Callable[[int, dict[str, float]], None],
    ) -> None:
        self._weights = weights
        self._channels_last = channels_last
        self._cpu_bf16 = cpu_bf16
        self._val_every = val_every
        self._keep_best = keep_best
        self._care = care
        self._on_proof = on_proof
        self.proof: HandoverProof | None = None
        self._saved_at = time.monotonic()
        super().__init__(overrides=overrides)
        self.add_callback("on_train_start", _start)
        self.add_callback("on_train_epoch_start", lambda t: t.freeze_or_release())
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
        if self._weights is not None and not self.resume:
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

    def save_model(self) -> bool:
        """Save once a minute, at the end, and wherever the best epoch so far is wanted."""
        is_last = self.epoch + 1 >= self.epochs or self.stop
        is_best = self._keep_best and self.fitness is not None and self.fitness == self.best_fitness
        if not (is_last or is_best or time.monotonic() - self._saved_at >= _SAVE_SECONDS):
            return False
        target = self.last
        self.last = target.with_suffix(".partial")
        try:
            super().save_model()
            self.last.replace(target)
        finally:
            self.last = target
        self._saved_at = time.monotonic()
        return True

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
        if self._weights is None or self.start_epoch > 0:
            return  # nothing was handed over, or the proof was given when this training began
        detectors = {
            "model": student_of(unwrap_model(self.model)),
            "EMA": student_of(self.ema.ema),
        }
        self.proof = prove_handover(detectors, self._weights)
        self._on_proof(self.proof)

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Ultralytics' own, with another learning rate for handed-over layers."""
        optimizer = super().build_optimizer(model, *args, **kwargs)
        if self._weights is not None and self._care.backbone_lr != 1:
            scale_learning_rate(optimizer, self._handed_over(), self._care.backbone_lr)
        return optimizer

    def freeze_or_release(self) -> None:
        """At the start of an epoch: handed-over layers rest in the first ones."""
        if self._weights is None or not self._care.freeze_epochs:
            return
        if self.epoch in (self.start_epoch, self._care.freeze_epochs):
            set_frozen(self, self._handed_over(), self.epoch < self._care.freeze_epochs)

    def recalibrate(self) -> None:
        """Before the first step, and after the proof: it changes what was handed over."""
        wanted = self._care.recalibrate_images
        if self._weights is None or self.start_epoch > 0 or not wanted:
            return
        detector = student_of(unwrap_model(self.model))
        recalibrate_batch_norm(detector, self._handed_over(), self._labelled_images(wanted))
        for name, value in detector.named_buffers():
            student_of(self.ema.ema).get_buffer(name).copy_(value)

    def _labelled_images(self, count: int) -> Iterator[torch.Tensor]:
        """Training batches as the network will see them, ``count`` images or a few more."""
        seen = 0
        while seen < count:
            for batch in self.train_loader:
                images = self.preprocess_batch(batch)["img"]
                yield images
                seen += len(images)
                if seen >= count:
                    return

    def _handed_over(self) -> list[nn.Module]:
        assert self._weights is not None, "only handed-over layers are treated"
        return handed_over_layers(unwrap_model(self.model), self._weights.scope)

    def drop_rows_to_be_repeated(self) -> None:
        """After a stop, cut ``results.csv`` back to the checkpoint's epoch."""
        if self.start_epoch == 0 or not self.csv.exists():
            return
        head, *rows = self.csv.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if int(float(row.split(",")[0])) <= self.start_epoch]
        write_text_atomically(self.csv, "\n".join([head, *kept]) + "\n")


def _start(trainer: HandoverTrainer) -> None:
    trainer.prove()
    trainer.recalibrate()
    trainer.drop_rows_to_be_repeated()
