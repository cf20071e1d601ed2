"""Device profiles: what a board or GPU is, so that ``--target`` can choose sensible defaults.

Each profile is one YAML file in ``export/targets``, written by hand from NVIDIA's documents, which
it names. A profile never overrides what the machine itself says: an engine is built for the GPU
that is there, and a profile of another one is refused. Power modes differ by board and release, so
a profile says how to read them and holds no mode ids.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekd_bench.errors import InputError
from edgekd_export.settings import Int8Backend
from edgekd_export.thresholds import Precision

PROFILES = Path(__file__).parent / "device_profiles"


class Software(BaseModel):
    """One release of the system software and what comes with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    jetpack: str = Field(description="or releases, as '6.1, 6.2'")
    tensorrt: str = Field(description="'10.3'")
    python: str = Field(description="that TensorRT's bindings are built for: '3.10'")
    note: str = ""


class Target(BaseModel):
    """One device profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="as in --target")
    title: str = Field(description="as its maker calls it")
    kind: Literal["jetson", "gpu", "cpu"]
    platform: Literal["linux-x86_64", "linux-aarch64"]
    compute_capability: str | None = Field(
        None, pattern=r"^\d+\.\d$", description="of the GPU, '8.7'; None: no NVIDIA GPU"
    )
    memory_gb: float | None = Field(
        None, gt=0, description="that the GPU can use; None: differs within the family"
    )
    dla_cores: int = Field(0, ge=0, description="deep-learning accelerators beside the GPU")
    builders: tuple[Literal["tensorrt", "rtx"], ...] = Field(
        description="what builds engines for it"
    )
    unsupported: str | None = Field(None, description="why no engine can be built for it")
    software: tuple[Software, ...] = Field((), description="JetPack releases, oldest first")
    precision: Precision = Field(description="to start with; measure before choosing another")
    batch: int = Field(1, ge=1, description="images at a time that suit it")
    workspace_gb: float | None = Field(
        None, gt=0, description="memory the builder may use for one layer; None: all there is"
    )
    read_power: tuple[str, ...] = Field(
        (), description="commands that print the power mode, clocks and rails; none changes them"
    )
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = Field(min_length=1, description="URLs the profile rests on")

    @property
    def int8_for(self) -> Int8Backend:
        """The runtime that an int8 file for this device is laid out for, unless another is named.

        On a CPU the one that is there without a further install.
        """
        return "onnxruntime" if self.kind == "cpu" else "tensorrt"

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        if (self.kind == "cpu") != (self.compute_capability is None):
            raise ValueError("a cpu has no compute_capability, every other kind has one")
        if self.kind == "cpu" and (self.builders or self.dla_cores):
            raise ValueError("a cpu has neither builders nor dla_cores")
        if self.kind == "jetson" and not (self.software and self.read_power and self.memory_gb):
            raise ValueError("a jetson needs software, read_power and memory_gb")
        if self.kind != "cpu" and not (self.builders or self.unsupported):
            raise ValueError("without builders it must say why it is unsupported")
        return self


def load_target(name: str) -> Target:
    """The profile called ``name``.

    Raises:
        InputError: no such profile; the nearest names are given.
    """
    names = target_names()
    if name not in names:
        near = [other for other in names if name in other]
        near = near or difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
        raise InputError(
            f"--target {name}: no such device profile; nearest: {', '.join(near)} "
            "(`edgekd targets` lists all)"
        )
    return read_target(PROFILES / f"{name}.yaml")


def target_names() -> list[str]:
    """Names of all packaged profiles, sorted."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_targets() -> list[Target]:
    """All packaged profiles: Jetsons, then GPUs, then CPUs."""
    kinds = ("jetson", "gpu", "cpu")
    targets = [load_target(name) for name in target_names()]
    return sorted(targets, key=lambda target: (kinds.index(target.kind), target.name))


def read_target(path: Path) -> Target:
    """Read and check one profile.

    Raises:
        InputError: not YAML, unknown or wrong fields, or a name other than the file's.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        target = Target.model_validate(content)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "profile"
        raise InputError(f"{path}: {where}: {first['msg']}") from error
    if target.name != path.stem:
        raise InputError(f"{path}: is named '{target.name}' inside; both names must agree")
    return target
