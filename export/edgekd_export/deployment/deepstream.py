"""A DeepStream ``nvinfer`` configuration that fits an exported detector.

nvinfer knows no YOLO head, so a small parser in C++ goes along: one function for the raw head,
which leaves NMS to nvinfer, and a smaller one for end-to-end outputs. The configuration names an
engine that edgekd built and verified, not the ONNX file: nvinfer would build from that by its own
rules, and an int8 Q/DQ graph without a calibration table it builds as fp16.

Sources: https://docs.nvidia.com/deepstream/text/DS_plugin_gst-nvinfer (properties),
https://docs.nvidia.com/metropolis/deepstream/dev-guide/sdk-api/nvdsinfer__custom__impl_8h_source.html
(parser interface).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edgekd_export.deployment.served_model import ServedModel

CONFIG_NAME = "config_infer_primary.txt"
LABELS_NAME = "labels.txt"
PARSER_SOURCES = ("nvdsinfer_edgekd.cpp", "Makefile")
PARSER_LIBRARY = "libnvdsinfer_edgekd.so"
_NETWORK_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
_RAW_PARSER, _END_TO_END_PARSER = "NvDsInferParseEdgekdRaw", "NvDsInferParseEdgekdEndToEnd"
_NMS, _NO_CLUSTERING = 2, 4  # nvinfer's cluster-mode


def write_deepstream(model: ServedModel, folder: Path, *, onnx: str, engine: str) -> None:
    """Write configuration, labels and the parser's sources.

    Args:
        model: the detector.
        folder: where to; made if need be.
        onnx: path of the ONNX file, relative to ``folder``.
        engine: path of the engine, relative to ``folder``.

    Raises:
        OSError: no space, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = nvinfer_config(model, onnx=onnx, engine=engine)
    (folder / CONFIG_NAME).write_text(config, encoding="utf-8")
    (folder / LABELS_NAME).write_text("\n".join(model.labels) + "\n", encoding="utf-8")
    for name in PARSER_SOURCES:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)


def nvinfer_config(model: ServedModel, *, onnx: str, engine: str) -> str:
    """The text of ``config_infer_primary.txt``; paths are relative to its folder."""
    manifest = model.manifest
    side = manifest.image_size
    properties = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "network-type": 0,
        "network-mode": _NETWORK_MODES[manifest.precision],
        "model-engine-file": engine,
        "labelfile-path": LABELS_NAME,
        "num-detected-classes": model.num_classes,
        "batch-size": model.batch or 1,
        "infer-dims": f"3;{side};{side}",
        "output-blob-names": model.output_name,
        "net-scale-factor": repr(manifest.preprocessing.scale),
        "model-color-format": 0,
        "maintain-aspect-ratio": 1,
        "symmetric-padding": 1,
        "scaling-filter": 1,
        "cluster-mode": _NO_CLUSTERING if manifest.end_to_end else _NMS,
        "parse-bbox-func-name": _END_TO_END_PARSER if manifest.end_to_end else _RAW_PARSER,
        "custom-lib-path": PARSER_LIBRARY,
    }
    thresholds: dict[str, object] = {"pre-cluster-threshold": 0.25, "topk": 300}
    if not manifest.end_to_end:
        thresholds["nms-iou-threshold"] = 0.7
    return "\n".join(
        [
            *_remarks(model, onnx),
            "[property]",
            *(f"{key}={value}" for key, value in properties.items()),
            "",
            "[class-attrs-all]",
            *(f"{key}={value}" for key, value in thresholds.items()),
            "",
        ]
    )


def _remarks(model: ServedModel, onnx: str) -> list[str]:
    """What the reader of the configuration has to know."""
    precision = model.manifest.precision
    lines = [
        f"# {model.name}, {precision}, {model.manifest.image_size} px. Not run under DeepStream by",
        "# edgekd. Before use, in this folder: make   (needs the DeepStream SDK)",
        "# The engine must come from the TensorRT that DeepStream links: build it where",
        "# DeepStream runs, with: edgekd export --trt BUNDLE",
        "# nvinfer pads with black where the detector was trained with grey (114): measure what",
        "# that costs on your own video.",
    ]
    if precision == "int8":
        lines.append("# No onnx-file: nvinfer would build this Q/DQ graph as fp16.")
    else:
        lines += [
            "# Without an engine nvinfer can build its own from the line below; it has then not",
            "# passed the parity gate.",
            f"# onnx-file={onnx}",
        ]
    if model.batch is None:
        lines.append("# batch-size: the number of streams, at most what the engine was built for.")
    return lines
