"""What packing a bundle may be told."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BundleSettings(BaseModel):
    """How large a bundle may get, and in which form it comes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle_images: int = Field(
        16, ge=1, description="labelled images to take along; fewer than ten allow no verdict"
    )
    bundle_tar: bool = Field(False, description="one reproducible .tar instead of a folder")
