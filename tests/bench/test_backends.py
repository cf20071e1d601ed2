"""Which backend runs what, where, and which of them a benchmark takes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd_bench import backends
from edgekd_bench.backends import BACKENDS, Device, choose_backend, choose_backends
from edgekd_bench.errors import InputError

ONNX, PT, ENGINE = Path("m.onnx"), Path("m.pt"), Path("m.engine")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is installed, to be changed by a test."""
    modules: set[str] = {"onnxruntime"}
    monkeypatch.setattr(backends, "_has", lambda module: module in modules)
    return modules


@pytest.mark.parametrize(
    ("path", "device", "expected"),
    [
        (ONNX, "cpu", "onnxruntime"),
        (ONNX, "cuda", "onnxruntime"),
        (ONNX, "intel-gpu", "openvino"),
        (PT, "cuda", "pytorch"),
        (ENGINE, "cuda", "tensorrt"),
        (Path("M.ONNX"), "cpu", "onnxruntime"),
    ],
)
def test_the_usual_backend(path: Path, device: Device, expected: str) -> None:
    assert choose_backend(path, None, device) == expected


@pytest.mark.parametrize(
    ("path", "backend", "device", "reason"),
    [
        (ENGINE, None, "cpu", "tensorrt runs on cuda, not on cpu"),
        (ONNX, "openvino", "cuda", "openvino runs on cpu or intel-gpu, not on cuda"),
        (ONNX, "onnxruntime-tensorrt", "cpu", "runs on cuda, not on cpu"),
        (PT, "onnxruntime", "cpu", "runs on pytorch, not on onnxruntime"),
        (PT, None, "intel-gpu", "pytorch runs on cpu or cuda, not on intel-gpu"),
        (Path("m.tflite"), None, "cpu", r"no backend runs '\.tflite' files"),
    ],
)
def test_hopeless_combinations_are_refused(
    path: Path, backend: str | None, device: Device, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        choose_backend(path, backend, device)


def test_a_benchmark_takes_every_backend_the_machine_has(installed: set[str]) -> None:
    assert choose_backends([], [ONNX], "cpu") == ("onnxruntime",)
    installed.add("openvino")
    assert choose_backends([], [ONNX], "cpu") == ("onnxruntime", "openvino")
    assert choose_backends([], [ONNX], "cuda") == ("onnxruntime",)
    assert choose_backends([], [ONNX, ONNX, ENGINE], "cuda") == ("onnxruntime", "tensorrt")


def test_a_missing_library_is_not_a_reason_to_leave_a_file_out(installed: set[str]) -> None:
    installed.clear()
    assert choose_backends([], [PT, ONNX], "cpu") == ("pytorch", "onnxruntime")


def test_named_backends_are_taken_as_they_are() -> None:
    assert choose_backends(["pytorch", "openvino"], [ONNX], "cpu") == ("openvino", "pytorch")
    with pytest.raises(InputError, match=r"--backend tpu: there is none; give onnxruntime or"):
        choose_backends(["tpu"], [ONNX], "cpu")
    assert set(BACKENDS) == {b for found in backends.BACKENDS_OF_SUFFIX.values() for b in found}
