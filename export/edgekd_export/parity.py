"""The parity gate: an artefact must compute what the PyTorch model computes, on real images.

A converter that goes wrong seldom crashes; it yields a file that runs, fast, with other numbers.
So every artefact is held against the network in its checkpoint: loaded anew, not fused, not traced,
so that no step of the export can be wrong on both sides. The candidate runs through the same runner
that benchmarks it later. The comparison itself knows nothing of ONNX: an engine or another
precision brings its own ``Forward`` and its own limits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import (
    Detections,
    Thresholds,
    decode_end_to_end,
    decode_raw,
)
from edgekd_bench.errors import GateError
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_bench.ultralytics_checkpoint import load_detector
from edgekd_export.parity_images import ParityImages
from edgekd_export.parity_report import ParityReport, ParityTally
from edgekd_export.raw_difference import raw_difference
from edgekd_export.row_pairing import pair_detections
from edgekd_export.thresholds import ParityThresholds, Precision
from edgekd_export.weights import choose_head

Float32Array = npt.NDArray[np.float32]
Forward = Callable[[Float32Array], Float32Array]  # (B, 3, S, S) → (B, 4 + nc, A) or (B, K, 6)


def check_onnx(
    weights: Path,
    onnx: Path,
    images: ParityImages,
    *,
    end_to_end: bool,
    batch: int,
    precision: Precision,
    thresholds: ParityThresholds,
) -> ParityReport:
    """Hold an ONNX file against the checkpoint it was made from.

    Args:
        weights: the checkpoint.
        onnx: the exported file; its metadata must hold a manifest or Ultralytics' keys.
        images: what to compare on, letterboxed to the size the file was exported for.
        end_to_end: which head the file was exported with.
        batch: the file's fixed batch.
        precision: of the file, for the report.
        thresholds: the limits.

    Raises:
        InputError: a file that does not load, or whose network returns NaN.
        GateError: outputs of different shapes, which leaves nothing to compare.
    """
    reference = torch_forward(weights, images.canvases[0].shape[0], end_to_end=end_to_end)
    with open_runner(onnx, options=RunnerOptions(batch=batch)) as runner:
        return compare(
            reference,
            runner.forward,
            images,
            end_to_end=end_to_end,
            batch=batch,
            precision=precision,
            thresholds=thresholds,
        )


def torch_forward(weights: Path, image_size: int, *, end_to_end: bool) -> Forward:
    """The network of a checkpoint, loaded anew and not fused, as the reference."""
    model = choose_head(load_detector(weights), end_to_end=end_to_end, image_size=image_size)
    import torch

    def forward(batch: Float32Array) -> Float32Array:
        with torch.inference_mode():
            output: Float32Array = model(torch.from_numpy(batch))[0].numpy()
        return output

    return forward


def compare(
    reference: Forward,
    candidate: Forward,
    images: ParityImages,
    *,
    end_to_end: bool,
    batch: int,
    precision: Precision,
    thresholds: ParityThresholds,
) -> ParityReport:
    """Run both sides on every image and judge the worst differences.

    Raises:
        GateError: outputs of different shapes.
    """
    tally = ParityTally()
    for inputs, num_real in images.batches(batch):
        expected, found = reference(inputs), candidate(inputs)
        if expected.shape != found.shape:
            raise GateError(f"parity: output {found.shape} where PyTorch gives {expected.shape}")
        for index in range(num_real):
            _compare_image(tally, expected[index], found[index], end_to_end, thresholds)
    return tally.report(images, precision=precision, thresholds=thresholds)


def _compare_image(
    tally: ParityTally,
    expected: Float32Array,
    found: Float32Array,
    end_to_end: bool,
    thresholds: ParityThresholds,
) -> None:
    """Add one image: outputs (4 + nc, A), or (K, 6) where ``end_to_end``."""
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        tally.add_not_finite()
        return
    tally.add_raw(raw_difference(expected, found, end_to_end=end_to_end, limits=thresholds))
    ours, theirs = (_detect(output, end_to_end, thresholds) for output in (expected, found))
    capacity = min(thresholds.max_det, len(expected)) if end_to_end else thresholds.max_det
    pairs = pair_detections(ours, theirs, thresholds, capacity=capacity)
    tally.add_detections(ours, theirs, pairs)


def _detect(output: Float32Array, end_to_end: bool, thresholds: ParityThresholds) -> Detections:
    decode = decode_end_to_end if end_to_end else decode_raw
    limits = Thresholds(conf=thresholds.conf, iou=thresholds.iou, max_det=thresholds.max_det)
    return decode(output, limits)
