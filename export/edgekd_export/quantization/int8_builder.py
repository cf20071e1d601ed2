"""From an fp32 graph to an int8 one: ranges, method, sensitive layers, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

import onnx

from edgekd_bench.backends import is_installed
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Calibration, library_versions
from edgekd_export.precision import PrecisionJob, TypedGraph
from edgekd_export.quantization.calibration import MeasuredRanges, find_ranges
from edgekd_export.quantization.calibration_cache import CalibrationCache, MethodChoice
from edgekd_export.quantization.calibration_images import CalibrationImages
from edgekd_export.quantization.cpu_schemes import SCHEMES
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.map_meter import MapMeter, evenly_spread
from edgekd_export.quantization.method_choice import choose_by_map, choose_by_outputs, summary
from edgekd_export.quantization.ranges import Batch
from edgekd_export.quantization.sensitivity import RankedLayer, SearchResult, rank_layers, search
from edgekd_export.settings import CalibrationMethod

_COMPARED_IMAGES = 16  # of the calibration set, where outputs are compared layer by layer or whole


def build(job: PrecisionJob) -> TypedGraph:
    """An int8 graph of a detector.

    Raises:
        InputError: nothing to calibrate on, a cache that does not fit, or no labels for a budget.
    """
    _check_backend(job)  # what cannot be is refused before minutes are spent on anything else
    search_set = _search_set(job)
    source = Int8Source(job.fp32, SCHEMES[job.settings.int8_for])
    ranges = find_ranges(
        source,
        job.settings,
        data=job.data,
        image_size=job.manifest.image_size,
        target=job.target,
        progress=job.progress,
        say=job.say,
    )
    source = replace(source, extremes=ranges.cache.extremes())
    method, cache = _choose_method(job, source, ranges)
    thresholds = cache.thresholds(method)
    text = cache.text()
    calibration = {
        "calibration": _describe(cache, method, text),
        "int8_for": job.settings.int8_for,
        "versions": job.manifest.versions | library_versions(job.settings.judged_on),
    }
    if search_set is None:
        return TypedGraph(source.int8(thresholds, source.layers), calibration, text)
    assert ranges.images is not None, "a set to search on is data to calibrate on"
    ranking = _rank(job, source, thresholds, ranges.images)
    found = _search(job, source, thresholds, ranking, search_set)
    return TypedGraph(
        source.int8(thresholds, [layer.name for layer in ranking[found.num_float :]]),
        {
            **calibration,
            "decisions": found.decisions(ranking),
            "accuracy_figures": _figures(found, search_set),
        },
        text,
        failure=None if found.within_budget else found.failure(len(ranking)),
    )


def _check_backend(job: PrecisionJob) -> None:
    """Refuse a file that could not be judged.

    Raises:
        InputError: the runtime it is for is not here.
    """
    if not is_installed(job.settings.judged_on):
        raise InputError(
            f"--int8-for {job.settings.int8_for}: it is not installed here, and the file has to be "
            "held against PyTorch on it; pip install 'edgekd[openvino]'"
        )


def _search_set(job: PrecisionJob) -> DetectionSet | None:
    """The val images a budget is kept on.

    Raises:
        InputError: a budget without labelled data.
    """
    if job.settings.max_map_drop is None:
        return None
    if job.data is None or job.data.is_dir():
        raise InputError(
            "--max-map-drop needs labelled images to measure mAP on: give --data data.yaml"
        )
    return evenly_spread(load_detection_set(job.data, "val"), job.settings.search_images)


def _choose_method(
    job: PrecisionJob, source: Int8Source, ranges: MeasuredRanges
) -> tuple[CalibrationMethod, CalibrationCache]:
    """The method, and the ranges with the reason for it where it was chosen here."""
    cache, wanted = ranges.cache, job.settings.calibration
    if wanted != "auto":
        return wanted, cache
    if cache.auto is not None and _still_holds(cache.auto, ranges):
        return cache.auto.method, cache
    choice = _compare_methods(job, source, ranges)
    job.say(summary(choice))
    return choice.method, cache.model_copy(update={"auto": choice})


def _still_holds(choice: MethodChoice, ranges: MeasuredRanges) -> bool:
    """Whether a choice in a cache was made on what it would be made on now."""
    if ranges.named or ranges.images is None:
        return True
    return choice.images_sha256 == ranges.images.compared_sha256


def _compare_methods(job: PrecisionJob, source: Int8Source, ranges: MeasuredRanges) -> MethodChoice:
    images = ranges.images
    if images is None:
        raise InputError(
            f"{ranges.reused}: does not say which method is best; give --calibration minmax, "
            "entropy or percentile, or --data to compare them on"
        )

    def candidate(method: CalibrationMethod) -> onnx.ModelProto:
        return source.int8(ranges.cache.thresholds(method), source.layers)

    held_out = images.held_out
    if held_out is not None:
        choice = choose_by_map(
            candidate,
            _meter(job, held_out),
            num_images=len(held_out.images),
            images_sha256=images.compared_sha256,
        )
        if choice is not None:
            return choice
    return choose_by_outputs(
        candidate,
        source.fp32,
        lambda: _some(images, job),
        end_to_end=job.manifest.end_to_end,
        images_sha256=images.compared_sha256,
    )


def _rank(
    job: PrecisionJob,
    source: Int8Source,
    thresholds: Mapping[str, float],
    images: CalibrationImages,
) -> list[RankedLayer]:
    with job.progress.stage("sensitivity of layers", len(source.layers)) as advance:

        def on_layers(count: int) -> None:
            for _ in range(count):
                advance()

        return rank_layers(source, thresholds, lambda: _some(images, job), on_layers)


def _search(
    job: PrecisionJob,
    source: Int8Source,
    thresholds: Mapping[str, float],
    ranking: list[RankedLayer],
    search_set: DetectionSet,
) -> SearchResult:
    assert job.settings.max_map_drop is not None
    meter = _meter(job, search_set)
    map_fp32 = meter(source.fp32, "mAP of fp32")
    job.say(f"mAP50-95 of fp32: {map_fp32:.4f} on {len(search_set.images)} val images")

    def map_with_float(count: int) -> float:
        layers = [layer.name for layer in ranking[count:]]
        measured = meter(source.int8(thresholds, layers), f"mAP with {count} layers float")
        job.say(
            f"mAP50-95 of int8 with {count} of {len(ranking)} layers float: {measured:.4f} "
            f"({map_fp32 - measured:+.4f} lost)"
        )
        return measured

    return search(
        len(ranking),
        map_fp32,
        map_with_float,
        budget=job.settings.max_map_drop,
        max_float_share=job.settings.max_float_share,
    )


def _meter(job: PrecisionJob, dataset: DetectionSet) -> MapMeter:
    return MapMeter(
        dataset,
        job.manifest,
        job.settings.batch,
        job.folder,
        job.progress,
        job.settings.judged_on,
    )


def _some(images: CalibrationImages, job: PrecisionJob) -> Iterator[Batch]:
    """The first few calibration images, in batches."""
    size = job.settings.batch
    batches = images.batches(job.manifest.image_size, size)
    return islice(batches, max(_COMPARED_IMAGES // size, 1))


def _describe(cache: CalibrationCache, method: CalibrationMethod, text: str) -> Calibration:
    return Calibration(
        method=method,
        percentile=cache.percentile if method == "percentile" else None,
        source=cache.source,
        num_images=cache.num_images,
        images_sha256=cache.images_sha256,
        cache_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _figures(found: SearchResult, search_set: DetectionSet) -> dict[str, float]:
    return {
        "map50_95": found.map_int8,
        "map50_95_fp32": found.map_fp32,
        "map50_95_drop": found.drop,
        "max_map_drop": found.budget,
        "num_float_layers": float(found.num_float),
        "num_images": float(len(search_set.images)),
        "num_evaluations": float(found.num_evaluations),
    }
