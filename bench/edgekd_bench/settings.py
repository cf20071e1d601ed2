"""What a benchmark may be told, each option documented where it is declared."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgekd_bench.backends import Backend, Device
from edgekd_bench.detections import Thresholds
from edgekd_bench.gate_condition import parse_conditions


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
        default=("onnxruntime", "pytorch", "tensorrt"),
        min_length=1,
        description="each runs the models whose file it can: .onnx on onnxruntime, "
        "onnxruntime-tensorrt (its TensorRT provider) and openvino, .pt on pytorch, .engine on "
        "tensorrt; a model that none of them runs is left out",
    )
    device: Device = Field(
        default="cpu", description="where the networks run; intel-gpu is OpenVINO's"
    )
    cuda_graph: bool = Field(
        default=True, description="TensorRT only: replay a captured graph where that is possible"
    )
    channels_last: bool = Field(default=False, description="PyTorch only: NHWC memory format")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the network; None: the backend's own choice"
    )
    min_seconds: float = Field(
        default=3.0, ge=0, description="time each model at least this long, per clock"
    )
    min_count: int = Field(
        default=64,
        ge=2,
        description="time each model at least this often, per clock; 64 is where MLPerf's LoadGen "
        "begins to state a p90",
    )
    p90_within: float = Field(
        default=0.05,
        gt=0,
        description="go on until the 95 % interval of p90 is within this share of it, for three "
        "times min_seconds at most",
    )
    warmup: int = Field(
        default=10, ge=1, description="untimed calls at least; goes on until the median settles"
    )
    throughput: bool = Field(
        default=True, description="also measure images per second with all images at hand"
    )
    throughput_batches: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description="further batch sizes to try for that; the quickest is reported. Models with a "
        "fixed batch keep theirs",
    )
    energy_seconds: float = Field(
        default=5.0,
        ge=0,
        description="run each model alone so long to measure its power, where the device has a "
        "sensor; 0: do not",
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
    num_worst_images: int = Field(
        default=4,
        ge=0,
        description="further images in predictions.json: those where the candidates' F1 is lowest",
    )
    seed: int = Field(default=0, ge=0, description="of the bootstrap")
    fail_if: tuple[str, ...] = Field(
        default=(),
        description="what a candidate must not be, 'map50_95 < baseline - 0.01' for example; the "
        "record is written all the same, and the command exits with 1",
    )

    @field_validator("fail_if")
    @classmethod
    def _readable(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        parse_conditions(conditions)
        return conditions

    def accuracy_thresholds(self) -> Thresholds:
        """Decoding for mAP: everything the model is even slightly sure of."""
        return Thresholds(conf=self.conf, iou=self.iou, max_det=self.max_det, multi_label=True)

    def deployment_thresholds(self) -> Thresholds:
        """Decoding as in an application: confident boxes, one class each."""
        return Thresholds(
            conf=self.deploy_conf, iou=self.iou, max_det=self.max_det, multi_label=False
        )
