"""How large a feature cache will be and how long it takes, before anything is computed.

Sizes are those the cache itself works with (``edgekd.distill.feature_cache.description``). Hours
follow from rates you measure on one device: `edgekd cache` prints how many views a second the
teacher makes in each process, `edgekd distill` how many images a second a student learns from a
filled cache. Prints Markdown tables.

    python bench/cache_size.py --images 1000000 --views 8 --components 64 --image-size 640 \
        --teacher-rate 300 --student-rate 800 --devices 8

With D devices, rates t and s per device, N images and V views:

- filling: N V / (D t);
- an epoch from the cache: N / (D s), reading D s times the bytes of a view each second;
- an epoch with a live teacher, which shares the device with the student: N (1/t + 1/s) / D.

So a cache pays from epoch V + 1 on, summed over all runs and students that use it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from typing import cast

from edgekd.config import CacheConfig
from edgekd.distill.feature_cache.description import (
    NumberFormat,
    feature_bytes,
    levels_at,
    pixel_bytes,
)

# Memory of one process, measured with tracemalloc on Python 3.11 (tests/core/test_cache_size.py):
# the list of images, and key, place and checksum of each record at its peak, while gaps are filled.
BYTES_PER_LISTED_IMAGE = 480
BYTES_PER_INDEXED_RECORD = 650


@dataclass(frozen=True)
class CachePlan:
    """One cache: what goes in.

    Args:
        channels: of the teacher, ``{stride: channels}``.
        components: kept of each level; None: all.
    """

    channels: dict[int, int]
    components: int | None
    numbers: NumberFormat
    image_size: int
    num_images: int
    views: int

    @property
    def feature_bytes(self) -> int:
        """Of one view."""
        kept = {s: min(c, self.components or c) for s, c in self.channels.items()}
        return feature_bytes(levels_at(kept, self.image_size), self.numbers)

    @property
    def record_bytes(self) -> int:
        """Of one view with its pixels."""
        return self.feature_bytes + pixel_bytes(self.image_size)

    @property
    def num_records(self) -> int:
        return self.num_images * self.views

    @property
    def live_process_bytes(self) -> int:
        """Memory in each process for the list of images."""
        return self.num_images * BYTES_PER_LISTED_IMAGE

    @property
    def cached_process_bytes(self) -> int:
        """Memory in each process for the list of images and the index of records."""
        return self.live_process_bytes + self.num_records * BYTES_PER_INDEXED_RECORD

    @property
    def kept(self) -> str:
        """``64 × int8``"""
        return f"{self.components or 'all'} × {self.numbers}"


@dataclass(frozen=True)
class Rates:
    """Images/s of one device: teacher alone, and student with cached targets."""

    teacher: float
    student: float
    devices: int

    def filling_hours(self, plan: CachePlan) -> float:
        return plan.num_records / (self.devices * self.teacher) / 3600

    def cached_epoch_hours(self, plan: CachePlan) -> float:
        return plan.num_images / (self.devices * self.student) / 3600

    def live_epoch_hours(self, plan: CachePlan) -> float:
        seconds = plan.num_images * (1 / self.teacher + 1 / self.student) / self.devices
        return seconds / 3600

    def read_bytes_per_second(self, record_bytes: int) -> float:
        """Of all devices together, while the student learns."""
        return self.devices * self.student * record_bytes


def human_bytes(count: float) -> str:
    """``1.33 MB``, ``10.6 TB``: three digits, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def human_hours(hours: float) -> str:
    """Minutes below two hours, days from three days on."""
    if hours < 2:
        return f"{60 * hours:.3g} min"
    return f"{hours:.3g} h" if hours < 72 else f"{hours / 24:,.0f} days"


def size_table(plans: list[CachePlan]) -> list[str]:
    """Markdown lines."""
    lines = [
        "| images | K × format | one view, features | with pixels | cache, features only "
        "| with pixels | memory of a process | of a live one |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for plan in plans:
        cells = [
            plan.feature_bytes,
            plan.record_bytes,
            plan.feature_bytes * plan.num_records,
            plan.record_bytes * plan.num_records,
            plan.cached_process_bytes,
            plan.live_process_bytes,
        ]
        sizes = " | ".join(human_bytes(cell) for cell in cells)
        lines.append(f"| {plan.num_images:,} | {plan.kept} | {sizes} |")
    return lines


def time_table(plans: list[CachePlan], rates: Rates) -> list[str]:
    """Markdown lines."""
    lines = [
        "| images | K × format | filling | epoch from the cache | reading, features only "
        "| with pixels | epoch, live teacher |",
        "|---|---|---|---|---|---|---|",
    ]
    for plan in plans:
        cells = [
            human_hours(rates.filling_hours(plan)),
            human_hours(rates.cached_epoch_hours(plan)),
            f"{human_bytes(rates.read_bytes_per_second(plan.feature_bytes))}/s",
            f"{human_bytes(rates.read_bytes_per_second(plan.record_bytes))}/s",
            human_hours(rates.live_epoch_hours(plan)),
        ]
        row = " | ".join(cells)
        lines.append(f"| {plan.num_images:,} | {plan.kept} | {row} |")
    return lines


def level(pair: str) -> tuple[int, int]:
    """``"8:40"`` → ``(8, 40)``; argparse says so where it is neither."""
    stride, channels = pair.split(":")
    return int(stride), int(channels)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--images", type=int, nargs="+", default=[1_000_000])
    add("--views", type=int, default=CacheConfig().views, help="distill.cache.views")
    add("--components", type=int, nargs="+", default=[64], help="0: all of the teacher's channels")
    add("--numbers", choices=("int8", "int4", "fp16"), nargs="+", default=["int8"])
    add("--image-size", type=int, default=640)
    add(
        "--levels", type=level, nargs="+", default=[(16, 768)], metavar="STRIDE:CHANNELS",
        help="of the teacher; default: ViT-B. EfficientNet-Lite0: 8:40 16:112 32:320",
    )  # fmt: skip
    add("--teacher-rate", type=float, help="views/s a device, as `edgekd cache` prints")
    add("--student-rate", type=float, help="images/s a device with a filled cache")
    add("--devices", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    options = parse()
    plans = [
        CachePlan(
            channels=dict(options.levels),
            components=components or None,
            numbers=cast(NumberFormat, numbers),
            image_size=options.image_size,
            num_images=num_images,
            views=options.views,
        )
        for num_images, components, numbers in product(
            options.images, options.components, options.numbers
        )
    ]
    print("\n".join(size_table(plans)))
    if options.teacher_rate and options.student_rate:
        rates = Rates(options.teacher_rate, options.student_rate, options.devices)
        print("\n" + "\n".join(time_table(plans, rates)))


if __name__ == "__main__":
    main()
