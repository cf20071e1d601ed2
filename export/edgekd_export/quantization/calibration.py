"""Ranges for an int8 export: from a cache that fits, or else measured; and the method to use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.errors import InputError
from edgekd_export.onnx_graph import INPUT_NAME
from edgekd_export.quantization.activation_histogram import ActivationHistogram
from edgekd_export.quantization.calibration_cache import (
    CalibrationCache,
    TensorRange,
    cache_path,
    check_cache,
    read_cache,
)
from edgekd_export.quantization.calibration_images import (
    CalibrationImages,
    find_calibration_images,
)
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.ranges import measure
from edgekd_export.settings import ExportSettings


@dataclass(frozen=True)
class MeasuredRanges:
    """Ranges of every method, and where they come from."""

    cache: CalibrationCache
    images: CalibrationImages | None  # None: a cache was given and no data
    reused: Path | None = None  # the cache they were read from
    named: bool = False  # whether the user named that cache


def find_ranges(
    source: Int8Source,
    settings: ExportSettings,
    *,
    data: Path | None,
    image_size: int,
    target: Path,
    progress: BenchProgress,
    say: Callable[[str], None],
) -> MeasuredRanges:
    """Read the ranges of a network from a cache, or measure them.

    Args:
        source: the network.
        settings: the cache if one was named, the images, the percentile.
        data: of the export.
        image_size: side of the network's input.
        target: the artefact; a cache beside it is used where it was measured on the same images.
        progress: shows the pass over the images.
        say: what the user should know, a line each.

    Raises:
        InputError: a named cache that does not fit, or no images to measure on.
    """
    if settings.calibration_cache is not None:
        path = settings.calibration_cache
        cache = _fitting(path, source, settings)
        has_data = data is not None or settings.calibration_data is not None
        images = find_calibration_images(data, settings) if has_data else None
        return MeasuredRanges(cache, images, reused=path, named=True)
    images = find_calibration_images(data, settings)
    beside = cache_path(target)
    if beside.is_file():
        found = _usable(beside, source, settings, images.sha256)
        if found is not None:
            say(f"calibration: ranges of the same network and images reused from {beside}")
            return MeasuredRanges(found, images, reused=beside)
    return MeasuredRanges(_measure(source, settings, images, image_size, progress, say), images)


def _fitting(path: Path, source: Int8Source, settings: ExportSettings) -> CalibrationCache:
    """A cache the user named.

    Raises:
        InputError: it is none, or of another network.
    """
    cache = read_cache(path)
    percentile = settings.percentile if settings.calibration == "percentile" else None
    check_cache(cache, path, graph_sha256=source.sha256, percentile=percentile)
    missing = set(source.tensors) - set(cache.tensors)
    if missing:
        raise InputError(f"{path}: lacks tensor '{min(missing)}'; leave it out to measure again")
    return cache


def _usable(
    path: Path, source: Int8Source, settings: ExportSettings, images_sha256: str
) -> CalibrationCache | None:
    """A cache that lies beside the artefact, if it answers the very same question."""
    try:
        cache = _fitting(path, source, settings)
    except InputError:
        return None  # nobody asked for it: it is measured again, and replaced
    same = cache.images_sha256 == images_sha256 and cache.percentile == settings.percentile
    return cache if same else None


def _measure(
    source: Int8Source,
    settings: ExportSettings,
    images: CalibrationImages,
    image_size: int,
    progress: BenchProgress,
    say: Callable[[str], None],
) -> CalibrationCache:
    batches = images.batches(image_size, settings.batch)
    with progress.stage("calibration", len(images.paths)) as advance:
        histograms = measure(source.fp32, source.tensors, batches, advance)
    if images.broken:
        say(f"calibration: {len(images.broken)} broken images left out, {images.broken[0]}")
    with progress.stage("thresholds", len(histograms)) as advance:
        tensors = {}
        for name, histogram in histograms.items():
            tensors[name] = _range(name, histogram, settings.percentile)
            advance()
    return CalibrationCache(
        graph_sha256=source.sha256,
        images_sha256=images.sha256,
        source=images.source,
        num_images=images.num_images,
        image_size=image_size,
        percentile=settings.percentile,
        tensors=tensors,
    )


def _range(name: str, histogram: ActivationHistogram, percentile: float) -> TensorRange:
    # Pixels fill [0, 1] by their preparation; to clip the bright ones would only lose them.
    is_pixels = name == INPUT_NAME
    return TensorRange(
        lowest=0.0 if is_pixels else histogram.lowest,
        highest=1.0 if is_pixels else histogram.highest,
        minmax=1.0 if is_pixels else histogram.largest,
        entropy=1.0 if is_pixels else histogram.entropy(),
        percentile=1.0 if is_pixels else histogram.percentile(percentile),
    )
