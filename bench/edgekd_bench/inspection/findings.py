"""What an inspection can find: the JSON of ``edgekd inspect --json``.

Other people's scripts read it, so its field names are a promise: add fields, never rename them.
Parts that do not apply to a kind of file are None and left out of the JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr, StringConstraints

from edgekd_bench.bundle import BundleDescription
from edgekd_bench.manifest import Manifest, TeacherIdentity
from edgekd_bench.record import BenchRecord

Kind = Literal[
    "detector",
    "onnx",
    "engine",
    "manifest",
    "backbone",
    "distillation checkpoint",
    "benchmark",
    "bundle",
    "calibration cache",
    "feature cache",
]
ManifestSource = Literal["beside it", "inside it", "Ultralytics' metadata", "the network itself"]
Precision = Literal["fp32", "fp16", "int8"]
Method = Literal["minmax", "entropy", "percentile"]
_Sha256 = Annotated[StrictStr, StringConstraints(pattern="^[0-9a-f]{64}$")]


class TensorFacts(BaseModel):
    """An input or output of a graph."""

    model_config = ConfigDict(frozen=True)
    name: str
    dtype: str
    shape: list[int | str] = Field(description="a string: any length, '?' where it has no name")


class GraphFacts(BaseModel):
    """What an ONNX graph is, whatever its manifest says. Bodies of If and Loop are not counted."""

    model_config = ConfigDict(frozen=True)
    producer: str
    ir_version: int
    opsets: dict[str, int] = Field(description="domain → version; '' is ONNX's own")
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]
    num_nodes: int
    nodes: dict[str, int] = Field(description="operator → how many, most frequent first")
    num_weights: dict[str, int] = Field(description="element type → numbers in stored tensors")
    layers: int = Field(description="Conv, ConvTranspose, Gemm and MatMul with stored weights")
    int8_layers: int = Field(description="of these, how many have weights that pass through int8")
    precision: Precision | None = Field(description="found; None: the graph stores no weights")
    external_data: bool = Field(description="True: weights lie in other files")


class EngineFit(BaseModel):
    """Whether an engine can run on the machine that asks."""

    model_config = ConfigDict(frozen=True)
    fits: bool | None = Field(description="None: nothing is known about how it was built")
    machine: str
    reason: str = ""


class DistillationFacts(BaseModel):
    """The JSON inside a backbone or a distillation checkpoint."""

    model_config = ConfigDict(frozen=True, extra="allow")
    format: str
    student: str
    image_size: int
    epochs: int
    seed: int
    num_images: int
    images_sha256: str
    teacher: TeacherIdentity
    precision: str = Field(description="arithmetic of the distillation")
    versions: dict[str, str]
    config_hash: str
    best_epoch: int | None = None
    heldout_cosine: float | None = None
    tensors_hash: str | None = None
    position: dict[str, float] | None = Field(default=None, description="of a checkpoint")
    num_tensors: int = Field(description="of the backbone, as counted in the file")
    num_values: int = Field(description="numbers in them; running statistics count too")


class MethodChoice(BaseModel):
    """How ``--calibration auto`` decided."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    method: Method
    judged_by: str
    scores: dict[str, float]
    num_images: int


class CalibrationFacts(BaseModel):
    """A ``.calibration.json``; the measured ranges themselves are only counted."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: Literal[1]
    graph_sha256: _Sha256
    images_sha256: _Sha256
    source: str
    num_images: int
    image_size: int
    percentile: float
    auto: MethodChoice | None = None
    num_tensors: int


class CachedLevel(BaseModel):
    """One feature map of a record."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    stride: int
    channels: int
    height: int
    width: int


class FeatureCacheFacts(BaseModel):
    """A ``cache.json`` and the size of the shards beside it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: Literal[1]
    teacher: TeacherIdentity
    precision: str
    image_size: int
    space: str
    components: int | None
    numbers: str
    pixels: bool
    crop_scale: tuple[float, float]
    flip: bool
    seed: int
    levels: list[CachedLevel] = Field(min_length=1)
    fidelity: dict[str, Any] | None = None
    num_shards: int
    num_records: int
    shard_bytes: int


class Inspection(BaseModel):
    """Everything found out about one file or folder."""

    model_config = ConfigDict(frozen=True)
    kind: Kind
    path: str
    size_bytes: int
    sha256: str | None = Field(description="of the bytes; None for a folder")
    hash_check: str = Field(description="what the hash was held against, in words")
    notes: list[str] = Field(default=[], description="what a reader should be warned of")
    manifest: Manifest | None = None
    manifest_source: ManifestSource | None = None
    graph: GraphFacts | None = None
    engine_fit: EngineFit | None = None
    distillation: DistillationFacts | None = None
    benchmark: BenchRecord | None = None
    bundle: BundleDescription | None = None
    calibration: CalibrationFacts | None = None
    feature_cache: FeatureCacheFacts | None = None
