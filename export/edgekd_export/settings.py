"""What an export may be told, each option documented where it is declared.

It is part of the configuration tree, so it must load without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd_bench.backends import Backend
from edgekd_bench.manifest import Nms
from edgekd_export.tensorrt.settings import TensorRTSettings
from edgekd_export.thresholds import ParityThresholds, Precision

CalibrationMethod = Literal["minmax", "entropy", "percentile"]
CalibrationChoice = Literal["auto", "minmax", "entropy", "percentile"]
Int8Backend = Literal["tensorrt", "onnxruntime", "openvino"]


class ExportSettings(BaseModel):
    """How to export a detector and how strictly to check the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int | None = Field(
        None,
        ge=32,
        description="side of the square input in pixels; None: as the manifest or the checkpoint "
        "says, else 640",
    )
    batch: int = Field(
        1, ge=1, description="images per inference; fixed in the graph unless dynamic_batch"
    )
    dynamic_batch: bool = Field(False, description="let the graph take any number of images")
    opset: int = Field(
        17, ge=13, le=18, description="ONNX Runtime's CUDA provider lacks kernels above 18"
    )
    simplify: bool = Field(True, description="fold constants and merge nodes with onnxslim")
    end_to_end: bool | None = Field(
        None,
        description="which head of a model that has two (YOLOv10, YOLO26): True the NMS-free one, "
        "output (B, K, 6); False the one that needs NMS, (B, 4 + nc, A); None: NMS-free if it has",
    )
    nms: bool = Field(
        False,
        description="put non-maximum suppression into the graph, output (B, nms_max_det, 6); for "
        "heads that need it",
    )
    nms_conf: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="what the graph's NMS drops nobody can get back: mAP counts down to 0.001",
    )
    nms_iou: float = Field(0.7, gt=0, le=1, description="overlap at which the graph suppresses")
    nms_max_det: int = Field(300, ge=1, description="rows of an output with NMS")
    precision: Precision = Field("fp32", description="number type of weights and activations")
    int8_for: Int8Backend = Field(
        "tensorrt",
        description="which runtime an int8 file is laid out for: each is fast on a layout of its "
        "own; onnxruntime and openvino mean their CPU backends",
    )
    calibration: CalibrationChoice = Field(
        "auto",
        description="how int8 ranges are chosen: one method, or the one that keeps the most mAP on "
        "labelled images that neither calibration nor evaluation sees",
    )
    percentile: float = Field(
        99.999, gt=50, le=100, description="of |x|, for calibration by percentile"
    )
    calibration_data: Path | None = Field(
        None,
        description="data.yaml, coco.yaml (train split) or a folder to calibrate on; None: the "
        "data of the parity gate. Images of its val split are never used",
    )
    calibration_images: int = Field(256, ge=1, description="how many images to calibrate on")
    held_out_images: int = Field(
        200, ge=1, description="labelled train images that calibration methods are compared on"
    )
    calibration_seed: int = Field(0, ge=0, description="which images are drawn")
    calibration_cache: Path | None = Field(
        None, description="ranges of an earlier export of the same network, instead of images"
    )
    max_map_drop: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="return layers to float, most sensitive first, until int8 loses at most this "
        "much mAP50-95 on the val split; None: no such search",
    )
    max_float_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="of the layers; where more would have to be float, int8 has no point",
    )
    search_images: int = Field(
        500, ge=1, description="val images each step of that search is measured on, at most"
    )
    num_parity_images: int = Field(32, ge=1, description="images the parity gate compares on")
    parity: ParityThresholds | None = Field(
        None, description="limits of the parity gate; None: those measured for the precision"
    )
    tensorrt: TensorRTSettings = Field(
        TensorRTSettings(), description="how to build an engine from the ONNX file"
    )

    @property
    def is_for_cpu(self) -> bool:
        """Whether the file is for a CPU in the first place: fp32, or int8 laid out for one."""
        return self.precision == "fp32" or (
            self.precision == "int8" and self.int8_for != "tensorrt"
        )

    @property
    def judged_on(self) -> Backend:
        """What parity and mAP of the file are measured with: what it is for, where that runs here.

        OpenVINO has been seen to compute another runtime's int8 file differently from ONNX Runtime.
        """
        for_openvino = self.precision == "int8" and self.int8_for == "openvino"
        return "openvino" if for_openvino else "onnxruntime"

    def suppression(self, *, native: bool) -> Nms | None:
        """What NMS the graph gets: none where it was not asked for or the head needs none.

        Args:
            native: the chosen head is NMS-free.
        """
        if not self.nms or native:
            return None
        return Nms(conf=self.nms_conf, iou=self.nms_iou, max_det=self.nms_max_det)
