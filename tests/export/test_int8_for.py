"""``--int8-for``: one file per runtime, chosen by the target, judged where it will run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from export.lively_detectors import scenes
from export.typed_exports import Exports
from PIL import Image
from typer.testing import CliRunner

import edgekd_export
from edgekd.cli import app
from edgekd_bench.backends import is_installed
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import read_manifest
from edgekd_bench.runner import open_runner
from edgekd_export import ExportSettings, parity
from edgekd_export.engine_export import run as run_engine
from edgekd_export.exporter import run
from edgekd_export.quantization import int8_builder
from edgekd_export.settings import Int8Backend
from edgekd_export.targets import load_target


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for index, scene in enumerate(scenes(7, 16)):
        Image.fromarray(scene.canvas).save(folder / f"{index}.png")
    return folder


def settings_for(runtime: Int8Backend) -> ExportSettings:
    return ExportSettings(
        precision="int8",
        int8_for=runtime,
        calibration="percentile",
        calibration_images=16,
        num_parity_images=8,
    )


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_for_a_cpu_is_named_after_its_runtime_and_judged_on_it(
    runtime: Int8Backend,
    exports: Exports,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_installed(runtime):
        pytest.skip("OpenVINO is not installed (the extra 'openvino')")
    judged_on: list[Any] = []

    def spy(path: Path, backend: str, *rest: Any) -> Any:
        judged_on.append(backend)
        return open_runner(path, backend, *rest)

    monkeypatch.setattr(parity, "open_runner", spy)
    result = run(
        exports("yolo11n").weights, out=tmp_path, data=photographs, settings=settings_for(runtime)
    )
    assert result.onnx.name == f"yolo11n.int8-{runtime}.onnx"
    assert result.parity.verdict == "pass", result.parity.summary()
    assert result.parity.num_detections > 0
    assert judged_on == [runtime]
    manifest = read_manifest(result.onnx)
    assert manifest is not None
    assert (manifest.precision, manifest.int8_for, manifest.parity) == ("int8", runtime, "pass")
    with open_runner(result.onnx, runtime) as runner:
        assert runner.info.precision == "int8"
        assert not runner.info.notes
    other = "openvino" if runtime == "onnxruntime" else "onnxruntime"
    if is_installed(other):
        with open_runner(result.onnx, other) as runner:
            assert f"laid out for {runtime}" in runner.info.notes[0]


def test_without_openvino_its_file_is_refused_at_once(
    exports: Exports, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_builder, "is_installed", lambda backend: backend != "openvino")
    monkeypatch.setattr(int8_builder, "find_ranges", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(InputError, match=r"edgekd\[openvino\]") as caught:
        run(
            exports("yolo11n").weights,
            out=tmp_path / "out",
            data=photographs,
            settings=settings_for("openvino"),
        )
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_tensorrt_is_not_offered_what_it_refuses(exports: Exports, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--int8-for tensorrt") as caught:
        run_engine(exports("yolo11n").weights, out=tmp_path, settings=settings_for("onnxruntime"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "tensorrt"),
        (["--target", "jetson-orin-nano"], "tensorrt"),
        (["--target", "cpu-x86"], "onnxruntime"),
        (["--target", "cpu-x86", "--int8-for", "openvino"], "openvino"),
    ],
)
def test_the_target_chooses_the_runtime(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ExportSettings] = []

    def record(*_: Any, settings: ExportSettings, **__: Any) -> Any:
        seen.append(settings)
        raise InputError("recorded")

    monkeypatch.setattr(edgekd_export, "run", record, raising=False)
    CliRunner().invoke(app, ["export", "detector.pt", "--precision", "int8", *arguments])
    assert [settings.int8_for for settings in seen] == [expected]


def test_it_is_an_option_of_int8_alone() -> None:
    result = CliRunner().invoke(app, ["export", "detector.pt", "--int8-for", "openvino"])
    assert isinstance(result.exception, InputError)
    assert "--int8-for" in str(result.exception)


def test_profiles_of_cpus_name_a_runtime_that_the_base_install_has() -> None:
    assert load_target("cpu-x86").int8_for == load_target("cpu-arm").int8_for == "onnxruntime"
    assert load_target("rtx40").int8_for == "tensorrt"
