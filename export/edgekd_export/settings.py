"""What an export may be told, each option documented where it is declared.

It is part of the configuration tree, so it must load without torch.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from edgekd_export.thresholds import ParityThresholds, Precision


class ExportSettings(BaseModel):
    """How to export a detector and how strictly to check the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int | None = Field(
        None,
        ge=32,
        description="side of the square input in pixels; None: as the manifest or the checkpoint "
        "says, else 640",
    )
    batch: int = Field(1, ge=1, description="images per inference; fixed in the graph")
    opset: int = Field(
        17, ge=13, le=18, description="ONNX Runtime's CUDA provider lacks kernels above 18"
    )
    simplify: bool = Field(True, description="fold constants and merge nodes with onnxslim")
    end_to_end: bool | None = Field(
        None,
        description="which head of a model that has two (YOLOv10, YOLO26): True the NMS-free one, "
        "output (B, K, 6); False the one that needs NMS, (B, 4 + nc, A); None: NMS-free if it has",
    )
    precision: Precision = Field("fp32", description="number type of weights and activations")
    num_parity_images: int = Field(32, ge=1, description="images the parity gate compares on")
    parity: ParityThresholds | None = Field(
        None, description="limits of the parity gate; None: those measured for the precision"
    )
