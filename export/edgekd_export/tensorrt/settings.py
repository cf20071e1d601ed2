"""What an engine build may be told; each option documented where it is declared.

Part of the configuration tree and read on devices, so it loads without torch, onnx or TensorRT.
Precision is not among the options: the typed ONNX file decides it, tensor by tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

WantedBuilder = Literal["auto", "tensorrt", "rtx"]


class TensorRTSettings(BaseModel):
    """How to build a TensorRT engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    builder: WantedBuilder = Field(
        "auto",
        description="tensorrt: builds on the GPU it will run on; rtx: TensorRT for RTX, builds "
        "ahead of time, also without a GPU; auto: the one installed here, and never without a GPU",
    )
    target: str | None = Field(None, description="device profile, see `edgekd targets`")
    workspace_gb: float | None = Field(
        None,
        gt=0,
        description="memory the builder may use for one layer, 2^30 bytes; None: as the target "
        "says, else all the GPU has",
    )
    builder_level: int | None = Field(
        None,
        ge=0,
        le=5,
        description="how long to search for fast kernels, 0 to 5; None: TensorRT's own default, 3",
    )
    timing_cache: Path | None = Field(
        None,
        description="file of measured kernel times, read and updated, so that the next build "
        "is faster; None: none. TensorRT-RTX has none",
    )
    batch_profile: tuple[int, int, int] | None = Field(
        None,
        description="least, best and most images at a time, for an ONNX file with dynamic batch; "
        "None: from 1 up to the batch the target suggests, else only 1",
    )
    dla_core: int | None = Field(
        None, ge=0, description="run on this deep-learning accelerator, the rest on the GPU"
    )
    refit: bool = Field(False, description="let the engine's weights be replaced later")
    strip_weights: bool = Field(
        False, description="leave the weights out; such an engine must be refitted before it runs"
    )

    @field_validator("batch_profile", mode="before")
    @classmethod
    def _three_numbers(cls, given: Any) -> Any:
        numbers = given.split(",") if isinstance(given, str) else given
        if numbers is not None and len(numbers) != 3:
            raise ValueError("write min,opt,max, as 1,4,8")
        return numbers

    @field_validator("batch_profile")
    @classmethod
    def _ordered(cls, profile: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if profile is not None and not 1 <= profile[0] <= profile[1] <= profile[2]:
            raise ValueError("must be 1 ≤ min ≤ opt ≤ max")
        return profile
