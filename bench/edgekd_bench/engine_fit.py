"""Whether a TensorRT engine can run on this machine, decided before it is loaded.

An engine is bound to the TensorRT that built it, to a compute capability and to a platform, but
its file says none of this readably; TensorRT itself answers a wrong one with a serialisation error
or, if its weights were stripped, with zeros. So the manifest beside the engine decides, and a
refusal names both sides. A runner calls, in this order::

    manifest = read_engine_manifest(path)
    machine = this_machine(manifest.engine.builder, trt.__version__)  # None: cannot be imported
    check_engine_fits(path, manifest, machine)

This module imports neither TensorRT nor CUDA: whoever calls it says which TensorRT it has.

Rules, from NVIDIA's pages on engine compatibility (docs.nvidia.com/deeplearning/tensorrt and
/tensorrt-rtx): all numbers of the version must agree; TensorRT engines run on the compute
capability and platform they were built on; TensorRT-RTX engines run on the capability they were
built for, or, where none was named, on 8.6 and later, under Linux and Windows alike.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekd_bench.cuda_driver import find_gpu
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import EngineBuild, Manifest, manifest_path, read_manifest

EngineBuilder = Literal["tensorrt", "tensorrt-rtx"]
# The Python module of each: it builds engines, and runs those that it built.
ENGINE_MODULES: dict[EngineBuilder, str] = {
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
PRODUCT_NAMES: dict[EngineBuilder, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
PORTABLE_RTX_SINCE = (8, 6)
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class MachineGpu:
    """What a machine offers to an engine."""

    builder: EngineBuilder  # which of NVIDIA's two libraries the version is of
    version: str | None  # as the library reports it; None: it cannot be imported
    compute_capability: str | None  # "8.9"; None: no GPU
    platform: str  # "linux-x86_64"
    device: str | None = None  # the GPU's name

    def __str__(self) -> str:
        product = PRODUCT_NAMES[self.builder]
        library = f"{product} {self.version}" if self.version else f"no {product}"
        gpu = f"SM {self.compute_capability}" if self.compute_capability else "no NVIDIA GPU"
        return f"{library}, {gpu} ({self.platform})"


def this_machine(builder: EngineBuilder, version: str | None) -> MachineGpu:
    """Describe the machine this runs on.

    Args:
        builder: which library the engine needs.
        version: that library's ``__version__`` here; None: it cannot be imported.
    """
    gpu = find_gpu()
    return MachineGpu(
        builder=builder,
        version=version,
        compute_capability=gpu.compute_capability if gpu else None,
        platform=platform_tag(),
        device=gpu.name if gpu else None,
    )


def platform_tag() -> str:
    """Operating system and processor: 'linux-x86_64', 'linux-aarch64', 'windows-x86_64', …"""
    system = "windows" if sys.platform == "win32" else sys.platform
    machine = platform.machine().lower()
    return f"{system}-{_ARCHITECTURES.get(machine, machine)}"


def read_engine_manifest(path: Path) -> Manifest:
    """The manifest beside an engine, without which nothing is known about it.

    Raises:
        InputError: no engine, no manifest, one of other bytes, or one that is not of an engine.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such engine; check the path")
    manifest = read_manifest(path)
    if manifest is None:
        raise InputError(
            f"{path}: has no manifest {manifest_path(path).name} beside it, and the engine itself "
            "does not say what it is; copy both, or build it with `edgekd export --trt`"
        )
    if manifest.kind != "engine" or manifest.engine is None:
        raise InputError(
            f"{path}: its manifest describes a file of kind '{manifest.kind}'; "
            "build the engine again with `edgekd export --trt`"
        )
    return manifest


def check_engine_fits(path: Path, manifest: Manifest, machine: MachineGpu) -> None:
    """Refuse an engine that cannot run, or would run wrongly, on a machine.

    Args:
        path: the engine, for the message.
        manifest: as `read_engine_manifest` gives it.
        machine: as `this_machine` gives it, for the builder the manifest names.

    Raises:
        InputError: one line that names both sides.
    """
    build = manifest.engine
    assert build is not None, "read_engine_manifest refuses manifests without a build"
    if build.options.get("strip_weights"):
        raise InputError(
            f"{path}: was built without weights and would answer zeros; refit it from its ONNX "
            "with TensorRT's OnnxParserRefitter, or build it without --strip-weights"
        )
    if not _fits(build, machine):
        remedy = "build it again here with `edgekd export --trt`"
        if machine.compute_capability is None:
            remedy = "run it on the device, or the ONNX file here"
        raise InputError(
            f"{path}: engine built by {_describe(build)}; this machine has {machine}; {remedy}"
        )


def _describe(build: EngineBuild) -> str:
    target = f"SM {build.compute_capability}" if build.compute_capability else "SM 8.6 and later"
    return f"{PRODUCT_NAMES[build.builder]} {build.version} for {target} ({build.platform})"


def _fits(build: EngineBuild, machine: MachineGpu) -> bool:
    if machine.builder != build.builder or machine.version is None:
        return False
    return (
        same_version(build.version, machine.version)
        and _gpu_fits(build, machine.compute_capability)
        and _platform_fits(build, machine.platform)
    )


def _gpu_fits(build: EngineBuild, compute_capability: str | None) -> bool:
    if compute_capability is None:
        return False
    if build.compute_capability is None:
        major, minor = compute_capability.split(".")
        return build.builder == "tensorrt-rtx" and (int(major), int(minor)) >= PORTABLE_RTX_SINCE
    return build.compute_capability == compute_capability


def _platform_fits(build: EngineBuild, here: str) -> bool:
    if build.builder == "tensorrt-rtx":  # the same engine loads under Linux and Windows
        return build.platform.partition("-")[2] == here.partition("-")[2]
    return build.platform == here


def same_version(first: str, second: str) -> bool:
    """Whether two TensorRT versions agree in every number that both give.

    JetPack's bindings say 10.3.0 where a wheel of the same library says 10.3.0.26.
    """
    pairs = zip(first.split("."), second.split("."), strict=False)
    return all(one == other for one, other in pairs)
