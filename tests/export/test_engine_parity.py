"""The gate for engines, with a GPU that is played by ONNX Runtime on the CPU."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from export.conftest import NAMES, SIDE, Checkpoints
from export.tensorrt_fakes.fake_tensorrt import Behaviour, FakeTensorRT

from edgekd_bench import runner as runners
from edgekd_bench.cuda_driver import CudaGpu
from edgekd_bench.engine_fit import read_engine_manifest
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import manifest_path, read_manifest
from edgekd_bench.runner import Float32Array, Runner, RunnerInfo, RunnerOptions
from edgekd_export import ExportSettings, engine_export, run
from edgekd_export.tensorrt import EngineResult

FEW = ExportSettings(num_parity_images=2, simplify=False)


class PlayedEngine(Runner):
    """An "engine" that computes what an ONNX file computes, more or less."""

    def __init__(self, onnx: Path, spoil: Callable[[Float32Array], Float32Array]) -> None:
        self._inner, self._spoil = runners.open_runner(onnx), spoil

    @property
    def info(self) -> RunnerInfo:
        return replace(self._inner.info, backend="tensorrt")

    def forward(self, batch: Float32Array) -> Float32Array:
        return self._spoil(self._inner.forward(batch))

    def close(self) -> None:
        self._inner.close()


class Gpu:
    """A machine whose engines are played."""

    def __init__(self, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.onnx = onnx
        self.spoil: Callable[[Float32Array], Float32Array] = lambda output: output
        self.refusal = ""
        self.opened: list[Path] = []
        anchors = sum((SIDE // stride) ** 2 for stride in (8, 16, 32))
        told = Behaviour(output_shape=(1, 4 + len(NAMES), anchors))
        monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT("10_3", told))
        monkeypatch.setattr("edgekd_export.tensorrt.build_log._loggers", {})
        gpu = CudaGpu("Orin", "8.7", 8.0)
        monkeypatch.setattr("edgekd_export.tensorrt.plan.find_gpu", lambda: gpu)
        monkeypatch.setattr("edgekd_export.engine_parity.open_runner", self.open)

    def open(
        self, path: Path, backend: str | None = None, options: RunnerOptions | None = None
    ) -> Runner:
        if path.suffix != ".engine":
            return runners.open_runner(path, backend, options)
        assert options is not None
        assert options.device == "cuda"
        read_engine_manifest(path)  # as the real runner does
        self.opened.append(path)
        if self.refusal:
            raise InputError(f"{path.name}: {self.refusal}")
        return PlayedEngine(self.onnx, self.spoil)


@pytest.fixture(scope="module")
def exported(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "detector.onnx"
    return run(checkpoints.yolo11n, out=out, settings=FEW).onnx


@pytest.fixture
def onnx(exported: Path, tmp_path: Path) -> Path:
    for file in (exported, manifest_path(exported)):
        shutil.copy(file, tmp_path)
    return tmp_path / exported.name


@pytest.fixture
def gpu(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(onnx, monkeypatch)


def build(source: Path, gpu: Gpu) -> EngineResult:
    return engine_export.run(source, out=gpu.onnx.parent / "out", settings=FEW)


def swap_classes(output: Float32Array) -> Float32Array:
    spoilt = output.copy()
    spoilt[:, [4, 5]] = output[:, [5, 4]]
    return spoilt


def test_an_engine_is_held_against_pytorch(checkpoints: Checkpoints, gpu: Gpu) -> None:
    result = build(checkpoints.yolo11n, gpu)
    assert result.parity is not None
    assert result.manifest.parity == "pass"
    assert result.manifest.parity_figures == result.parity.figures
    assert read_manifest(result.engine) == result.manifest
    assert len(gpu.opened) == 1


def test_without_weights_it_is_held_against_the_onnx_file(gpu: Gpu) -> None:
    result = build(gpu.onnx, gpu)
    assert result.manifest.parity == "pass"
    gpu.spoil = swap_classes
    with pytest.raises(GateError, match="parity fail"):
        build(gpu.onnx, gpu)


def test_a_wrong_engine_is_kept_for_inspection_only(gpu: Gpu) -> None:
    good = build(gpu.onnx, gpu)
    before = {path.name: path.read_bytes() for path in good.engine.parent.iterdir()}
    gpu.spoil = swap_classes
    with pytest.raises(GateError, match=r"kept as .*parity-failed\.engine") as caught:
        build(gpu.onnx, gpu)
    assert "\n" not in str(caught.value)
    failed = good.engine.with_name("detector.fp32.parity-failed.engine")
    assert read_engine_manifest(failed).parity == "fail"
    after = {path.name: path.read_bytes() for path in good.engine.parent.iterdir()}
    assert set(after) == {*before, failed.name, f"{failed.name}.json"}
    assert all(after[name] == content for name, content in before.items())


def test_an_engine_that_does_not_open_is_not_judged(gpu: Gpu) -> None:
    gpu.refusal = "running an engine needs pycuda"
    result = build(gpu.onnx, gpu)
    assert result.manifest.parity == "n/a"
    (note,) = result.notes
    assert "could not be run" in note
    assert "needs pycuda" in note


def test_bad_images_are_refused_before_the_build(gpu: Gpu) -> None:
    with pytest.raises(InputError):
        engine_export.run(
            gpu.onnx, out=gpu.onnx.parent / "out", data=gpu.onnx.parent / "none", settings=FEW
        )
    assert not (gpu.onnx.parent / "out").exists()
    assert not gpu.opened
