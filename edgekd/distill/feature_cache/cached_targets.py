"""Targets out of a feature cache, which is filled first where it has gaps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console

from edgekd.config import Config
from edgekd.data.batches import Batch
from edgekd.distill.feature_cache.batches import CachedViewLoader
from edgekd.distill.feature_cache.codec import FeatureCodec
from edgekd.distill.feature_cache.description import (
    CODEC_FILE,
    CacheDescription,
    levels_at,
    read_description,
    write_description,
)
from edgekd.distill.feature_cache.fidelity import measure_fidelity
from edgekd.distill.feature_cache.filling import CacheFiller, View
from edgekd.distill.feature_cache.store import CENTRE, FeatureStore
from edgekd.distill.interrupt import StopRequest
from edgekd.distill.progress import filling_progress
from edgekd.distill.result import StoppedError
from edgekd.distill.setup import DistillData, Models, num_workers
from edgekd.distill.target_source import Loader, Targets, centre_batches, statistics_images
from edgekd.files import load_tensors, require_writable, save_tensors
from edgekd_bench.errors import InputError

_CODEC_FORMAT = "edgekd.codec.1"
_SPARE_BYTES = 500e6  # room that is left for checkpoints and everybody else


class CachedTargets:
    """The teacher has seen every view once, now or in an earlier run.

    Args:
        config: the resolved options, with ``distill.cache.enabled``.
        data: images and the recipe of their views.
        models: teacher and target space, on the device of ``fabric``.
        fabric: where the teacher runs and targets are wanted, and how processes talk.
        precision: arithmetic of the teacher, part of what the cache is.
        console: where the size, the progress and the fidelity are shown.
    """

    def __init__(
        self,
        config: Config,
        data: DistillData,
        models: Models,
        fabric: Fabric,
        precision: str,
        console: Console,
    ) -> None:
        self._config, self._data, self._models, self._fabric = config, data, models, fabric
        self._world = data.world
        device = self._device = fabric.device
        self._options = config.distill.cache
        self._console = console
        self._codec = FeatureCodec(models.space, self._options.numbers).to(device)
        self.description = self._describe(precision)
        self.folder = cache_root(config) / self.description.name
        require_writable(self.folder)
        self.store = FeatureStore(self.folder, self.description)
        self._loader = CachedViewLoader(
            self.store,
            data.decoded,
            range(len(data.heldout), len(data.decoded)),
            config.distill.batch_size,
            data.recipe,
            self._options.views,
            num_workers(config),
            data.world,
        )

    @property
    def loader(self) -> Loader:
        return self._loader

    def prepare(self, *, resumed: bool) -> None:
        """Load or fit the codec, and fill the gaps.

        Raises:
            InputError: not enough room on the disk.
            StoppedError: Ctrl-C or SIGTERM while filling; what was computed is kept.
        """
        del resumed  # the cache's own target space is the one its records were made with
        if self._world.leads and not (self.folder / CODEC_FILE).is_file():
            self._fit_codec()
        self._fabric.barrier()
        content = load_tensors(self.folder / CODEC_FILE, _CODEC_FORMAT)
        self._codec.load_state_dict(content["codec"])
        self.description = read_description(self.folder)
        self._fill()
        self._fabric.barrier()
        self.store.refresh()

    @torch.no_grad()
    def targets(self, batch: Batch, images: torch.Tensor) -> Targets:
        del images
        assert batch.features is not None, "cached batches carry their features"
        records = batch.features.to(self._device, non_blocking=True)
        return self._codec.decode(records, self.description.levels)

    def heldout(self) -> Iterator[tuple[torch.Tensor, Targets]]:
        for batch in self._loader.centres(self._data.heldout, self._config.distill.batch_size):
            yield batch.pixels.to(self._device), self.targets(batch, batch.pixels)

    def _describe(self, precision: str) -> CacheDescription:
        config, recipe = self._config, self._data.recipe
        channels = {level.stride: level.channels for level in self._models.space.levels}
        return CacheDescription(
            teacher=self._models.teacher.identity,
            blocks=config.teacher.blocks,
            precision=precision,
            image_size=config.image_size,
            crop_scale=recipe.crop_scale,
            flip=recipe.flip,
            seed=recipe.seed,
            space=config.distill.targets.kind,
            components=config.distill.targets.components,
            numbers=self._options.numbers,
            pixels=self._options.pixels,
            levels=levels_at(channels, config.image_size),
        )

    def _fit_codec(self) -> None:
        """Measure target space and steps, and how faithful they are; then keep them."""
        size, batch = self._config.image_size, self._config.distill.batch_size
        chosen = statistics_images(self._config, self._data)
        decoded, teacher = self._data.decoded, self._models.teacher

        def images(indices: list[int]) -> Iterator[torch.Tensor]:
            for pixels in centre_batches(decoded, indices, size, batch):
                yield pixels.to(self._device).float().div_(255)

        self._codec.fit(teacher, list(images(chosen)))
        fidelity = measure_fidelity(
            self._codec, teacher, images(self._data.heldout), self.description.levels
        )
        description = self.description.model_copy(update={"fidelity": fidelity})
        write_description(self.folder, description)
        content = {"format": _CODEC_FORMAT, "codec": self._codec.state_dict()}
        save_tensors(content, self.folder / CODEC_FILE)

    def _views(self) -> list[View]:
        """Image by image, so that a filling that was cut off still serves whole images."""
        heldout = [View(index, CENTRE) for index in self._data.heldout]
        rest = range(len(self._data.heldout), len(self._data.decoded))
        return heldout + [View(i, v) for i in rest for v in range(self._options.views)]

    def _fill(self) -> None:
        filler = CacheFiller(
            self.store,
            self._codec,
            self._models.teacher,
            self._data.decoded,
            self._data.recipe,
            batch_size=self._config.distill.batch_size,
            workers=num_workers(self._config),
            rank=self._world.rank,
        )
        wanted = self._views()
        missing = filler.missing(wanted)
        self._announce(len(wanted), len(missing))
        if not missing:
            return
        self._require_room(len(missing))
        missing = missing[self._world.rank :: self._world.size]
        started = time.perf_counter()
        with filling_progress(self._console) as bar, StopRequest() as stop:
            task = bar.add_task("fill", total=len(missing))

            def on_views(count: int) -> bool:
                bar.update(task, advance=count)
                return stop.requested is not None

            written = filler.fill(missing, on_views)
            if stop.requested and written < len(missing):
                raise StoppedError(
                    f"stopped by {stop.requested} after {written} of {len(missing)} views; all "
                    f"kept in {self.folder}; the same command goes on from there",
                    stop.requested,
                )
        rate = len(missing) / (time.perf_counter() - started)
        each = f" in each of {self._world.size} processes" if self._world.size > 1 else ""
        self._console.print(f"filled {len(missing)} views at {rate:.0f} views/s{each}")

    def _announce(self, num_wanted: int, num_missing: int) -> None:
        description = self.description
        self._console.print(
            f"feature cache {self.folder}: {num_wanted - num_missing} of {num_wanted} views there, "
            f"{num_missing} to compute, {description.record_bytes / 1e6:.3f} MB each "
            f"({description.feature_bytes / 1e6:.3f} MB of features): "
            f"{num_missing * description.record_bytes / 1e9:.2f} GB to write"
        )
        if description.fidelity is not None:
            figures = ", ".join(
                f"stride {stride} {value:.4f}"
                for stride, value in description.fidelity.centred.items()
            )
            self._console.print(
                f"fidelity on {description.fidelity.num_images} held-out images, mean cosine of "
                f"centred features: {figures}"
            )

    def _require_room(self, num_missing: int) -> None:
        needed = num_missing * self.description.record_bytes
        free = shutil.disk_usage(self.folder).free
        if needed + _SPARE_BYTES > free:
            raise InputError(
                f"{self.folder}: the cache needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                "free; set distill.cache.folder to a larger disk, distill.cache.pixels=false, "
                "distill.cache.numbers=int4, fewer distill.cache.views or "
                "distill.targets.components"
            )


def cache_root(config: Config) -> Path:
    """The folder that holds a run's feature caches, shared by all runs under ``runs_dir``."""
    return config.distill.cache.folder or config.runs_dir / "feature_cache"
