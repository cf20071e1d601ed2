"""Measure the ranges of a network's activations: one pass over images, every method at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgekd_bench.errors import InputError
from edgekd_export.onnx_graph import INPUT_NAME
from edgekd_export.quantization.activation_histogram import ActivationHistogram

Float32Array = npt.NDArray[np.float32]
Batch = tuple[Float32Array, int]  # (B, 3, S, S), and how many of its images are not padding


def measure(
    graph: onnx.ModelProto,
    tensors: Sequence[str],
    batches: Iterable[Batch],
    on_image: Callable[[], None] = lambda: None,
) -> dict[str, ActivationHistogram]:
    """Run an fp32 graph and count the values of some of its tensors.

    Args:
        graph: with the types of all tensors inferred.
        tensors: names; the first axis of each must be the batch.
        batches: network inputs.
        on_image: called after each image, for progress.

    Raises:
        InputError: a tensor holds NaN or infinity.
    """
    histograms = {name: ActivationHistogram() for name in tensors}
    with_outputs = expose(graph, [name for name in tensors if name != INPUT_NAME])
    for values, num_real in run_all(with_outputs, tensors, batches):
        for name, array in values.items():
            real = array[:num_real]
            if not np.isfinite(real).all():
                raise InputError(
                    f"the network returns NaN or infinity at '{name}' on an image of the "
                    "calibration set; train it again, or export in fp32"
                )
            histograms[name].add(real)
        for _ in range(num_real):
            on_image()
    return histograms


def expose(graph: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy of a graph that also returns some of its inner tensors."""
    extended = onnx.ModelProto.FromString(graph.SerializeToString())
    known = {info.name: info for info in extended.graph.value_info}
    have = {output.name for output in extended.graph.output}
    extended.graph.output.extend(known[name] for name in tensors if name not in have)
    return extended


def run_all(
    graph: onnx.ModelProto, tensors: Sequence[str], batches: Iterable[Batch]
) -> Iterable[tuple[Mapping[str, npt.NDArray[Any]], int]]:
    """Values of some tensors, batch by batch, computed by ONNX Runtime on the CPU."""
    import onnxruntime as ort

    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [name for name in tensors if name != INPUT_NAME]
    for inputs, num_real in batches:
        values = dict(zip(outputs, session.run(outputs, {INPUT_NAME: inputs}), strict=True))
        if INPUT_NAME in tensors:
            values[INPUT_NAME] = inputs
        yield values, num_real
