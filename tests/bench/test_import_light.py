"""The wing must run on a device that has none of the training libraries: proven, not believed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench.conftest import TinyModels

_BLOCK = """
import sys

class Blocked:
    names = set("torch torchvision ultralytics timm cv2 onnx edgekd edgekd_export".split())
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Blocked())
"""


def _run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _BLOCK + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_block_blocks() -> None:
    with pytest.raises(AssertionError, match="blocked: torch"):
        _run("import torch")


def test_every_module_imports_without_training_libraries() -> None:
    out = _run(
        "import pkgutil, importlib, edgekd_bench\n"
        "for module in pkgutil.walk_packages(edgekd_bench.__path__, 'edgekd_bench.'):\n"
        "    importlib.import_module(module.name)\n"
        "    print(module.name.removeprefix('edgekd_bench.'))\n"
    )
    wanted = {"benchmark", "torch_runner", "onnxruntime_runner", "device.nvml", "remote.bench"}
    assert wanted <= set(out.split())


def test_importing_the_package_loads_almost_nothing() -> None:
    loaded = _run("import edgekd_bench; print(*sorted(sys.modules))").split()
    assert not {"numpy", "onnxruntime", "pydantic", "rich", "hotcoco"} & set(loaded)


def test_an_onnx_model_is_measured_without_training_libraries(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    out = _run(
        "from pathlib import Path\n"
        "from edgekd_bench import BenchSettings, run\n"
        "quick = BenchSettings(min_seconds=0, min_count=2, warmup=1, threads=1)\n"
        "model, data, out = map(Path, sys.argv[1:])\n"
        "print(run([model], data=data, settings=quick, out=out).rows[0].num_params)\n",
        str(tiny_models.onnx),
        str(yolo_set),
        str(tmp_path / "out"),
    )
    assert int(out) > 2_000_000
    assert (tmp_path / "out/results.json").is_file()


def test_a_pt_without_torch_says_what_to_install(tiny_models: TinyModels) -> None:
    code = (
        "from pathlib import Path\n"
        "from edgekd_bench.errors import InputError\n"
        "from edgekd_bench.runner import open_runner\n"
        "try:\n"
        "    open_runner(Path(sys.argv[1]))\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    assert "edgekd[train]" in _run(code, str(tiny_models.pt))


def test_the_environment_is_described_in_json() -> None:
    out = _run(
        "import json\n"
        "from edgekd_bench.device_state import describe_environment\n"
        "print(json.dumps(describe_environment(2)))\n"
    )
    assert all(key in out for key in ("cpu", "python", "libraries", '"threads": 2', "onnxruntime"))
