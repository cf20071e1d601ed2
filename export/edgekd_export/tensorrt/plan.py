"""What will be built, by what, and for which GPU: settled before anything slow begins.

The answer depends on what was asked for, on the device profile and on the machine, and these may
contradict each other. Every contradiction is found here, so that nobody waits for an export or a
build that was never going to work.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd_bench.cuda_driver import CudaGpu, find_gpu
from edgekd_bench.engine_fit import EngineBuilder, platform_tag
from edgekd_bench.errors import InputError
from edgekd_export.targets import Target, load_target
from edgekd_export.tensorrt.api import TensorRTApi, is_importable, load_api
from edgekd_export.tensorrt.settings import TensorRTSettings, WantedBuilder
from edgekd_export.thresholds import Precision


class NoGpuError(InputError):
    """TensorRT builds for the GPU that is there, and there is none."""

    def __init__(self, target: Target | None) -> None:
        super().__init__(
            "--trt: there is no NVIDIA GPU here for TensorRT to build on; build ahead of time with "
            "`--builder rtx`, or pack a `--bundle` and build on the device"
        )
        self.target = target


@dataclass(frozen=True)
class BuildPlan:
    """A build that nothing speaks against yet."""

    api: TensorRTApi
    settings: TensorRTSettings
    precision: Precision
    target: Target | None
    gpu: CudaGpu | None  # of this machine
    compute_capability: str | None  # to build for; None: TensorRT-RTX's portable default

    @property
    def workspace_gb(self) -> float | None:
        """Limit for one layer, 2^30 bytes; None: what the GPU has."""
        return workspace_limit(self.settings, self.target)

    @property
    def exact_fp32(self) -> bool:
        """Whether fp32 must mean fp32, not TF32."""
        return self.precision == "fp32"

    @property
    def runs_here(self) -> bool:
        """Whether this machine's GPU is one that the engine is for."""
        if self.gpu is None:
            return False
        return self.compute_capability in (None, self.gpu.compute_capability)


def plan_build(settings: TensorRTSettings, precision: Precision) -> BuildPlan:
    """Decide how to build an engine of a precision on this machine.

    Raises:
        InputError: no GPU, no TensorRT, or settings, target and machine that contradict each other.
    """
    gpu = find_gpu()
    target = load_target(settings.target) if settings.target else None
    if target is not None:
        _check_target(target, settings.builder)
    if gpu is None and settings.builder != "rtx":
        raise NoGpuError(target)
    api = load_api(_choose_builder(settings.builder, target))
    _check_dla(settings, precision, target, api)
    if api.builds_without_gpu:
        capability = _check_ahead_of_time(api, settings, target, gpu)
    else:
        assert gpu is not None, "a native build without a GPU is refused above"
        capability = _check_native(gpu, target)
    return BuildPlan(api, settings, precision, target, gpu, capability)


def _check_target(target: Target, builder: WantedBuilder) -> None:
    if target.unsupported:
        raise InputError(f"--target {target.name}: {target.unsupported}")
    if not target.builders:
        raise InputError(
            f"--target {target.name}: has no NVIDIA GPU, so there is no engine for it; "
            "leave --trt out and run the ONNX file"
        )
    if builder != "auto" and builder not in target.builders:
        raise InputError(
            f"--target {target.name}: engines for it are built by {' or '.join(target.builders)}, "
            f"not by {builder}; pack a `--bundle` and build on the device"
        )


def workspace_limit(settings: TensorRTSettings, target: Target | None) -> float | None:
    """Limit for one layer, 2^30 bytes: as asked for, else as suits the target; None: no limit."""
    if settings.workspace_gb is not None or target is None:
        return settings.workspace_gb
    return target.workspace_gb


def _choose_builder(wanted: WantedBuilder, target: Target | None) -> EngineBuilder:
    """`auto` prefers TensorRT proper, which times its kernels on the GPU that is here."""
    if wanted == "rtx":
        return "tensorrt-rtx"
    rtx_allowed = target is None or "rtx" in target.builders
    if wanted == "auto" and not is_importable("tensorrt") and rtx_allowed:
        return "tensorrt-rtx" if is_importable("tensorrt-rtx") else "tensorrt"
    return "tensorrt"


def _check_dla(
    settings: TensorRTSettings, precision: Precision, target: Target | None, api: TensorRTApi
) -> None:
    core = settings.dla_core
    if core is None:
        return
    if api.builder == "tensorrt-rtx":
        raise InputError(f"--dla {core}: TensorRT-RTX builds for GPUs only; use --builder tensorrt")
    if target is not None and core >= target.dla_cores:
        raise InputError(
            f"--dla {core}: {target.title} has {target.dla_cores} deep-learning accelerators; "
            "leave it out to build for the GPU"
        )
    if precision == "fp32":
        raise InputError(
            f"--dla {core}: a deep-learning accelerator computes in fp16 and int8 only; "
            "add --precision fp16 or int8"
        )
    if settings.batch_profile is not None and len(set(settings.batch_profile)) > 1:
        raise InputError(
            f"--dla {core}: a deep-learning accelerator takes one batch size; "
            "make the three numbers of --batch-profile equal"
        )


def _check_ahead_of_time(
    api: TensorRTApi, settings: TensorRTSettings, target: Target | None, gpu: CudaGpu | None
) -> str | None:
    """The compute capability TensorRT-RTX is to build for; None: its portable default."""
    if gpu is None and (settings.refit or settings.strip_weights):
        option = "--strip-weights" if settings.strip_weights else "--refit"
        raise InputError(
            f"{option}: {api.title} makes such engines only on a machine with a GPU; leave it out, "
            "or pack a `--bundle` and build on the device"
        )
    capability = target.compute_capability if target else gpu.compute_capability if gpu else None
    known = api.compute_capabilities
    if capability is not None and capability not in known:
        where = f"--target {target.name}" if target else f"the GPU here ({gpu.name if gpu else ''})"
        raise InputError(
            f"{where} is SM {capability}, and {api.title} builds for SM {', '.join(known)} only; "
            "pack a `--bundle` and build on the device with TensorRT"
        )
    return capability


def _check_native(gpu: CudaGpu, target: Target | None) -> str:
    """The compute capability of the GPU that is here, which the target must share."""
    here = platform_tag()
    if target is not None and (target.compute_capability, target.platform) != (
        gpu.compute_capability,
        here,
    ):
        raise InputError(
            f"--target {target.name} is SM {target.compute_capability} ({target.platform}), and "
            f"TensorRT builds for the GPU that is here, {gpu.name}, SM {gpu.compute_capability} "
            f"({here}); pack a `--bundle` and build on the device"
        )
    return gpu.compute_capability
