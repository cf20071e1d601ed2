"""How fast edgekd distils, against the loop a tutorial would write.

Both train the same student (YOLO11n backbone) from the same live teacher on the same images, at the
same size and batch, with the same loss and optimiser, for the same number of steps:

- ``plain``: a torchvision ``RandomResizedCrop`` and flip with Pillow in a ``DataLoader``, fp32,
default
  memory layout, one forward of the teacher and one step of the student after the other;
- ``edgekd``: the loop of ``edgekd distill``.

Each measurement is a process of its own; the two alternate, and the rates are those of the timed
steps after a warm-up, data included. Both are in their first epoch, so every image is decoded by
both: edgekd's store of decoded images, which helps from the second epoch on, does not count here.
The JSON record is printed last.

    python bench/distillation_speed.py --images photos/ --out bench/results/cpu
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEVELS = {8: 0.5, 16: 1.0, 32: 0.5}


def plain_rate(options: argparse.Namespace) -> float:
    """Images/s of the tutorial's loop."""
    import torch
    from PIL import Image
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from edgekd.config import TeacherConfig
    from edgekd.data.image_manifest import find_images
    from edgekd.models.projector import LinearProjector
    from edgekd.models.student import StudentBackbone, build_detector
    from edgekd.models.teacher_loading import load_teacher

    class Photos(Dataset[torch.Tensor]):
        def __init__(self) -> None:
            self.paths = find_images(options.images)
            self.transform = transforms.Compose(
                [
                    transforms.RandomResizedCrop(options.size, scale=(0.4, 1.0)),
                    transforms.RandomHorizontalFlip(),
                    transforms.ToTensor(),
                ]
            )

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            view: torch.Tensor = self.transform(Image.open(self.paths[index]).convert("RGB"))
            return view

    teacher = load_teacher(TeacherConfig())
    backbone = StudentBackbone(build_detector("yolo11n.yaml")).requires_grad_(True).train()
    channels = {tap.stride: tap.channels for tap in backbone.taps}
    heads = torch.nn.ModuleDict(
        {str(v.stride): LinearProjector(channels[v.stride], v.channels) for v in teacher.levels}
    )
    optimizer = torch.optim.AdamW([*backbone.parameters(), *heads.parameters()], lr=2e-3)
    loader = DataLoader(
        Photos(), options.batch, shuffle=True, drop_last=True, num_workers=options.workers
    )

    def steps() -> Iterator[int]:
        while True:
            for images in loader:
                targets = teacher(images)
                features = backbone(images)
                loss = torch.zeros(())
                for stride, weight in LEVELS.items():
                    student = heads[str(stride)](features[stride])
                    cosine = 1 - F.cosine_similarity(student, targets[stride]).mean()
                    loss = loss + weight * (
                        cosine + 0.1 * F.smooth_l1_loss(student, targets[stride])
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                yield len(images)

    return timed(steps(), options)


def edgekd_rate(options: argparse.Namespace) -> float:
    """Images/s of edgekd's own loop, driven step by step."""
    from rich.console import Console

    from edgekd.config import Config, DistillConfig, UnlabeledConfig
    from edgekd.data.batches import endless
    from edgekd.distill.setup import prepare_data
    from edgekd.distill.trainer import DistillLoop
    from edgekd.memory import keep_freed_memory

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            runs_dir=Path(folder),
            image_size=options.size,
            unlabeled=UnlabeledConfig(roots=(options.images,)),
            distill=DistillConfig(batch_size=options.batch),
        )
        data = prepare_data(config)
        loop = DistillLoop(config, data, Console(quiet=True))
        with loop.fabric.autocast():
            loop.source.prepare(resumed=False)

        def steps() -> Iterator[int]:
            for batch in endless(loop.taught.epoch):
                loop.step(batch)
                yield len(batch)

        return timed(steps(), options)


def timed(steps: Iterator[int], options: argparse.Namespace) -> float:
    """Images/s over the timed steps."""
    for _ in range(options.warmup):
        next(steps)
    started, count = time.perf_counter(), 0
    for _ in range(options.steps):
        count += next(steps)
    return count / (time.perf_counter() - started)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Alternate the two and collect the record."""
    from edgekd_bench.device_state import describe_environment

    environment = describe_environment(None)
    rates: dict[str, list[float]] = {"plain": [], "edgekd": []}
    for number in range(options.rounds):
        for mode in ("plain", "edgekd"):
            command = [sys.executable, __file__, *sys.argv[1:], "--mode", mode]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            rates[mode].append(float(answer.stdout.splitlines()[-1]))
            print(f"round {number + 1}: {mode} {rates[mode][-1]:.1f} images/s", file=sys.stderr)
    ratios = [b / a for a, b in zip(rates["plain"], rates["edgekd"], strict=True)]
    return {
        "what": "distillation, images/s, data loading and live teacher included",
        "student": "yolo11n backbone",
        "teacher": "efficientnet_lite0@pypi",
        "image_size": options.size,
        "batch": options.batch,
        "warmup_steps": options.warmup,
        "timed_steps": options.steps,
        "dataloader_workers_plain": options.workers,
        "images_per_second": rates,
        "median_images_per_second": {m: statistics.median(r) for m, r in rates.items()},
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "environment": environment,
    }


def main() -> None:
    """Parse, measure, write and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, help="folder for distillation_speed.json")
    parser.add_argument("--mode", choices=("plain", "edgekd"))
    for name, default in (
        ("size", 320),
        ("batch", 32),
        ("warmup", 3),
        ("steps", 24),
        ("rounds", 3),
        ("workers", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.mode:
        print({"plain": plain_rate, "edgekd": edgekd_rate}[options.mode](options))
        return
    record = compare(options)
    text = json.dumps(record, indent=2)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        file = options.out / "distillation_speed.json"
        file.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
