"""Every model family of the student test as a small network: its own structure, fewer channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
import ultralytics
import yaml

from edgekd_export.onnx_graph import trace_fp32
from edgekd_export.settings import ExportSettings
from edgekd_export.weights import choose_head

SIDE = 64
NUM_CLASSES = 3
FAMILIES = (
    "yolov3",
    "yolov5n",
    "yolov6n",
    "yolov8n",
    "yolov8n-p2",
    "yolov8n-p6",
    "yolov9t",
    "yolov9c",
    "yolov10n",
    "yolo11n",
    "yolo12n",
    "yolo26n",
)
# Written without scales; at full width they take longer to build than the rest together.
_UNSCALED = {"yolov3": "v3/yolov3.yaml", "yolov9c": "v9/yolov9c.yaml"}
_NARROWER = 8


def slim_detector(family: str, seed: int = 0) -> Any:
    """An untrained detector for three classes; batch norm statistics are not trivial."""
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(seed)
    model = DetectionModel(_config(family), nc=NUM_CLASSES, verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


def is_nms_free(model: Any) -> bool:
    return getattr(model.model[-1], "one2one_cv2", None) is not None


def traced(model: Any, **settings: Any) -> onnx.ModelProto:
    """Its fp32 graph, with the head it would be exported with."""
    chosen = choose_head(model, end_to_end=is_nms_free(model), image_size=SIDE)
    return trace_fp32(chosen, SIDE, ExportSettings(**settings))


def _config(family: str) -> str | dict[str, Any]:
    if family not in _UNSCALED:
        return f"{family}.yaml"
    path = Path(ultralytics.__file__).parent / "cfg" / "models" / _UNSCALED[family]
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for row in config["backbone"] + config["head"]:
        row[3] = [_narrow(argument) for argument in row[3]]
    return config


def _narrow(argument: Any) -> Any:
    """A number of channels, divided; kernels, strides and layer numbers are smaller than those."""
    return argument // _NARROWER if isinstance(argument, int) and argument >= 32 else argument
