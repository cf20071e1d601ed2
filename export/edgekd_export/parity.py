"""The parity gate: an artefact must compute what the PyTorch model computes, on real images.

A converter that goes wrong seldom crashes; it yields a file that runs, fast, with other numbers.
So every artefact is held against the network in its checkpoint: loaded anew, not fused, not traced,
so that no step of the export can be wrong on both sides. The candidate runs through the same runner
that benchmarks it later. An artefact of lower precision is also held against the fp32 graph it was
made from: that graph must pass as fp32, and its weights may have been rounded but not changed.

The comparison itself knows nothing of ONNX or torch, and runs where neither is: an engine brings
its own ``Forward``, and `edgekd_export.expected_outputs` one that stands in for PyTorch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekd_bench.backends import Backend
from edgekd_bench.errors import GateError
from edgekd_bench.manifest import Nms
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_bench.ultralytics_checkpoint import load_detector
from edgekd_export.image_comparison import ImageComparison
from edgekd_export.known_faults import INPUT_FAULTS, InputFault
from edgekd_export.nms_reference import suppressed
from edgekd_export.parity_images import ParityImages
from edgekd_export.parity_report import ParityReport
from edgekd_export.parity_tally import ParityTally
from edgekd_export.thresholds import PARITY_THRESHOLDS, ParityThresholds, Precision
from edgekd_export.weights import choose_head

if TYPE_CHECKING:
    import onnx

    from edgekd_export.weight_rounding import WeightRounding

Float32Array = npt.NDArray[np.float32]
Forward = Callable[[Float32Array], Float32Array]  # (B, 3, S, S) → (B, 4 + nc, A) or (B, K, 6)

_FAULT_IMAGES = 8  # on so many each mistake is made; more would not change the answer


def check_onnx(
    weights: Path | Forward,
    path: Path,
    images: ParityImages,
    *,
    end_to_end: bool,
    batch: int,
    precision: Precision,
    thresholds: ParityThresholds,
    nms: Nms | None = None,
    ancestor: onnx.ModelProto | None = None,
    backend: Backend = "onnxruntime",
) -> ParityReport:
    """Hold an ONNX file against the checkpoint it was made from.

    Args:
        weights: the checkpoint, or its network where it is loaded already (`torch_forward`, or
            `remembered` where several files are held against it).
        path: the exported file; its metadata must hold a manifest or Ultralytics' keys.
        images: what to compare on, letterboxed to the size the file was exported for.
        end_to_end: which head the file was exported with.
        batch: the file's fixed batch.
        precision: of the file, for the report.
        thresholds: the limits.
        nms: suppression in the graph, if any; its output is end-to-end, the checkpoint's raw.
        ancestor: the fp32 graph that a file of lower precision was made from, without suppression.
        backend: what the file runs on here.

    Raises:
        InputError: a file that does not load, or whose network returns NaN.
        GateError: outputs of different shapes, which leaves nothing to compare.
    """
    native = end_to_end and nms is None
    if isinstance(weights, Path):
        network = remembered(torch_forward(weights, images.image_size, end_to_end=native))
    else:
        network = weights
    reference = suppressed(network, nms) if nms is not None else network
    with open_runner(path, backend, RunnerOptions(batch=batch)) as runner:
        tally = _tally(
            reference,
            runner.forward,
            images,
            end_to_end=end_to_end,
            batch=batch,
            thresholds=thresholds,
            input_faults=INPUT_FAULTS,
        )
    if ancestor is None:
        return tally.report(images, precision=precision, thresholds=thresholds)
    judged = compare(
        network,
        _graph_forward(ancestor),
        images,
        end_to_end=native,
        batch=batch,
        precision="fp32",
        thresholds=PARITY_THRESHOLDS["fp32"],
    )
    return tally.report(
        images,
        precision=precision,
        thresholds=thresholds,
        ancestor=judged,
        weights=_weight_rounding(ancestor, path),
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


def remembered(forward: Forward) -> Forward:
    """Answers from memory what was asked before: both comparisons see the same images."""
    answers: dict[bytes, Float32Array] = {}

    def remembered(batch: Float32Array) -> Float32Array:
        key = hashlib.sha256(batch.tobytes()).digest()
        if key not in answers:
            answers[key] = forward(batch)
        return answers[key]

    return remembered


def compare(
    reference: Forward,
    candidate: Forward,
    images: ParityImages,
    *,
    end_to_end: bool,
    batch: int,
    precision: Precision,
    thresholds: ParityThresholds,
    input_faults: Mapping[str, InputFault] | None = None,
) -> ParityReport:
    """Run both sides on every image and judge the differences.

    Args:
        reference: what is right.
        candidate: what is to be judged.
        images: letterboxed images.
        end_to_end: whether outputs are (B, K, 6) rows.
        batch: images per call of both.
        precision: of the candidate, for the report.
        thresholds: the limits.
        input_faults: mistakes to make on the reference's input, so that a candidate that makes
            them is recognised; only for a reference that can answer to any image.

    Raises:
        GateError: outputs of different shapes.
    """
    tally = _tally(
        reference,
        candidate,
        images,
        end_to_end=end_to_end,
        batch=batch,
        thresholds=thresholds,
        input_faults=input_faults or {},
    )
    return tally.report(images, precision=precision, thresholds=thresholds)


def _tally(
    reference: Forward,
    candidate: Forward,
    images: ParityImages,
    *,
    end_to_end: bool,
    batch: int,
    thresholds: ParityThresholds,
    input_faults: Mapping[str, InputFault],
) -> ParityTally:
    tally = ParityTally()
    comparison = ImageComparison(
        tally, end_to_end=end_to_end, image_size=images.image_size, thresholds=thresholds
    )
    num_batches = -(-len(images) // batch)
    every = max(num_batches // -(-_FAULT_IMAGES // batch), 1)
    for number, (inputs, num_real) in enumerate(images.batches(batch)):
        expected, found = reference(inputs), candidate(inputs)
        if expected.shape != found.shape:
            raise GateError(f"parity: output {found.shape} where PyTorch gives {expected.shape}")
        tried = input_faults.items() if number % every == 0 else ()
        faulty = {name: reference(np.ascontiguousarray(fault(inputs))) for name, fault in tried}
        for index in range(num_real):
            wrong = {name: outputs[index] for name, outputs in faulty.items()}
            comparison.add(expected[index], found[index], wrong)
    return tally


def _graph_forward(graph: onnx.ModelProto) -> Forward:
    """An fp32 graph that is in memory, in ONNX Runtime on the CPU."""
    import onnxruntime as ort

    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def forward(batch: Float32Array) -> Float32Array:
        output: Float32Array = session.run(None, {name: batch})[0]
        return output

    return forward


def _weight_rounding(ancestor: onnx.ModelProto, path: Path) -> WeightRounding:
    import onnx

    from edgekd_export.weight_rounding import compare_weights

    return compare_weights(ancestor, onnx.load(path))
