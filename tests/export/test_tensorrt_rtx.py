"""Real engines from a real builder: TensorRT for RTX builds without a GPU.

It proves that the typed ONNX files parse and build under TensorRT's own rules for types and Q/DQ.
It proves nothing about a Jetson's kernels, and nothing here runs an engine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from export.conftest import Checkpoints
from export.tensorrt_fakes.tiny_onnx import write_tiny_detector
from rich.console import Console

from edgekd_bench.engine_fit import MachineGpu, check_engine_fits, read_engine_manifest
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_manifest
from edgekd_export import ExportSettings, engine_export
from edgekd_export.tensorrt import EngineResult, TensorRTSettings, build_engine, read_onnx_source

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: edgekd[rtx]")

NO_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "ultralytics", "torchvision"}:
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Block())
from edgekd.cli import main
main()
"""


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a machine that has one."""
    monkeypatch.setattr("edgekd_export.tensorrt.plan.find_gpu", lambda: None)


def rtx(onnx: Path, out: Path, **options: Any) -> EngineResult:
    settings = TensorRTSettings(builder="rtx", **options)
    return build_engine(onnx, read_onnx_source(onnx), settings, out)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_detector(tmp_path / "tiny.onnx")


def test_a_target_names_the_gpu_and_no_target_means_any(tiny: Path, tmp_path: Path) -> None:
    ada = rtx(tiny, tmp_path / "ada", target="rtx40").manifest
    anything = rtx(tiny, tmp_path / "any").manifest
    assert ada.engine is not None and anything.engine is not None
    assert (ada.engine.compute_capability, ada.target) == ("8.9", "rtx40")
    assert (anything.engine.compute_capability, anything.target) == (None, None)
    version = ada.engine.version

    def fits(manifest: Any, capability: str) -> bool:
        machine = MachineGpu("tensorrt-rtx", version, capability, ada.engine.platform)  # type: ignore[union-attr]
        try:
            check_engine_fits(tiny, manifest, machine)
        except InputError:
            return False
        return True

    assert [fits(ada, sm) for sm in ("7.5", "8.6", "8.9", "12.0")] == [False, False, True, False]
    assert [fits(anything, sm) for sm in ("7.5", "8.6", "8.9", "12.0")] == [
        False,
        True,
        True,
        True,
    ]


def test_dynamic_batch_takes_a_profile(tmp_path: Path) -> None:
    onnx = write_tiny_detector(tmp_path / "any.onnx", batch="batch")
    result = rtx(onnx, tmp_path, batch_profile=(1, 4, 8))
    assert result.manifest.engine is not None
    assert result.manifest.engine.batch == (1, 4, 8)
    assert result.manifest.dynamic_batch
    assert "--maxShapes=images:8x3x64x64" in result.trtexec
    assert not rtx(onnx, tmp_path).manifest.dynamic_batch


def test_limits_are_taken_and_a_timing_cache_is_not(tiny: Path, tmp_path: Path) -> None:
    times = tmp_path / "times"
    result = rtx(tiny, tmp_path, workspace_gb=0.5, builder_level=1, timing_cache=times)
    assert "times no kernels" in result.notes[0]
    assert not times.exists()
    assert result.manifest.engine is not None
    assert result.manifest.engine.options["timing_cache"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refit": True}, "--refit: .* only on a machine with a GPU"),
        ({"strip_weights": True}, "--strip-weights: .* only on a machine with a GPU"),
        ({"dla_core": 0}, "builds for GPUs only"),
        ({"target": "jetson-agx-orin"}, "built by tensorrt, not by rtx"),
        ({"batch_profile": (1, 2, 4)}, "exported for batch 1"),
    ],
)
def test_what_rtx_cannot_do_is_one_line(
    options: dict[str, Any], message: str, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rtx(tiny, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_the_parser_names_the_node_it_refuses(tmp_path: Path) -> None:
    """ONNX Runtime takes asymmetric activations; TensorRT does not."""
    onnx = write_tiny_detector(tmp_path / "asymmetric.onnx", zero_point=3)
    with pytest.raises(InputError, match=r"refuses it: QuantizeLinear 'quantise': .*zero point"):
        rtx(onnx, tmp_path)
    symmetric = write_tiny_detector(tmp_path / "symmetric.onnx", zero_point=0)
    assert rtx(symmetric, tmp_path).engine.exists()


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    good = rtx(write_tiny_detector(tmp_path / "tiny.onnx"), tmp_path)
    before = good.engine.read_bytes()
    manifest = read_onnx_source(tmp_path / "tiny.onnx")
    onnx = write_tiny_detector(tmp_path / "tiny.onnx", operator="Swizzle")
    with pytest.raises(InputError, match="Swizzle 'conv'"):
        build_engine(onnx, manifest, TensorRTSettings(builder="rtx"), tmp_path)
    assert good.engine.read_bytes() == before


def test_broken_and_foreign_files(tiny: Path, tmp_path: Path) -> None:
    manifest = read_onnx_source(tiny)
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(tiny.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read"):
        read_onnx_source(truncated)
    with pytest.raises(InputError, match=r"refuses it: .*[Ff]ailed to parse"):
        build_engine(truncated, manifest, TensorRTSettings(builder="rtx"), tmp_path)
    text = tmp_path / "text.onnx"
    text.write_bytes(b"hello" * 100)  # TensorRT's parser takes it for an empty network
    with pytest.raises(InputError, match="0 inputs and 0 outputs"):
        build_engine(text, manifest, TensorRTSettings(builder="rtx"), tmp_path)
    with pytest.raises(InputError, match="no such ONNX file"):
        read_onnx_source(tmp_path / "none.onnx")
    assert not list(tmp_path.glob("*.engine"))


def test_a_file_changed_after_its_manifest_is_refused(tiny: Path) -> None:
    write_manifest(tiny, read_onnx_source(tiny))
    tiny.write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(InputError, match="SHA-256 differs"):
        read_onnx_source(tiny)


def edgekd(*arguments: str, without_torch: bool = False) -> subprocess.CompletedProcess[str]:
    code = NO_TORCH if without_torch else "from edgekd.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def test_a_device_needs_neither_torch_nor_onnx(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "named.engine"
    arguments = ["--trt", "--builder", "rtx", "--target", "rtx50", "--out", str(out)]
    answer = edgekd("export", str(tiny), *arguments, without_torch=True)
    assert answer.returncode == 0, answer.stderr
    assert read_engine_manifest(out).target == "rtx50"
    assert "tensorrt_rtx --onnx=" in answer.stdout


def test_without_a_gpu_the_answer_is_two_lines(tiny: Path, tmp_path: Path) -> None:
    answer = edgekd("export", str(tiny), "--trt", "--out", str(tmp_path / "out"))
    assert answer.returncode == 2
    command, refusal = (answer.stdout + answer.stderr).strip().splitlines()
    assert command.startswith("on the device: trtexec --onnx=")
    assert refusal.startswith("error: ")
    assert "--builder rtx" in refusal and "--bundle" in refusal
    assert not (tmp_path / "out").exists()


def test_the_command_for_the_device_fits_the_weights(
    checkpoints: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ExportSettings(
        precision="fp16",
        dynamic_batch=True,
        tensorrt=TensorRTSettings(target="jetson-orin-nano", batch_profile=(1, 2, 4)),
    )
    with pytest.raises(InputError, match="no NVIDIA GPU"):
        engine_export.run(
            checkpoints.yolo11n, out=tmp_path, settings=settings, console=Console(width=10_000)
        )
    command = capsys.readouterr().out
    assert f"--onnx={tmp_path}/yolo11n-0.fp16.onnx" in command
    assert f"--saveEngine={tmp_path}/yolo11n-0.fp16.engine" in command
    assert "--maxShapes=images:4x3x64x64" in command
    assert "--memPoolSize=workspace:1024M" in command
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--target", "jetson-orin"], "jetson-orin-nano"),
        (["--builder", "trt"], "'auto', 'tensorrt' or 'rtx'"),
        (["--builder", "rtx", "--batch-profile", "8,4,1"], "1 ≤ min ≤ opt ≤ max"),
        (["--builder", "rtx", "--batch-profile", "8"], "write min,opt,max"),
        (["--builder", "rtx", "--builder-level", "9"], "--builder-level"),
        (["--builder", "rtx", "--workspace-gb", "0"], "--workspace-gb"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(
    arguments: list[str], expected: str, tiny: Path
) -> None:
    answer = edgekd("export", str(tiny), "--trt", *arguments)
    assert answer.returncode == 2
    (line,) = answer.stderr.strip().splitlines()
    assert expected in line
