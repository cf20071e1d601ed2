"""The same build as a command of NVIDIA's own tool, for those who trust nothing else.

Flags are those that `trtexec` lists from 10.3 on (samples/common/sampleOptions.cpp of
github.com/NVIDIA/TensorRT) and `tensorrt_rtx` documents
(docs.nvidia.com/deeplearning/tensorrt-rtx). On a Jetson the tool lies in /usr/src/tensorrt/bin.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from edgekd_bench.engine_fit import EngineBuilder
from edgekd_export.tensorrt.settings import TensorRTSettings

INPUT_NAME = "images"


def trtexec_command(
    onnx: Path,
    engine: Path,
    settings: TensorRTSettings,
    *,
    builder: EngineBuilder,
    input_shape: tuple[int, int, int, int],
    batch: tuple[int, int, int],
    workspace_gb: float | None = None,
    compute_capability: str | None = None,
    exact_fp32: bool = False,
    input_name: str = INPUT_NAME,
) -> str:
    """A shell command that builds the same engine.

    Args:
        onnx: what to build from.
        engine: what to write.
        settings: flags, level, cache, accelerator.
        builder: whose tool.
        input_shape: (B, 3, S, S); B is -1 where it is dynamic, and only then ``batch`` is told.
        batch: least, best and most images at a time.
        workspace_gb: limit for one layer, 2^30 bytes; None: the tool's own.
        compute_capability: '8.9', to build for a GPU that is not here; TensorRT-RTX only.
        exact_fp32: no TF32.
        input_name: of the ONNX file's input.
    """
    native = builder == "tensorrt"
    words = ["trtexec" if native else "tensorrt_rtx", f"--onnx={onnx}", f"--saveEngine={engine}"]
    words.append("--skipInference")
    if native:
        words.append("--stronglyTyped")
    elif compute_capability is not None:
        words.append(f"--computeCapabilities={compute_capability.replace('.', '')}")
    if workspace_gb is not None:
        words.append(f"--memPoolSize=workspace:{workspace_gb * 1024:.0f}M")
    if settings.builder_level is not None:
        words.append(f"--builderOptimizationLevel={settings.builder_level}")
    if native and settings.timing_cache is not None:
        words.append(f"--timingCacheFile={settings.timing_cache}")
    if native and settings.dla_core is not None:
        words += [f"--useDLACore={settings.dla_core}", "--allowGPUFallback"]
    if settings.refit:
        words.append("--refit")
    if settings.strip_weights:
        words.append("--stripWeights")
    if exact_fp32:
        words.append("--noTF32")
    if input_shape[0] == -1:
        words += _shapes(input_name, input_shape, batch)
    return shlex.join(words)


def _shapes(name: str, shape: tuple[int, int, int, int], batch: tuple[int, int, int]) -> list[str]:
    image = "x".join(str(size) for size in shape[1:])
    ends = zip(("min", "opt", "max"), batch, strict=True)
    return [f"--{end}Shapes={name}:{images}x{image}" for end, images in ends]
