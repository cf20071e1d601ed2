"""Untrained networks are files like any other, and their signals are of ordinary size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd_bench.errors import InputError
from edgekd_bench.images import decode_image, letterbox, to_batch
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_export.synthetic_images import synthetic_image
from edgekd_export.untrained import (
    build_untrained,
    convert_untrained,
    give_ordinary_signals,
    write_pictures,
)

SIDE = 64


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO26n of five classes: its head needs no NMS."""
    folder = tmp_path_factory.mktemp("untrained")
    write_pictures(folder / "pictures")
    return build_untrained("yolo26n", SIDE, folder, num_classes=5)


@pytest.mark.parametrize(
    ("precision", "layout"),
    [("fp32", "tensorrt"), ("fp16", "tensorrt"), ("int8", "tensorrt"), ("int8", "onnxruntime")],
)
def test_each_precision_runs_as_a_trained_export_would(
    fp32: Path, precision: Any, layout: Any
) -> None:
    pictures = fp32.parent / "pictures"
    path = fp32
    if precision != "fp32":
        path = convert_untrained(fp32, precision, pictures, int8_for=layout)
    with open_runner(path, "onnxruntime", RunnerOptions(threads=1)) as runner:
        info = runner.info
        canvas, _ = letterbox(decode_image(pictures / "0.jpg"), SIDE)
        output = runner.forward(to_batch([canvas]))
    assert (info.precision, info.image_size, info.end_to_end) == (precision, SIDE, True)
    assert len(info.names) == 5 and 2_000_000 < info.num_params < 3_000_000
    assert output.shape == (1, 84, 6) and np.isfinite(output).all()
    assert output[..., 4].max() < 0.25, "nothing is detected, so suppression has nothing to do"


def test_no_layer_fades_away() -> None:
    """Without statistics the median activation of this network is near 1e-7."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=5, verbose=False)
    give_ordinary_signals(model)
    canvas = letterbox(synthetic_image(9), 128)[0]  # not among those the statistics are of
    sizes: list[float] = []
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda _, __, out: sizes.append(float(out.abs().mean())))
    with torch.no_grad():
        model(torch.from_numpy(to_batch([canvas])))
    assert min(sizes) > 0.1 and max(sizes) < 20


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="knows no such detector"):
        build_untrained("yolo99n", SIDE, tmp_path)
    with pytest.raises(InputError, match="not a multiple of its stride"):
        build_untrained("yolo11n", 72, tmp_path)
    assert not list(tmp_path.iterdir())
