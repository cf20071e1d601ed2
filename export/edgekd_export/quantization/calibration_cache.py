"""Measured ranges as a file: readable, bound to its network, and enough to export int8 again.

One pass over the images gives the thresholds of every method, so the file holds them all, beside
what ``auto`` found out about them. Tensors are named as in the ONNX graph; a file of another graph
would fit by accident at best and is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd_bench.errors import InputError
from edgekd_export.settings import CalibrationMethod

SUFFIX = ".calibration.json"
METHODS: tuple[CalibrationMethod, ...] = ("minmax", "entropy", "percentile")


class TensorRange(BaseModel):
    """What was measured of one activation; int8 steps are threshold / 127."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    lowest: float
    highest: float
    minmax: float = Field(ge=0, description="threshold: the largest |x|")
    entropy: float = Field(ge=0, description="threshold of least information lost")
    percentile: float = Field(ge=0, description="threshold that a share of |x| stays below")


class MethodChoice(BaseModel):
    """How ``auto`` decided, so that the same question need not be measured twice."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: CalibrationMethod
    judged_by: Literal["map50_95", "raw outputs"]
    scores: dict[CalibrationMethod, float] = Field(
        description="mAP50-95 on held-out images, or the relative error of raw outputs"
    )
    num_images: int
    images_sha256: str = Field(description="of the held-out set; of raw outputs, the cache's own")


class CalibrationCache(BaseModel):
    """The content of a ``.calibration.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: Literal[1] = 1
    graph_sha256: str = Field(description="of the fp32 ONNX graph that was run")
    images_sha256: str = Field(description="over the content hashes of the images, in order")
    source: str
    num_images: int = Field(ge=1)
    image_size: int
    percentile: float
    auto: MethodChoice | None = None
    tensors: dict[str, TensorRange] = Field(min_length=1)

    def thresholds(self, method: CalibrationMethod) -> dict[str, float]:
        """Tensor → largest |x| that int8 represents; a tensor of zeros keeps a usable scale."""
        measured = {name: getattr(found, method) for name, found in self.tensors.items()}
        return {name: limit if limit > 0 else 1.0 for name, limit in measured.items()}

    def extremes(self) -> dict[str, tuple[float, float]]:
        """Tensor → lowest and highest value that was seen."""
        return {name: (found.lowest, found.highest) for name, found in self.tensors.items()}

    def text(self) -> str:
        """The file, tensors in the order of the graph."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def cache_path(artefact: Path) -> Path:
    """``model.int8.onnx`` → ``model.int8.calibration.json``"""
    return artefact.with_name(artefact.stem + SUFFIX)


def read_cache(path: Path) -> CalibrationCache:
    """Read a cache.

    Raises:
        InputError: missing, or not a cache edgekd wrote.
    """
    try:
        return CalibrationCache.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such calibration cache; leave it out to measure") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: not a calibration cache edgekd can read ({where or 'file'}: {first['msg']}); "
            "leave it out to measure again"
        ) from error


def check_cache(
    cache: CalibrationCache, path: Path, *, graph_sha256: str, percentile: float | None
) -> None:
    """Refuse a cache that was measured on another network or by other rules.

    Args:
        cache: the content.
        path: for the message.
        graph_sha256: of the graph it is wanted for.
        percentile: the wanted one, where it matters.

    Raises:
        InputError: names what differs.
    """
    if cache.graph_sha256 != graph_sha256:
        raise InputError(
            f"{path}: holds the ranges of another network (graph {cache.graph_sha256[:12]}, this "
            f"one is {graph_sha256[:12]}); leave it out to measure this one's"
        )
    if percentile is not None and cache.percentile != percentile:
        raise InputError(
            f"{path}: measured for percentile {cache.percentile:g}, not {percentile:g}; "
            "leave it out to measure again"
        )
