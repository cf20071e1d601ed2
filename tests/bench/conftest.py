"""Tiny real models, built once a session: random weights measure as well as trained ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench.synthetic_sets import NAMES, write_yolo_set

from edgekd_bench.manifest import MANIFEST_KEY, Manifest

SIDE = 64


@dataclass(frozen=True)
class TinyModels:
    """A random YOLO11n as Ultralytics saves it, and its ONNX export with edgekd's metadata."""

    pt: Path
    onnx: Path


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Random weights for three classes at 64 px."""
    from edgekd_bench.ultralytics_setup import prepare_ultralytics

    folder = tmp_path_factory.mktemp("models")
    prepare_ultralytics(folder / "ultralytics")
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=len(NAMES), verbose=False)
    model.names, model.args = dict(NAMES), {"imgsz": SIDE, "task": "detect"}
    for parameter in model.parameters():  # Zero biases would make scores of unrelated anchors tie.
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    path = folder / "tiny.pt"
    torch.save({"model": model, "train_args": {"imgsz": SIDE}}, path)
    return TinyModels(path, _export(model, folder / "tiny.onnx"))


@pytest.fixture
def yolo_set(tmp_path: Path) -> Path:
    """The data.yaml of a small set on disk with the tiny models' classes."""
    return write_yolo_set(tmp_path / "set")


def manifest(**changes: object) -> Manifest:
    """A manifest for the tiny ONNX model."""
    base = {"kind": "onnx", "names": NAMES, "image_size": SIDE, "stride": 32}
    return Manifest.model_validate({**base, **changes})


def set_metadata(source: Path, target: Path, metadata: dict[str, str]) -> Path:
    """Copy an ONNX file with other metadata."""
    import onnx

    model = onnx.load(source)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, target)
    return target


def _export(model: object, path: Path) -> Path:
    import torch

    fused = model.float().eval().fuse(verbose=False)  # type: ignore[attr-defined]
    for module in fused.modules():
        if hasattr(module, "export"):
            module.export, module.format = True, "onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            fused,
            (torch.zeros(1, 3, SIDE, SIDE),),
            path,
            input_names=["images"],
            output_names=["output0"],
            opset_version=17,
            dynamo=False,
        )
    return set_metadata(path, path, {MANIFEST_KEY: manifest().model_dump_json()})
