"""A Triton model repository for an exported detector.

Triton batches requests only where the first dimension of the graph is free; a graph with a fixed
batch must be declared with ``max_batch_size: 0`` and the batch written into its dimensions, or the
server refuses to load it.

Source: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from edgekd_export.deployment.served_model import ServedModel

TritonBackend = Literal["onnxruntime", "tensorrt"]
MODEL_FILES: dict[TritonBackend, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
_MAX_QUEUE_DELAY_US = 500


def write_triton(
    model: ServedModel,
    repository: Path,
    backend: TritonBackend,
    *,
    file: Path | None,
    max_batch: int,
) -> Path:
    """Write ``<name>/config.pbtxt`` and ``<name>/1/<file>``.

    Args:
        model: the detector.
        repository: the folder for ``--model-repository``.
        backend: which of Triton's backends is to run it.
        file: the ONNX file or engine to serve; None: it is put there later.
        max_batch: the most requests to batch, where the graph allows any number.

    Returns:
        Where the served file is, or has to go.

    Raises:
        OSError: no space, or no permission.
    """
    folder = repository / model.name
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    config = triton_config(model, backend, max_batch=max_batch)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    served = version / MODEL_FILES[backend]
    if file is not None:
        shutil.copyfile(file, served)
    return served


def triton_config(model: ServedModel, backend: TritonBackend, *, max_batch: int) -> str:
    """The text of ``config.pbtxt`` (protobuf text format of ``inference.ModelConfig``)."""
    side = model.manifest.image_size
    fixed = () if model.batch is None else (model.batch,)
    lines = [
        f"# Input: letterboxed RGB in [0, 1]. Output: {_meaning(model)}.",
        "# Letterboxing and decoding are the client's. Not run under Triton by edgekd.",
        f"name: {json.dumps(model.name)}",
        f'backend: "{backend}"',
        f"max_batch_size: {max_batch if model.batch is None else 0}",
        *_tensor("input", model.input_name, (*fixed, 3, side, side)),
        *_tensor("output", model.output_name, (*fixed, *model.output_shape)),
    ]
    if model.batch is None:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {_MAX_QUEUE_DELAY_US} }}")
    return "\n".join(lines) + "\n"


def _meaning(model: ServedModel) -> str:
    if model.manifest.end_to_end:
        return "rows of x1, y1, x2, y2, score, class, best first"
    return "columns of cx, cy, w, h in pixels and one probability a class; NMS is still to do"


def _tensor(field: str, name: str, dims: tuple[int, ...]) -> list[str]:
    return [
        f"{field} {{",
        f"  name: {json.dumps(name)}",
        "  data_type: TYPE_FP32",
        f"  dims: [ {', '.join(map(str, dims))} ]",
        "}",
    ]
