"""The distillation loop: frozen teacher, learning backbone, no labels.

`run` checks everything first, then goes step by step; it can be stopped at any step and continued,
and ends in ``student_backbone.pt``, taken from the epoch with the best held-out cosine.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from edgekd.config import Config, dump_config
from edgekd.data.color import jitter_color
from edgekd.distill import checkpoint as saved
from edgekd.distill.anchor import check_anchor
from edgekd.distill.compilation import compiled, require_compiler
from edgekd.distill.devices import (
    asked_anywhere,
    build_fabric,
    explaining_lost_processes,
    synchronize_batch_norm,
    world_of_environment,
)
from edgekd.distill.efficiency import Pace
from edgekd.distill.feature_cache.cached_targets import CachedTargets
from edgekd.distill.finish import describe_run, measure_efficiency, write_best_backbone
from edgekd.distill.interrupt import StopRequest
from edgekd.distill.metrics_log import MetricsLog
from edgekd.distill.objective import Objective
from edgekd.distill.optimization import build_optimizer, learning_rate
from edgekd.distill.probe import HeldOutProbe
from edgekd.distill.progress import announce, distill_progress, epoch_line
from edgekd.distill.result import DistillResult, StoppedError
from edgekd.distill.setup import (
    DistillData,
    Models,
    config_hash,
    prepare_data,
    prepare_models,
)
from edgekd.distill.target_source import LiveTargets, TargetSource
from edgekd.distill.targets import LEVEL_NAMES
from edgekd.distill.taught_batches import TaughtBatch, TaughtBatches
from edgekd.files import require_writable
from edgekd.memory import keep_freed_memory
from edgekd.precision import resolve_device, resolve_precision
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_text_atomically
from edgekd_bench.ultralytics_setup import prepare_ultralytics


def run(
    config: Config,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> DistillResult:
    """Distil ``config.teacher`` into the backbone of ``config.student``.

    Args:
        config: the resolved options.
        resume: continue from ``distill/last.pt`` where there is one.
        overwrite: start anew although the run folder holds a distillation.
        console: where progress goes; None: nowhere.

    Raises:
        InputError: bad input, or an earlier distillation in the run folder.
        StoppedError: Ctrl-C or SIGTERM; everything is saved.
    """
    console = console or Console(quiet=True)
    folder = config.run_dir / "distill"
    require_writable(folder)
    prepare_ultralytics((config.run_dir / "ultralytics").resolve())
    keep_freed_memory()
    last = folder / "last.pt"
    if last.exists() and not resume and not overwrite:
        raise InputError(
            f"{folder} already holds a distillation; continue it with --resume, replace it with "
            "--overwrite, or choose another name=…"
        )
    check_anchor(config)
    world = world_of_environment()
    if not world.leads:
        console = Console(quiet=True)
    loop = DistillLoop(config, prepare_data(config, world), console)
    loop.fabric.barrier()
    if resume and last.exists():
        loop.restore(last)
    if world.leads:
        write_text_atomically(config.run_dir / "config.yaml", dump_config(config))
    with explaining_lost_processes(world, last):
        return loop.run()


class DistillLoop:
    """State of one distillation."""

    def __init__(self, config: Config, data: DistillData, console: Console) -> None:
        self.config, self.data, self.console = config, data, console
        self.options = config.distill
        self.folder = config.run_dir / "distill"
        self.world = data.world
        device = resolve_device(config.device)
        self.precision = resolve_precision(self.options.precision, device)
        self.fabric = build_fabric(device, self.precision, self.world)
        self.models: Models = prepare_models(config, self.fabric.device)
        if self.world.size > 1:
            synchronize_batch_norm(self.models.module.backbone, self.fabric.device)
        self.source = self._target_source()
        self.taught = TaughtBatches(self.source, self.fabric)
        module = self.models.module
        self.objective = Objective(self.options, self.models.pairs, module)
        optimizer = build_optimizer(
            module, self.options.lr, self.options.weight_decay, self.objective.anchored
        )
        if self.options.compile:
            require_compiler(self.fabric.device)
        self.module, self.optimizer = self.fabric.setup(
            compiled(module) if self.options.compile else module, optimizer
        )
        self.hash = config_hash(config, data, self.models.teacher.identity.sha256)
        self.learner = saved.Learner(
            module.backbone, module.projectors, self.models.space, optimizer
        )
        self.position = saved.Position()
        self.total_steps = self.options.epochs * self.source.loader.batches_per_epoch
        self.warmup_steps = round(self.options.warmup_share * self.total_steps)
        self.sums: dict[str, torch.Tensor] = {}
        self.num_seen = 0
        self.rate, self.cosine, self.pace = 0.0, 0.0, Pace()
        self.saved_at = time.monotonic()
        self.metadata = describe_run(config, data, self.models, self.precision, self.hash)

    def _target_source(self) -> TargetSource:
        if not self.options.cache.enabled:
            return LiveTargets(self.config, self.data, self.models, self.fabric)
        return CachedTargets(
            self.config, self.data, self.models, self.fabric, self.precision, self.console
        )

    def restore(self, last: Path) -> None:
        """Continue from ``last.pt``."""
        self.position = saved.load_checkpoint(last, self.learner, self.hash)
        self.cosine = self.position.best_cosine

    def run(self) -> DistillResult:
        """All remaining epochs."""
        device = self.fabric.device
        announce(self.console, self.config, self.data, self.models, f"{device}, {self.precision}")
        if self.position.step:
            self.console.print(f"resuming at step {self.position.step} of {self.total_steps}")
        with self.fabric.autocast():
            self.source.prepare(resumed=self.position.step > 0)
            probe = HeldOutProbe(self.source.heldout() if self.world.leads else ())
        started = self.position.step
        first_epoch = self.position.epoch + 1
        with (
            MetricsLog(self.folder, first_epoch) if self.world.leads else nullcontext() as log,
            distill_progress(self.console) as bar,
            StopRequest() as stop,
        ):
            task = bar.add_task(
                "distil",
                total=self.total_steps,
                completed=started,
                epoch="",
                loss=0.0,
                cosine=self.cosine,
                rate=0.0,
            )
            while self.position.epoch < self.options.epochs:
                self._epoch(bar, task, stop)
                self._end_epoch(probe, log)
        return self._finish()

    def _epoch(self, bar: Progress, task: TaskID, stop: StopRequest) -> None:
        self.sums, self.num_seen = {}, 0
        before = time.perf_counter()
        first_step = self.position.step
        for batch in self.taught.epoch(self.position.epoch, self.position.batch):
            parts = self.step(batch)
            for name, value in parts.items():
                self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.num_seen += len(batch) * self.world.size
            self.position.batch += 1
            self.position.step += 1
            self.rate = self.num_seen / (time.perf_counter() - before)
            bar.update(
                task,
                completed=self.position.step,
                rate=self.rate,
                cosine=self.cosine,
                loss=float(parts["loss"]),
                epoch=f"{self.position.epoch + 1}/{self.options.epochs}",
            )
            if self.position.step == self.total_steps:
                break
            wanted = asked_anywhere(stop.requested, self.fabric)
            if wanted:
                self._save("last.pt")
                raise StoppedError(self._stopped_message(wanted), wanted)
            if time.monotonic() - self.saved_at > 60 * self.options.checkpoint_minutes:
                self._save("last.pt")
        done = self.position.step - first_step
        self.pace.add(self.num_seen, done, time.perf_counter() - before)

    def step(self, batch: TaughtBatch) -> dict[str, torch.Tensor]:
        """One optimiser step on a batch of views; returns the loss and its parts."""
        seed = self.config.seed * 1_000_003 + self.position.step
        recoloured = jitter_color(
            batch.images, self.options.color_jitter, seed, self.world.rank, self.world.size
        )
        projected = self.module(recoloured)
        total, parts = self.objective(projected, batch.targets)
        rate = learning_rate(
            self.position.step, self.total_steps, self.warmup_steps, self.options.lr
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.fabric.backward(total)
        self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.options.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": total.detach(), **parts}

    def _end_epoch(self, probe: HeldOutProbe, log: MetricsLog | None) -> None:
        self.position.epoch += 1
        self.position.batch = 0
        if log is not None:
            self._judge(probe, log)
        self.saved_at = time.monotonic()
        self.fabric.barrier()

    def _judge(self, probe: HeldOutProbe, log: MetricsLog) -> None:
        """Measure the epoch, save, and write its line."""
        with self.fabric.autocast():
            cosines = probe.measure(self.models.module, self.models.pairs)
        self.cosine = sum(cosines.values()) / len(cosines)
        batches = max(1, self.num_seen // (self.source.loader.batch_size * self.world.size))
        line: dict[str, Any] = {"epoch": self.position.epoch, "step": self.position.step}
        line |= {name: float(value) / batches for name, value in self.sums.items()}
        line |= {f"heldout_cosine/{LEVEL_NAMES[s]}": c for s, c in cosines.items()}
        line |= {
            "heldout_cosine": self.cosine,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": self.rate,
        }
        if self.cosine > self.position.best_cosine:
            self.position.best_cosine = self.cosine
            self.position.best_epoch = self.position.epoch
            self._save("best.pt")
        self._save("last.pt")
        log.write(line)
        if self.position.epoch % self.options.checkpoint_every == 0:
            self._save(f"checkpoint_epoch_{self.position.epoch}.pt")
        if not self.console.is_terminal:
            self.console.print(epoch_line(line, self.options.epochs))

    def _finish(self) -> DistillResult:
        """Write ``student_backbone.pt`` from the best epoch."""
        path = self.config.run_dir / "student_backbone.pt"
        if self.world.leads:
            path, digest = write_best_backbone(
                self.config, self.models, self.position, self.metadata
            )
            self.console.print(
                f"[bold]{path}[/]  hash {digest}, epoch {self.position.best_epoch}, "
                f"held-out cosine {self.position.best_cosine:.3f}"
            )
        self.fabric.barrier()
        # Last of all and after everything was saved, for the student goes on learning meanwhile.
        efficiency = measure_efficiency(
            self.folder, self.pace, self.taught, self.step, self.fabric, self.console
        )
        return DistillResult(
            backbone=path,
            metrics=self.folder / "metrics.jsonl",
            heldout_cosine=self.position.best_cosine,
            best_epoch=self.position.best_epoch,
            num_images=len(self.data.manifest.images),
            num_skipped=len(self.data.manifest.skipped),
            num_duplicates=self.data.manifest.num_duplicates,
            images_per_second=self.rate,
            efficiency=efficiency,
        )

    def _save(self, name: str) -> None:
        self.saved_at = time.monotonic()
        if self.world.leads:
            saved.save_checkpoint(self.folder / name, self.learner, self.position, self.metadata)

    def _stopped_message(self, signal_name: str) -> str:
        return (
            f"stopped by {signal_name} after step {self.position.step} of {self.total_steps}; "
            f"saved {self.folder / 'last.pt'}; continue with --resume (`edgekd run` does so itself)"
        )
