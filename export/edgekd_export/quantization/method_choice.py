"""Which calibration method suits a network: try them, keep the one that loses least.

No method is best for all: MinMax keeps outliers and wastes steps on them, entropy and percentile
clip them and lose what they meant. mAP on labelled images that were not calibrated on decides;
where there are none, the raw outputs nearest to fp32 do, which is a weaker reason and is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from edgekd_export.onnx_graph import OUTPUT_NAME
from edgekd_export.quantization.calibration_cache import METHODS, MethodChoice
from edgekd_export.quantization.ranges import Batch, run_all
from edgekd_export.settings import CalibrationMethod

FloatArray = npt.NDArray[np.floating]
Candidates = Callable[[CalibrationMethod], onnx.ModelProto]


def choose_by_map(
    candidates: Candidates,
    map_of: Callable[[onnx.ModelProto, str], float],
    *,
    num_images: int,
    images_sha256: str,
) -> MethodChoice | None:
    """The method with the highest mAP; None where every method scores 0, which decides nothing."""
    scores = {method: map_of(candidates(method), f"mAP of {method}") for method in METHODS}
    if not any(scores.values()):
        return None
    return MethodChoice(
        method=max(METHODS, key=lambda method: scores[method]),
        judged_by="map50_95",
        scores=scores,
        num_images=num_images,
        images_sha256=images_sha256,
    )


def choose_by_outputs(
    candidates: Candidates,
    fp32: onnx.ModelProto,
    batches: Callable[[], Iterable[Batch]],
    *,
    end_to_end: bool,
    images_sha256: str,
) -> MethodChoice:
    """The method whose raw outputs are nearest to those of fp32."""
    expected = _outputs(fp32, batches())
    scores: dict[CalibrationMethod, float] = {}
    for method in METHODS:
        found = _outputs(candidates(method), batches())
        errors = [
            output_error(ours, theirs, end_to_end=end_to_end)
            for ours, theirs in zip(expected, found, strict=True)
        ]
        scores[method] = float(np.mean(errors))
    return MethodChoice(
        method=min(METHODS, key=lambda method: scores[method]),
        judged_by="raw outputs",
        scores=scores,
        num_images=len(expected),
        images_sha256=images_sha256,
    )


def summary(choice: MethodChoice) -> str:
    """One line for people."""
    scores = ", ".join(f"{name} {score:.4f}" for name, score in choice.scores.items())
    if choice.judged_by == "map50_95":
        reason = f"mAP50-95 on {choice.num_images} held-out images"
    else:
        reason = "no labelled images to compare mAP on, so error of raw outputs against fp32"
    return f"calibration auto: {choice.method} ({reason}: {scores})"


def output_error(reference: FloatArray, candidate: FloatArray, *, end_to_end: bool) -> float:
    """Relative error of boxes plus that of scores, so that neither drowns the other.

    Args:
        reference: (4 + nc, A), or (K, 6) where ``end_to_end``.
        candidate: the same.
        end_to_end: rows are ranked; boxes of two rankings cannot be subtracted, so scores decide.
    """
    if end_to_end:
        return _relative(reference[:, 4], candidate[:, 4])
    return _relative(reference[:4], candidate[:4]) + _relative(reference[4:], candidate[4:])


def _relative(reference: FloatArray, candidate: FloatArray) -> float:
    norm = float(np.linalg.norm(reference))
    return float(np.linalg.norm(reference - candidate)) / norm if norm else 0.0


def _outputs(graph: onnx.ModelProto, batches: Iterable[Batch]) -> list[FloatArray]:
    outputs: list[FloatArray] = []
    for values, num_real in run_all(graph, [OUTPUT_NAME], batches):
        outputs += list(_by_image(values, num_real))
    return outputs


def _by_image(values: Mapping[str, npt.NDArray[np.floating]], num_real: int) -> FloatArray:
    return values[OUTPUT_NAME][:num_real]
