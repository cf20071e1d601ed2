"""The printed command: flags that the tools document, with the values of the build."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from edgekd_export.tensorrt.settings import TensorRTSettings
from edgekd_export.tensorrt.trtexec import trtexec_command

# Parsed by samples/common/sampleOptions.cpp of github.com/NVIDIA/TensorRT, releases 10.3 to 11.
TRTEXEC = {
    "--onnx",
    "--saveEngine",
    "--skipInference",
    "--stronglyTyped",
    "--memPoolSize",
    "--builderOptimizationLevel",
    "--timingCacheFile",
    "--useDLACore",
    "--allowGPUFallback",
    "--refit",
    "--stripWeights",
    "--noTF32",
    "--minShapes",
    "--optShapes",
    "--maxShapes",
}
# Named on docs.nvidia.com/deeplearning/tensorrt-rtx; the tool shares trtexec's parser of options.
TENSORRT_RTX = TRTEXEC - {"--stronglyTyped", "--timingCacheFile", "--useDLACore"}
TENSORRT_RTX |= {"--computeCapabilities"}

EVERYTHING = TensorRTSettings(
    builder_level=4, timing_cache=Path("t.cache"), dla_core=1, refit=True, strip_weights=True
)


def command(settings: TensorRTSettings, **changes: Any) -> list[str]:
    arguments: dict[str, Any] = {
        "builder": "tensorrt",
        "input_shape": (1, 3, 640, 640),
        "batch": (1, 1, 1),
        **changes,
    }
    text = trtexec_command(Path("a b/d.onnx"), Path("d.engine"), settings, **arguments)
    assert "\n" not in text
    return shlex.split(text)


def flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words[1:]}


def test_a_plain_build() -> None:
    assert command(TensorRTSettings()) == [
        "trtexec",
        "--onnx=a b/d.onnx",
        "--saveEngine=d.engine",
        "--skipInference",
        "--stronglyTyped",
    ]


def test_every_option_has_its_flag() -> None:
    words = command(
        EVERYTHING,
        input_shape=(-1, 3, 320, 320),
        batch=(1, 4, 8),
        workspace_gb=1.5,
        exact_fp32=True,
    )
    assert flags(words) == TRTEXEC
    assert "--memPoolSize=workspace:1536M" in words
    assert "--useDLACore=1" in words
    assert "--timingCacheFile=t.cache" in words
    assert [w for w in words if "Shapes" in w] == [
        "--minShapes=images:1x3x320x320",
        "--optShapes=images:4x3x320x320",
        "--maxShapes=images:8x3x320x320",
    ]


def test_the_tool_of_rtx_names_the_gpu_and_has_no_accelerator() -> None:
    words = command(
        EVERYTHING,
        builder="tensorrt-rtx",
        compute_capability="12.0",
        input_shape=(-1, 3, 320, 320),
        workspace_gb=1,
        exact_fp32=True,
    )
    assert words[0] == "tensorrt_rtx"
    assert "--computeCapabilities=120" in words
    assert flags(words) <= TENSORRT_RTX


@pytest.mark.parametrize("precision_flag", ["--fp16", "--int8", "--best"])
def test_no_flag_that_would_change_the_types(precision_flag: str) -> None:
    assert precision_flag not in flags(command(EVERYTHING))
