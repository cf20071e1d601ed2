"""edgekd's cached distillation, stage by stage, for `lightly_train.py`.

    python edgekd_distill_worker.py TASK.json

``TASK.json``: ``images`` (folders and files), ``teacher`` (a timm name, random weights),
``student``, ``image_size``, ``batch_size``, ``views``, ``num_images``, ``warmup``, ``steps``.
Printed as JSON: how many images a second go through the teacher while the cache is filled,
everything included that filling does (decoding, cropping, fitting the target space, compression,
writing), and how many a second through the loop afterwards (reading, decompression, forward,
backward, optimiser).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from edgekd.config import Config
from edgekd.data.batches import endless
from edgekd.distill.feature_cache.codec import fitting_passes
from edgekd.distill.setup import prepare_data
from edgekd.distill.target_source import statistics_images
from edgekd.distill.trainer import DistillLoop
from edgekd.memory import keep_freed_memory
from edgekd_bench.manifest import library_versions
from edgekd_bench.ultralytics_setup import prepare_ultralytics


def main() -> None:
    """Fill a cache and take some steps."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        prepare_ultralytics(Path(folder) / "ultralytics")
        print(json.dumps(measure(task, Path(folder))))


def measure(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Rates of filling and of the loop, images/s."""
    config = Config.model_validate(
        {
            "runs_dir": folder,
            "image_size": task["image_size"],
            "unlabeled": {"roots": task["images"]},
            "teacher": {"name": task["teacher"], "random_weights": True},
            "student": {"model": task["student"]},
            "distill": {
                "batch_size": task["batch_size"],
                "standardize_images": task["num_images"],
                "cache": {"enabled": True, "views": task["views"]},
            },
        }
    )
    data = prepare_data(config)
    loop = DistillLoop(config, data, Console(quiet=True))
    started = time.perf_counter()
    with loop.fabric.autocast():
        loop.source.prepare(resumed=False)
    seconds = time.perf_counter() - started
    num_train, num_heldout = len(data.decoded) - len(data.heldout), len(data.heldout)
    fitting = fitting_passes(len(statistics_images(config, data)), config.distill.batch_size)
    # Held-out images pass once for the fidelity and once to be kept.
    passes = num_train * task["views"] + fitting + 2 * num_heldout
    return {
        "filling_images_per_second": passes / seconds,
        "teacher_passes": passes,
        "loop_images_per_second": _loop_rate(loop, task["warmup"], task["steps"]),
        "precision": loop.precision,
        "versions": library_versions("torch", "timm", "ultralytics"),
    }


def _loop_rate(loop: DistillLoop, warmup: int, steps: int) -> float:
    taken = _steps(loop)
    for _ in range(warmup):
        next(taken)
    started = time.perf_counter()
    count = sum(next(taken) for _ in range(steps))
    return count / (time.perf_counter() - started)


def _steps(loop: DistillLoop) -> Iterator[int]:
    for batch in endless(loop.taught.epoch):
        loop.step(batch)
        yield len(batch)


if __name__ == "__main__":
    main()
