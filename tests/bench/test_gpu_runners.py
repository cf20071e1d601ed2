"""The same runners on a real GPU: right numbers, and a device clock inside the host's.

Skipped, with the reason, on a machine without one; `test_tensorrt_runner` and
`test_onnxruntime_devices` prove there what can be proven without.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.conftest import SIDE, TinyModels, manifest

from edgekd_bench.backends import Backend
from edgekd_bench.cuda_driver import find_gpu
from edgekd_bench.engine_fit import platform_tag
from edgekd_bench.manifest import EngineBuild, write_manifest
from edgekd_bench.runner import RunnerOptions, open_runner

GPU = find_gpu()
pytestmark = pytest.mark.skipif(GPU is None, reason="needs an NVIDIA GPU")
ON_GPU = RunnerOptions(device="cuda")


def _check(path: Path, backend: Backend, reference: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.random((1, 3, SIDE, SIDE), np.float32) for _ in range(2))
    with open_runner(reference) as on_cpu:
        expected = [on_cpu.forward(batch) for batch in (first, second)]
    with open_runner(path, backend, ON_GPU) as runner:
        for _ in range(20):
            runner.forward(first)
        start = time.perf_counter()
        timed = runner.forward_timed(first)
        host_ms = (time.perf_counter() - start) * 1e3
        found = runner.forward_all([first, second])
        assert timed.device_ms is not None and 0 < timed.device_ms < host_ms
        assert runner.info.device != "cpu"
    for ours, theirs in zip([timed.output, *found], [expected[0], *expected], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=0.5)


def test_pytorch(tiny_models: TinyModels) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    _check(tiny_models.pt, "pytorch", tiny_models.onnx)


@pytest.mark.parametrize(
    ("backend", "provider"),
    [
        ("onnxruntime", "CUDAExecutionProvider"),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider"),
    ],
)
def test_onnx_runtime(tiny_models: TinyModels, backend: Backend, provider: str) -> None:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}")
    _check(tiny_models.onnx, backend, tiny_models.onnx)


@pytest.mark.parametrize("builder", ["tensorrt", "tensorrt-rtx"])
def test_tensorrt(tiny_models: TinyModels, tmp_path: Path, builder: str) -> None:
    trt = pytest.importorskip(builder.replace("-", "_"))
    pytest.importorskip("pycuda")
    engine = tmp_path / "tiny.engine"
    engine.write_bytes(_build(trt, tiny_models.onnx))
    assert GPU is not None
    build = EngineBuild.model_validate(
        {
            "builder": builder,
            "version": trt.__version__,
            "platform": platform_tag(),
            "compute_capability": GPU.compute_capability,
            "batch": (1, 1, 1),
        }
    )
    write_manifest(engine, manifest(kind="engine", engine=build))
    _check(engine, "tensorrt", tiny_models.onnx)


def _build(trt: Any, onnx: Path) -> bytes:
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    flags = trt.NetworkDefinitionCreationFlag
    typed = 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(onnx.read_bytes()), parser.get_error(0)
    return bytes(builder.build_serialized_network(network, builder.create_builder_config()))
