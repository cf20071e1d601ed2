"""What ONNX Runtime does on a GPU, as far as it can be seen without one: bound memory, placement.

The bound session is the GPU's, with its memory on the CPU; the profiles are written by the real
ONNX Runtime, or are as it writes them for a network that it divided.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from bench.conftest import SIDE, TinyModels

from edgekd_bench import onnxruntime_runner
from edgekd_bench.errors import InputError
from edgekd_bench.onnxruntime_binding import DeviceBoundSession, HostBoundSession
from edgekd_bench.onnxruntime_placement import name_some, nodes_on, nodes_on_cpu, read_profile
from edgekd_bench.runner import RunnerOptions, open_runner

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


def _session(path: Path, **options: object) -> ort.InferenceSession:
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = 1
    for name, value in options.items():
        setattr(session_options, name, value)
    return ort.InferenceSession(str(path), session_options, providers=[CPU])


def _batches() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((1, 3, SIDE, SIDE), np.float32) for _ in range(2)]


def test_bound_memory_gives_what_a_plain_run_gives(tiny_models: TinyModels) -> None:
    session = _session(tiny_models.onnx)
    first, second = _batches()
    expected = [session.run(None, {"images": batch})[0] for batch in (first, second)]
    shape = expected[0].shape
    on_device = DeviceBoundSession(
        session, first.shape, np.float32, shape, np.float32, device="cpu"
    )
    for bound in (on_device, HostBoundSession(session, shape, np.float32)):
        kept = bound.run(first)
        np.testing.assert_array_equal(bound.run(second).output, expected[1])
        np.testing.assert_array_equal(kept.output, expected[0])  # not overwritten by the second
        assert kept.device_ms is not None and kept.device_ms > 0


def test_the_profile_of_a_cpu_session_names_its_layers(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    session = _session(
        tiny_models.onnx, enable_profiling=True, profile_file_prefix=str(tmp_path / "p")
    )
    session.run(None, {"images": _batches()[0]})
    events = read_profile(Path(session.end_profiling()))
    strays = nodes_on_cpu(events)
    assert sum("conv" in name.lower() for name in strays) > 50
    assert name_some(strays).endswith("more") and name_some(strays).count(",") == 2


def _node(name: str, provider: str, *outputs: dict[str, list[int]]) -> dict[str, object]:
    arguments = {"provider": provider, "op_name": name, "output_type_shape": list(outputs)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": arguments}


def test_shape_arithmetic_on_the_cpu_is_no_fall_back() -> None:
    harmless = [
        _node("Conv", CUDA, {"float": [1, 16, 32, 32]}),
        _node("Shape", CPU, {"int64": [4]}),
        _node("Gather", CPU, {"int64": []}),
        _node("Equal", CPU, {"bool": [1]}),
        {"cat": "Session", "name": "model_run", "args": {}},
    ]
    assert nodes_on_cpu(harmless) == []
    strays = [
        _node("Resize", CPU, {"float": [1, 16, 64, 64]}),
        _node("TopK", CPU, {"float": [1, 300]}, {"int64": [1, 300]}),
        _node("NonZero", CPU, {"int64": [3, 2100]}),
        _node("Mul", CPU),
    ]
    assert nodes_on_cpu(harmless + strays) == ["Resize", "TopK", "NonZero", "Mul"]
    assert nodes_on(harmless, CUDA) == ["Conv"]


class _Profiled:
    """A session whose profile was written beforehand."""

    def __init__(self, path: Path, events: list[dict[str, object]]) -> None:
        import json

        path.write_text(json.dumps(events))
        self._path = path

    def end_profiling(self) -> str:
        return str(self._path)


def test_a_network_that_runs_only_in_part_on_the_gpu_is_refused(tmp_path: Path) -> None:
    mixed = [
        _node("TRTKernel_graph", TENSORRT, {"float": [1, 84, 2100]}),
        _node("TopK", CUDA, {"float": [1, 300]}),
    ]
    check = onnxruntime_runner._check_placement
    session = _Profiled(tmp_path / "p.json", mixed)
    (note,) = check(Path("m.onnx"), session, "onnxruntime-tensorrt")
    assert "1 nodes ran on CUDAExecutionProvider, not on TensorRT: TopK" in note
    assert check(Path("m.onnx"), session, "onnxruntime") == []
    session = _Profiled(tmp_path / "q.json", [*mixed, _node("Resize", CPU, {"float": [9, 9, 9]})])
    with pytest.raises(InputError, match=r"m\.onnx: 1 nodes fell back to the CPU \(Resize\)"):
        check(Path("m.onnx"), session, "onnxruntime")


def test_a_provider_that_silently_does_not_load_is_an_error(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime lists the provider, cannot load its libraries, and goes on with the CPU."""
    if CUDA in ort.get_available_providers():
        pytest.skip("this machine has the provider")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    real = ort.InferenceSession

    def fall_back(path: str, options: object, providers: list[object]) -> ort.InferenceSession:
        assert providers[0] == (CUDA, {})
        return real(path, options, providers=[CPU])

    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(InputError, match=r"asked for CUDAExecutionProvider but .* fell back to"):
        open_runner(tiny_models.onnx, options=RunnerOptions(device="cuda"))


def test_tensorrt_may_use_the_files_precision_and_no_engine_of_another_run(tmp_path: Path) -> None:
    from bench.conftest import manifest

    options = onnxruntime_runner._tensorrt_options
    plain = options(manifest(precision="fp16"), RunnerOptions())
    assert plain == {"trt_fp16_enable": "True", "trt_int8_enable": "False"}
    cached = options(manifest(precision="int8"), RunnerOptions(build_cache=tmp_path))
    assert cached["trt_int8_enable"] == "True" and cached["trt_engine_cache_path"] == str(tmp_path)
    assert "trt_engine_cache_enable" not in plain


def test_many_images_go_through_streams_and_come_back_in_order(tiny_models: TinyModels) -> None:
    with open_runner(tiny_models.onnx, options=RunnerOptions(threads=3)) as runner:
        given = _batches() * 4
        expected = [runner.forward(batch) for batch in given]
        found = runner.forward_all(given)
        assert runner.in_flight == 3
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
        assert not np.allclose(found[0], found[1])
