"""The device's half of a bundle: engines from it, held against PyTorch's stored answers."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.synthetic_sets import write_yolo_set
from export.conftest import NAMES, Checkpoints

from edgekd_bench.bundle import open_bundle
from edgekd_bench.cuda_driver import CudaGpu
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import read_manifest
from edgekd_bench.runner import open_runner
from edgekd_export import ExportSettings, engine_parity
from edgekd_export.bundle import engines, packer
from edgekd_export.bundle.engines import run
from edgekd_export.bundle.settings import BundleSettings
from edgekd_export.tensorrt import TensorRTSettings, plan_build

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx-cu13 is not installed"
)
RTX = TensorRTSettings(builder="rtx", target="rtx40")
ON_THE_DEVICE = """
import sys

class Blocked:
    names = set("torch torchvision ultralytics timm cv2 onnx onnxslim edgekd".split())
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def packed(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar, because that is what is sent to a device."""
    folder = tmp_path_factory.mktemp("packed")
    return packer.run(
        checkpoints("yolo11n"),
        out=folder,
        data=write_yolo_set(folder / "set", 3, NAMES),
        baselines=[checkpoints("yolo11n", seed=1)],
        settings=ExportSettings(num_parity_images=2, simplify=False),
        bundle=BundleSettings(bundle_images=2, bundle_tar=True),
    ).path


@pytest.fixture
def bundle(packed: Path, tmp_path: Path) -> Path:
    """Unpacked anew for each test, as engines are put into it."""
    (tmp_path / packed.name).write_bytes(packed.read_bytes())
    return open_bundle(tmp_path / packed.name).folder


def on_the_device(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_DEVICE + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_rtx
def test_engines_are_built_without_torch_and_onnx(bundle: Path) -> None:
    out = on_the_device(
        "import json\n"
        "from pathlib import Path\n"
        "from edgekd_export.bundle.engines import run\n"
        "from edgekd_export.tensorrt import TensorRTSettings\n"
        "how = TensorRTSettings(builder='rtx', target='rtx40')\n"
        "built = run(Path(sys.argv[1]), settings=how).engines\n"
        "print(json.dumps([(e.engine.name, e.manifest.parity, *e.notes) for e in built]))\n",
        str(bundle),
    )
    built = json.loads(out)
    assert [name for name, *_ in built] == [
        "yolo11n-0.fp32.rtx.engine",
        "yolo11n-1.fp32.rtx.engine",
    ]
    for _, parity, note in built:
        assert parity == "n/a"
        assert "could not be run here" in note
    found = open_bundle(bundle).measurable("candidate")
    assert [path.name for path in found] == ["yolo11n-0.fp32.onnx", "yolo11n-0.fp32.rtx.engine"]


def test_the_stored_answers_are_compared_without_torch_and_onnx(bundle: Path) -> None:
    out = on_the_device(
        "from pathlib import Path\n"
        "from edgekd_bench.bundle import open_bundle\n"
        "from edgekd_bench.runner import open_runner\n"
        "from edgekd_export.expected_outputs import load_expected\n"
        "from edgekd_export.parity import compare\n"
        "from edgekd_export.thresholds import PARITY_THRESHOLDS\n"
        "bundle = open_bundle(Path(sys.argv[1]))\n"
        "model = bundle.description.models[0]\n"
        "images, reference = load_expected(bundle.path(model.expected))\n"
        "with open_runner(bundle.path(model.onnx)) as runner:\n"
        "    report = compare(reference, runner.forward, images, end_to_end=False, batch=1,\n"
        "        precision='fp32', thresholds=PARITY_THRESHOLDS['fp32'])\n"
        "print(report.verdict, len(images))\n",
        str(bundle),
    )
    assert out.split() == ["pass", "2"]


class RtxOnThisMachine:
    """A machine with the GPU the engines are for, where an engine computes what its ONNX does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
        self.bundle = bundle
        self.wrong: Callable[[np.ndarray], np.ndarray] = lambda output: output
        gpu = CudaGpu("NVIDIA GeForce RTX 4090", "8.9", 24.0)

        def plan(*arguments: Any) -> Any:
            return dataclasses.replace(plan_build(*arguments), gpu=gpu)

        monkeypatch.setattr(engines, "plan_build", plan)
        monkeypatch.setattr(engines, "is_installed", lambda _: True)
        monkeypatch.setattr(engine_parity, "open_runner", self.open)

    def open(self, path: Path, *_: Any, **__: Any) -> Any:
        assert path.suffix == ".engine"
        assert read_manifest(path) is not None
        onnx = self.bundle / "models" / path.name.replace(".rtx.engine", ".onnx")
        runner = open_runner(onnx)
        honest = runner.forward
        runner.forward = lambda batch: self.wrong(honest(batch))  # type: ignore[method-assign]
        return runner


@needs_rtx
def test_an_engine_that_runs_here_is_held_against_pytorch(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RtxOnThisMachine(monkeypatch, bundle)
    for engine in run(bundle, settings=RTX).engines:
        assert engine.parity is not None
        assert engine.parity.num_images == 2
        assert engine.manifest.parity == "pass"


@needs_rtx
def test_an_engine_that_computes_something_else_is_kept_apart(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = RtxOnThisMachine(monkeypatch, bundle)
    machine.wrong = lambda output: output * np.float32(1.01)
    with pytest.raises(GateError, match="do not deploy"):
        run(bundle, settings=RTX)
    names = {path.name for path in (bundle / "engines").iterdir()}
    assert names == {
        "yolo11n-0.fp32.rtx.parity-failed.engine",
        "yolo11n-0.fp32.rtx.parity-failed.engine.json",
    }
    assert len(open_bundle(bundle).measurable("candidate")) == 1


@needs_rtx
def test_without_a_way_to_verify_nothing_is_built(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RtxOnThisMachine(monkeypatch, bundle)
    monkeypatch.setattr(engines, "is_installed", lambda _: False)
    with pytest.raises(InputError, match="pip install pycuda"):
        run(bundle, settings=RTX)
    assert not (bundle / "engines").exists()


@needs_rtx
def test_engines_can_go_elsewhere(bundle: Path, tmp_path: Path) -> None:
    built = run(bundle, settings=RTX, out=tmp_path / "here")
    assert built.folder == tmp_path / "here"
    assert {engine.engine.parent for engine in built.engines} == {tmp_path / "here"}
    assert not (bundle / "engines").exists()


def test_a_precision_that_was_not_packed_is_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"--precision int8: .* holds fp32"):
        run(bundle, settings=RTX, precision="int8")


def test_a_damaged_bundle_builds_nothing(bundle: Path) -> None:
    onnx = bundle / "models/yolo11n-1.fp32.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        run(bundle, settings=RTX)
    assert not (bundle / "engines").exists()


def test_without_a_gpu_a_bundle_is_refused_in_one_line(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekd_export.tensorrt import plan

    monkeypatch.setattr(plan, "find_gpu", lambda: None)
    with pytest.raises(InputError, match="copy the bundle to the device"):
        run(bundle)
