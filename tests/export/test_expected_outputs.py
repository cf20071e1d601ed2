"""Stored outputs stand in for PyTorch on a device that has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export.conftest import Checkpoints

from edgekd_bench.errors import InputError
from edgekd_bench.runner import open_runner
from edgekd_export import ExportSettings, run
from edgekd_export.expected_outputs import load_expected, read_expected_header, save_expected
from edgekd_export.parity import Forward, compare, torch_forward
from edgekd_export.parity_images import ParityImages
from edgekd_export.thresholds import PARITY_THRESHOLDS

# What a Jetson with the base install does: no torch, no onnx, no Ultralytics.
ON_THE_DEVICE = """
import sys

class Blocked:
    names = set("torch torchvision ultralytics timm cv2 onnx onnxslim".split())
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Blocked())
from pathlib import Path
from edgekd_bench.runner import open_runner
from edgekd_export.expected_outputs import load_expected, read_expected_header
from edgekd_export.parity import compare
from edgekd_export.thresholds import PARITY_THRESHOLDS

expected, onnx = map(Path, sys.argv[1:])
images, reference = load_expected(expected)
with open_runner(onnx) as runner:
    report = compare(
        reference,
        runner.forward,
        images,
        end_to_end=read_expected_header(expected).end_to_end,
        batch=1,
        precision="fp32",
        thresholds=PARITY_THRESHOLDS["fp32"],
    )
print(report.verdict, report.num_images, report.num_detections > 0)
"""


def brightness(batch: np.ndarray) -> np.ndarray:
    """(B, 3, S, S) → (B, 6, 4): some function of the image."""
    means = batch.reshape(len(batch), 3, -1).mean(axis=2)
    return np.repeat(np.concatenate([means, means], axis=1)[:, :, None], 4, axis=2)


def save(path: Path, images: ParityImages, forward: Forward = brightness) -> None:
    save_expected(
        path,
        images,
        forward,
        end_to_end=False,
        weights_sha256="ab" * 32,
        reference="PyTorch",
        batch=3,
    )


def test_what_was_stored_comes_back_in_any_batch(pictures: ParityImages, tmp_path: Path) -> None:
    path = tmp_path / "expected.npz"
    save(path, pictures)
    images, forward = load_expected(path)
    assert (images.source, len(images)) == (pictures.source, len(pictures))
    for size in (1, 2, 5):
        for inputs, _ in images.batches(size):
            np.testing.assert_array_equal(forward(inputs), brightness(inputs))
    assert read_expected_header(path).weights_sha256 == "ab" * 32
    assert {p.name for p in tmp_path.iterdir()} == {"expected.npz"}


def test_an_image_that_was_not_stored_is_refused(pictures: ParityImages, tmp_path: Path) -> None:
    save(tmp_path / "expected.npz", pictures)
    _, forward = load_expected(tmp_path / "expected.npz")
    with pytest.raises(InputError, match="no outputs for this image"):
        forward(np.zeros((1, 3, 64, 64), np.float32))


def test_the_gate_runs_on_a_device(
    checkpoints: Checkpoints, pictures: ParityImages, tmp_path: Path
) -> None:
    settings = ExportSettings(num_parity_images=1, simplify=False)
    onnx = run(checkpoints.yolo11n, out=tmp_path, settings=settings).onnx
    expected = tmp_path / "expected.npz"
    side = pictures.canvases[0].shape[0]
    save(expected, pictures, torch_forward(checkpoints.yolo11n, side, end_to_end=False))
    code = [sys.executable, "-c", ON_THE_DEVICE, str(expected), str(onnx)]
    done = subprocess.run(code, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["pass", str(len(pictures)), "True"]
    images, stale = load_expected(expected)
    other = run(checkpoints("yolo11n", seed=1), out=tmp_path / "other.onnx", settings=settings).onnx
    with open_runner(other) as runner:
        report = compare(
            stale,
            runner.forward,
            images,
            end_to_end=False,
            batch=1,
            precision="fp32",
            thresholds=PARITY_THRESHOLDS["fp32"],
        )
    assert report.verdict == "fail"


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
def test_a_damaged_file_is_one_line(kept: float, pictures: ParityImages, tmp_path: Path) -> None:
    path = tmp_path / "expected.npz"
    save(path, pictures)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match="damaged") as caught:
        load_expected(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no expected outputs there"):
        load_expected(tmp_path / "missing.npz")
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, weights=np.zeros(3))
    with pytest.raises(InputError, match="no expected outputs of edgekd"):
        load_expected(foreign)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        read_expected_header(pickled)


def test_a_full_disk_leaves_the_earlier_file(
    pictures: ParityImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "expected.npz"
    save(path, pictures)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match="No space left"):
        save(path, pictures)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {path.name: before}
