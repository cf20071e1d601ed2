"""How many images at a time an engine takes: ONNX file, options and target must agree."""

from __future__ import annotations

from pathlib import Path

from edgekd_bench.errors import InputError
from edgekd_export.targets import Target
from edgekd_export.tensorrt.network import ParsedNetwork
from edgekd_export.tensorrt.plan import BuildPlan
from edgekd_export.tensorrt.settings import TensorRTSettings


def choose_batch(onnx: Path, parsed: ParsedNetwork, plan: BuildPlan) -> tuple[int, int, int]:
    """Least, best and most images per inference.

    Args:
        onnx: for the message.
        parsed: says whether the ONNX file leaves the batch open.
        plan: what was asked for, and which batch suits the target.

    Raises:
        InputError: the file's batch is fixed to another number.
    """
    if not parsed.dynamic_batch:
        fixed = parsed.input_shape[0]
        if plan.settings.batch_profile not in (None, (fixed, fixed, fixed)):
            raise InputError(
                f"{onnx}: was exported for batch {fixed}, so --batch-profile cannot change it; "
                "leave it out, or export with dynamic batch"
            )
        return (fixed, fixed, fixed)
    return open_batch(plan.settings, plan.target)


def open_batch(settings: TensorRTSettings, target: Target | None) -> tuple[int, int, int]:
    """Least, best and most images where the ONNX file leaves the batch open."""
    if settings.batch_profile is not None:
        return settings.batch_profile
    suited = target.batch if target else 1
    least = 1 if settings.dla_core is None else suited  # an accelerator takes one batch size
    return (least, suited, suited)
