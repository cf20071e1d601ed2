"""Checkpoints: the ones that load, and one clear line for each that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from export.conftest import NAMES, SIDE, Checkpoints, trained_looking_detector

from edgekd_bench.errors import InputError
from edgekd_bench.ultralytics_checkpoint import load_detector
from edgekd_export import ExportSettings, run
from edgekd_export.weights import read_checkpoint


def test_what_a_checkpoint_says(checkpoints: Checkpoints) -> None:
    found = read_checkpoint(checkpoints.yolo11n)
    assert found.names == NAMES
    assert found.stride == 32
    assert found.trained_image_size == SIDE
    assert found.manifest is None


def test_two_loads_share_nothing(checkpoints: Checkpoints) -> None:
    first, second = load_detector(checkpoints.yolo11n), load_detector(checkpoints.yolo11n)
    next(first.parameters()).add_(1)
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in second.modules())


def test_ema_weights_win_and_half_precision_is_widened(tmp_path: Path) -> None:
    path = tmp_path / "both.pt"
    model, ema = trained_looking_detector("yolo11n", 1), trained_looking_detector("yolo11n", 2)
    torch.save({"model": model.half(), "ema": ema.half(), "train_args": {}}, path)
    loaded = next(load_detector(path).parameters())
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, next(ema.parameters()).float())
    assert read_checkpoint(path).trained_image_size == 640


@pytest.mark.parametrize("kept", [0, 1, 1000, 0.5, 0.99])
def test_truncated(kept: float, checkpoints: Checkpoints, tmp_path: Path) -> None:
    whole = checkpoints.yolo11n.read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    refuse(path, "truncated", tmp_path)


def test_text_called_pt(tmp_path: Path) -> None:
    path = tmp_path / "text.pt"
    path.write_text("these are no weights")
    refuse(path, "not an Ultralytics checkpoint", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"layer.weight": torch.zeros(3)},
        {"model": {"layer.weight": torch.zeros(3)}},
        {"model": torch.nn.Linear(2, 2)},
        [1, 2, 3],
    ],
    ids=["tensors", "state dict", "another network", "list"],
)
def test_a_pt_of_something_else(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(content, path)
    refuse(path, "holds no Ultralytics network|not an Ultralytics checkpoint", tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_torchscript_file(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    refuse(path, "not an Ultralytics checkpoint", tmp_path)


class _Payload:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.call, ([sys.executable, "-c", f"open({str(self.target)!r}, 'w')"],)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "trap.pt", tmp_path / "ran"
    torch.save({"model": trained_looking_detector("yolo11n"), "trap": _Payload(trace)}, path)
    refuse(path, "not an Ultralytics checkpoint", tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", ["seg", "pose", "obb"])
def test_other_tasks(suffix: str, tmp_path: Path) -> None:
    from ultralytics.nn import tasks

    kinds = {"seg": "SegmentationModel", "pose": "PoseModel", "obb": "OBBModel"}
    model = getattr(tasks, kinds[suffix])(f"yolo11n-{suffix}.yaml", verbose=False)
    path = tmp_path / f"{suffix}.pt"
    torch.save({"model": model, "train_args": {}}, path)
    refuse(path, "only detectors can be used", tmp_path)


def test_a_detector_for_four_channels(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import DetectionModel

    path = tmp_path / "rgbd.pt"
    torch.save({"model": DetectionModel("yolo11n.yaml", ch=4, nc=2, verbose=False)}, path)
    refuse(path, "4 channels", tmp_path)


def test_trained_on_rectangles(tmp_path: Path) -> None:
    path = tmp_path / "wide.pt"
    content = {"model": trained_looking_detector("yolo11n"), "train_args": {"imgsz": [64, 96]}}
    torch.save(content, path)
    refuse(path, "not square", tmp_path)


def test_missing_or_misnamed(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere.pt", "no such weights", tmp_path)
    other = tmp_path / "model.onnx"
    other.write_bytes(b"x")
    refuse(other, "not a .pt", tmp_path)


def refuse(path: Path, reason: str, tmp_path: Path) -> None:
    """The export stops with one line that names the file, and writes nothing."""
    out = tmp_path / "out"
    with pytest.raises(InputError, match=reason) as caught:
        run(path, out=out, settings=ExportSettings(num_parity_images=1))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()
