"""The JSON that travels beside every artefact and says what made it.

A weight file without its history cannot be compared honestly, so each stage writes
``<artefact>.json`` next to the artefact: versions, parents' hashes, class names, preprocessing,
parity. The same JSON is embedded in the ONNX metadata under ``MANIFEST_KEY``, so that a file copied
alone to a device still knows what it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd_bench.errors import InputError

FORMAT_VERSION = 1
MANIFEST_KEY = "edgekd"
Init = Literal["baseline", "distilled", "other"]
Parity = Literal["pass", "fail", "n/a"]


class Parent(BaseModel):
    """One file an artefact was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    role: str
    name: str
    sha256: str


class TeacherIdentity(BaseModel):
    """Which teacher shaped the weights; its licence follows them everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    licence: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.licence})"


class Preprocessing(BaseModel):
    """How pixels must be prepared: RGB, letterboxed, scaled to ``[0, 1]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    color: Literal["rgb"] = "rgb"
    layout: Literal["nchw"] = "nchw"
    scale: float = 1 / 255
    letterbox: Literal["center"] = "center"
    pad_value: int = 114


class Calibration(BaseModel):
    """What the int8 scales rest on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: Literal["minmax", "entropy", "percentile"]
    percentile: float | None = None
    source: str
    num_images: int
    images_sha256: str = Field(description="over the content hashes of the images, in order")
    cache_sha256: str = Field(description="of the file that holds the measured ranges")


class LayerDecision(BaseModel):
    """What the sensitivity search decided for one layer, most sensitive first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    layer: str
    sqnr_db: float = Field(description="signal to quantisation noise of the layer's output")
    precision: Literal["int8", "float"]
    reason: str


class Nms(BaseModel):
    """Suppression inside the graph: what it lets through."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    conf: float = Field(gt=0, lt=1, description="detections score above this")
    iou: float = Field(gt=0, le=1, description="overlap at which a better box suppresses another")
    max_det: int = Field(ge=1, description="detections per image")


class EngineBuild(BaseModel):
    """What an engine was built by and which machines can load it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    builder: Literal["tensorrt", "tensorrt-rtx"]
    version: str = Field(description="of TensorRT, as the library reports it")
    platform: str = Field(description="'linux-x86_64', 'linux-aarch64', …")
    compute_capability: str | None = Field(description="'8.7'; None: of no GPU in particular")
    device: str | None = Field(default=None, description="the GPU it was built on, if any")
    batch: tuple[int, int, int] = Field(description="least, best and most images per inference")
    dla_core: int | None = None
    options: dict[str, Any] = Field(default={}, description="workspace, builder level, flags")


class Manifest(BaseModel):
    """What an artefact is and where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = FORMAT_VERSION
    kind: Literal["detector", "onnx", "engine"]
    sha256: str = Field(
        default="", description="of the artefact itself; empty where it is embedded in it"
    )
    init: Init = "other"
    seed: int | None = None
    names: dict[int, str]
    image_size: int
    stride: int
    end_to_end: bool = Field(
        default=False, description="True: output is (B, K, 6) boxes, no NMS needed"
    )
    nms: Nms | None = Field(
        default=None, description="suppression in the graph; None: raw, or a head that needs none"
    )
    dynamic_batch: bool = Field(default=False, description="True: any number of images at a time")
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    int8_for: Literal["tensorrt", "onnxruntime", "openvino"] | None = Field(
        default=None, description="the runtime that an int8 file is laid out for"
    )
    calibration: Calibration | None = None
    decisions: list[LayerDecision] = []
    accuracy_figures: dict[str, float] = Field(
        default={}, description="mAP against fp32, where a sensitivity search measured it"
    )
    target: str | None = Field(default=None, description="device profile it was made for")
    engine: EngineBuild | None = None
    num_params: int | None = None
    preprocessing: Preprocessing = Preprocessing()
    parents: list[Parent] = []
    teacher: TeacherIdentity | None = None
    licence: str | None = Field(default=None, description="under which the artefact may be used")
    parity: Parity = "n/a"
    parity_figures: dict[str, float] = {}
    parity_limits: dict[str, tuple[Literal["at most", "at least"], float]] = Field(
        default={}, description="what the figures of the same name were held against"
    )
    versions: dict[str, str] = {}
    config_hash: str | None = None


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def library_versions(*names: str) -> dict[str, str]:
    """Installed versions of ``names``; a library that is not installed is left out."""
    found = {name: _installed_version(name) for name in ("edgekd", *names)}
    return {name: text for name, text in found.items() if text is not None}


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def short_name(path: Path) -> str:
    """``dice/data.yaml``: enough to recognise a set, without the layout of somebody's disk."""
    return "/".join(path.resolve().parts[-2:])


def manifest_path(artefact: Path) -> Path:
    """``model.onnx`` → ``model.onnx.json``."""
    return artefact.with_name(artefact.name + ".json")


def write_manifest(artefact: Path, manifest: Manifest) -> Path:
    """Write the manifest of ``artefact`` beside it, with the artefact's own hash filled in."""
    complete = manifest.model_copy(update={"sha256": sha256_of(artefact)})
    path = manifest_path(artefact)
    write_text_atomically(path, complete.model_dump_json(indent=2) + "\n")
    return path


def parse_manifest(text: str, where: str) -> Manifest:
    """Parse manifest JSON.

    Raises:
        InputError: not JSON, of a newer format, or with wrong fields.
    """
    try:
        raw: Any = json.loads(text)
        return Manifest.model_validate(raw)
    except (json.JSONDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{where}: not a manifest edgekd can read ({reason})") from error


def read_manifest(artefact: Path) -> Manifest | None:
    """The manifest beside ``artefact``, or None where there is none.

    Raises:
        InputError: it cannot be read, or belongs to other bytes than the artefact has now.
    """
    path = manifest_path(artefact)
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a manifest edgekd can read (not UTF-8)") from error
    manifest = parse_manifest(text, str(path))
    if manifest.sha256 != sha256_of(artefact):
        raise InputError(
            f"{artefact}: changed after {path.name} was written (SHA-256 differs); "
            "export or train it again, or delete the manifest"
        )
    return manifest
