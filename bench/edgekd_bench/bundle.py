"""A device bundle, as the device reads it: what is in it, and whether it arrived whole.

A bundle is one folder (or tar) that holds everything a device needs to build, verify and measure a
detector. It is copied by hand, by USB stick, over bad links; so every file is held against its
SHA-256 before anything is run, and a file that is missing or changed is named. This module needs
neither torch nor onnx: it is what runs on the Jetson. `edgekd_export.bundle` writes bundles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edgekd_bench.bundle_archive import unpack
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of

BUNDLE_FORMAT = 1
DESCRIPTION_NAME = "bundle.json"
BUNDLE_SUFFIX = ".bundle"
ENGINE_FOLDER = "engines"


def _inside(path: str) -> str:
    """Refuse a path that could point out of the bundle."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"'{path}' does not lie inside the bundle")
    return path


InnerPath = Annotated[str, AfterValidator(_inside)]


class BundledFile(BaseModel):
    """One file, as it was packed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: InnerPath
    sha256: str
    size: int


class BundledModel(BaseModel):
    """One ONNX file; its manifest lies beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(description="the same for all precisions of one checkpoint")
    role: Literal["candidate", "baseline"]
    precision: Literal["fp32", "fp16", "int8"]
    onnx: InnerPath
    fallback: bool = Field(
        default=False, description="True: there in case the wanted precision does not work out"
    )
    expected: InnerPath = Field(description="outputs of PyTorch on the parity images, .npz")

    @property
    def engine(self) -> str:
        """Where TensorRT's engine of it goes, relative to the bundle."""
        return f"{ENGINE_FOLDER}/{PurePosixPath(self.onnx).stem}.engine"

    @property
    def rtx_engine(self) -> str:
        """The same for TensorRT-RTX."""
        return f"{ENGINE_FOLDER}/{PurePosixPath(self.onnx).stem}.rtx.engine"


class EvaluationImages(BaseModel):
    """The few labelled images in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: InnerPath
    num_images: int
    num_boxes: int
    of_images: int = Field(description="images of the split they were taken from")
    source: str
    content_hash: str

    @property
    def note(self) -> str:
        """How much an mAP on these images is worth."""
        if self.num_images == self.of_images:
            return f"mAP on all {self.num_images} images of {self.source}"
        return (
            f"mAP on {self.num_images} of {self.of_images} images of {self.source}: enough to see "
            "that a model works here, not enough to quote"
        )


class BundleDescription(BaseModel):
    """The whole of ``bundle.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = BUNDLE_FORMAT
    name: str
    edgekd: str = Field(description="version that packed it")
    target: str | None = Field(default=None, description="device profile it was packed for")
    models: list[BundledModel] = Field(min_length=1)
    calibration: list[InnerPath] = []
    evaluation: EvaluationImages
    licences: dict[str, str] = Field(description="of what → under which licence")
    files: list[BundledFile] = Field(description="every file but bundle.json itself")


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files have all been verified."""

    folder: Path
    description: BundleDescription

    def path(self, inner: str) -> Path:
        """Where a file of the bundle lies."""
        return self.folder / inner

    @property
    def data(self) -> Path:
        """Description of the labelled images."""
        return self.path(self.description.evaluation.data)

    def measurable(self, role: Literal["candidate", "baseline"]) -> list[Path]:
        """Every ONNX file of a role, and every engine that was built from one."""
        models = [self.path(m.onnx) for m in self.description.models if m.role == role]
        return models + self.engines(role)

    def engines(self, role: Literal["candidate", "baseline"] | None = None) -> list[Path]:
        """Engines that were built from the models of a role, or of any."""
        models = [m for m in self.description.models if role in (None, m.role)]
        paths = [self.path(engine) for m in models for engine in (m.engine, m.rtx_engine)]
        return [path for path in paths if path.is_file()]


def is_bundle(path: Path) -> bool:
    """Whether ``path`` is to be read as a bundle, sound or not."""
    if path.is_dir():
        return path.suffix == BUNDLE_SUFFIX or (path / DESCRIPTION_NAME).is_file()
    return path.suffix == ".tar"


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and verify every file of it.

    Args:
        path: the folder, or the ``.tar``, which is unpacked beside itself the first time.

    Raises:
        InputError: missing, damaged, incomplete, changed, unsafe, or of another format version.
    """
    if not path.exists():
        raise InputError(f"{path}: no such bundle; check the path")
    if path.is_dir():
        return _verified(path, path)
    folder = unpack(path, DESCRIPTION_NAME, verify=lambda staged: _verified(staged, path))
    return _verified(folder, folder)


def _verified(folder: Path, shown: Path) -> Bundle:
    """The bundle in ``folder``, which errors call ``shown``."""
    description = read_description(folder, shown)
    for file in description.files:
        _verify(folder, file, shown)
    listed = {file.path for file in description.files}
    for inner in _referenced(description):
        if inner not in listed:
            raise InputError(f"{shown}: names {inner} but does not list it; pack it again")
    return Bundle(folder, description)


def read_description(folder: Path, shown: Path) -> BundleDescription:
    """``bundle.json`` of a folder, which errors call ``shown``; its files are not yet looked at.

    Raises:
        InputError: missing, no JSON, of another format version, or with wrong fields.
    """
    try:
        raw: Any = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{shown}: no bundle, it has no {DESCRIPTION_NAME}") from error
    except OSError as error:
        raise InputError(
            f"{shown}: its {DESCRIPTION_NAME} cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:  # broken JSON, and bytes that are no text
        raise InputError(
            f"{shown}: its {DESCRIPTION_NAME} is not JSON ({error}); copy the bundle again"
        ) from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != BUNDLE_FORMAT:
        raise InputError(
            f"{shown}: bundle format {version}, this edgekd reads format {BUNDLE_FORMAT}; "
            f"install the edgekd that packed it ({_writer(raw)}) or pack it again"
        )
    try:
        return BundleDescription.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{shown}: {DESCRIPTION_NAME}: {where}: {first['msg']}; pack the bundle again"
        ) from error


def _writer(raw: Any) -> str:
    return str(raw.get("edgekd", "unknown")) if isinstance(raw, dict) else "unknown"


def _referenced(description: BundleDescription) -> list[str]:
    models = [inner for model in description.models for inner in (model.onnx, model.expected)]
    return [*models, *description.calibration, description.evaluation.data]


def _verify(folder: Path, file: BundledFile, shown: Path) -> None:
    path = folder / file.path
    if not path.is_file():
        raise InputError(f"{shown}: {file.path} is missing; copy the bundle again")
    try:
        sound = path.stat().st_size == file.size and sha256_of(path) == file.sha256
    except OSError as error:
        raise InputError(f"{shown}: {file.path} cannot be read ({error.strerror})") from error
    if not sound:
        raise InputError(
            f"{shown}: {file.path} is not the file that was packed (SHA-256 differs); "
            "copy the bundle again"
        )
