"""The settings of TensorRT's builder for one plan.

Only what was asked for, or what the target or precision needs, is set; everything else stays
TensorRT's default.
"""

from __future__ import annotations

from typing import Any

from edgekd_bench.errors import InputError
from edgekd_export.tensorrt.network import ParsedNetwork
from edgekd_export.tensorrt.plan import BuildPlan

_GIB = 1 << 30


def make_config(plan: BuildPlan, parsed: ParsedNetwork, batch: tuple[int, int, int]) -> Any:
    """A builder configuration for a plan.

    Args:
        plan: what is to be built.
        parsed: the network it is for.
        batch: least, best and most images at a time.

    Raises:
        InputError: the machine lacks the accelerator, or the library the GPU, that was asked for.
    """
    trt, settings = plan.api.module, plan.settings
    config = parsed.builder.create_builder_config()
    if plan.workspace_gb is not None:
        limit = int(plan.workspace_gb * _GIB)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
    if settings.builder_level is not None:
        config.builder_optimization_level = settings.builder_level
    if settings.refit:
        config.set_flag(trt.BuilderFlag.REFIT)
    if settings.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if plan.exact_fp32:
        # On by default since Ampere: products of fp32 numbers rounded to ten bits first.
        config.clear_flag(trt.BuilderFlag.TF32)
    _choose_gpu(plan, config)
    _choose_dla(plan, parsed.builder, config)
    if parsed.dynamic_batch:
        _add_profile(parsed, config, batch)
    return config


def _choose_gpu(plan: BuildPlan, config: Any) -> None:
    """Name the GPU to build for, where that is possible; else it is the one that is here."""
    if not plan.api.builds_without_gpu or plan.compute_capability is None:
        return
    name = "SM" + plan.compute_capability.replace(".", "")
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(plan.api.module.ComputeCapability, name), 0):
        raise InputError(
            f"{plan.api.title} does not build for SM {plan.compute_capability} here; "
            "leave --target out, or pack a `--bundle` and build on the device"
        )


def _choose_dla(plan: BuildPlan, builder: Any, config: Any) -> None:
    core = plan.settings.dla_core
    if core is None:
        return
    if core >= builder.num_DLA_cores:
        raise InputError(
            f"--dla {core}: {plan.api.title} finds {builder.num_DLA_cores} deep-learning "
            "accelerators here; leave it out to build for the GPU"
        )
    trt = plan.api.module
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)  # box decoding does not run on a DLA


def _add_profile(parsed: ParsedNetwork, config: Any, batch: tuple[int, int, int]) -> None:
    profile = parsed.builder.create_optimization_profile()
    shapes = [(images, *parsed.input_shape[1:]) for images in batch]  # (B, 3, S, S) each
    profile.set_shape(parsed.input_name, *shapes)
    config.add_optimization_profile(profile)
