"""What a benchmark may be told, each option documented where it is declared."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd_bench.detections import Thresholds

Backend = Literal["onnxruntime", "pytorch"]


class BenchSettings(BaseModel):
    """How to measure; the defaults give figures fit to publish."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int | None = Field(
        default=None, ge=32, description="side of the square input, pixels; None: each model's own"
    )
    batch: int = Field(
        default=1, ge=1, description="images per forward call; latencies are per call"
    )
    backends: tuple[Backend, ...] = Field(
        default=("onnxruntime", "pytorch"),
        min_length=1,
        description="backends that may run: .onnx on onnxruntime, .pt on pytorch",
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where the networks run")
    channels_last: bool = Field(default=False, description="PyTorch only: NHWC memory format")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the network; None: the backend's own choice"
    )
    min_seconds: float = Field(
        default=3.0, ge=0, description="time each model at least this long, per clock"
    )
    min_count: int = Field(
        default=50, ge=2, description="time each model at least this often, per clock"
    )
    warmup: int = Field(
        default=10, ge=1, description="untimed calls at least; goes on until the median settles"
    )
    num_latency_images: int = Field(
        default=16, ge=1, description="images of the evaluation set that the clocks cycle through"
    )
    conf: float = Field(default=0.001, ge=0, lt=1, description="confidence threshold for mAP")
    deploy_conf: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="confidence threshold of the end-to-end clock and of sample predictions, "
        "where a deployed detector would set it",
    )
    iou: float = Field(default=0.7, gt=0, le=1, description="overlap above which NMS drops a box")
    max_det: int = Field(default=300, ge=1, description="detections per image at most")
    bootstrap: int = Field(default=1000, ge=200, description="resamples behind every 95 % interval")
    num_sample_images: int = Field(
        default=8, ge=0, description="images whose predictions go into predictions.json"
    )
    seed: int = Field(default=0, ge=0, description="of the bootstrap")

    def accuracy_thresholds(self) -> Thresholds:
        """Decoding for mAP: everything the model is even slightly sure of."""
        return Thresholds(conf=self.conf, iou=self.iou, max_det=self.max_det, multi_label=True)

    def deployment_thresholds(self) -> Thresholds:
        """Decoding as in an application: confident boxes, one class each."""
        return Thresholds(
            conf=self.deploy_conf, iou=self.iou, max_det=self.max_det, multi_label=False
        )
