"""Detectors that nobody has trained, as files that take as long as trained ones.

How long a network takes hardly depends on what its weights are, as long as signals are of ordinary
size. Freshly drawn weights let them fade from layer to layer (the median activation of an untrained
YOLO11n is 2e-7): fp16 underflows, int8 finds no range to calibrate, and some kernels are quicker on
such numbers. So the batch norms are set to the statistics of a few pictures, as training would have
done. The biases of the classes are set so low that nothing is detected: what suppression of many
boxes takes depends on the scene, and random boxes would say nothing about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from PIL import Image

from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.errors import InputError
from edgekd_bench.images import letterbox, to_batch
from edgekd_bench.manifest import Manifest, library_versions
from edgekd_bench.onnx_metadata import read_onnx_manifest, read_onnx_metadata
from edgekd_bench.runner import check_image_size
from edgekd_export.onnx_graph import label, trace_fp32
from edgekd_export.parity_images import load_parity_images
from edgekd_export.precision import BUILDERS, PrecisionJob
from edgekd_export.settings import ExportSettings, Int8Backend
from edgekd_export.synthetic_images import synthetic_image
from edgekd_export.thresholds import Precision
from edgekd_export.weights import choose_head, count_parameters

_STATISTICS_SIZE = 320  # pixels; the coarsest grid must have enough cells to take a mean over
_SILENT = -15.0  # as a logit: a probability of 3e-7
_NUM_PICTURES = 4


def build_untrained(name: str, image_size: int, folder: Path, *, num_classes: int = 80) -> Path:
    """Build a detector of random weights in fp32, as ``edgekd export`` would export a trained one.

    Args:
        name: of the network as Ultralytics knows it, without a suffix: "yolo11n".
        image_size: side of the square input in pixels.
        folder: where to write the file.
        num_classes: of the head.

    Raises:
        InputError: Ultralytics knows no such detector, or it cannot run at that size.
    """
    model = _draw(name, num_classes)
    stride = int(max(model.stride))
    check_image_size(Path(name), image_size, stride)
    give_ordinary_signals(model)
    _silence(model.model[-1])
    end_to_end = getattr(model.model[-1], "one2one_cv2", None) is not None
    choose_head(model, end_to_end=end_to_end, image_size=image_size)
    settings = ExportSettings(image_size=image_size)
    graph = trace_fp32(model, image_size, settings)
    manifest = Manifest(
        kind="onnx",
        names={index: f"class{index}" for index in range(num_classes)},
        image_size=image_size,
        stride=stride,
        end_to_end=end_to_end,
        num_params=count_parameters(model),
        versions=library_versions("torch", "ultralytics", "onnx", "onnxslim", "onnxruntime"),
    )
    label(graph, manifest, settings.batch)
    path = folder / f"{name}-{image_size}.onnx"
    path.write_bytes(graph.SerializeToString())
    return path


def convert_untrained(
    fp32: Path, precision: Precision, pictures: Path, *, int8_for: Int8Backend = "tensorrt"
) -> Path:
    """The same network in another precision, beside it.

    Args:
        fp32: as `build_untrained` wrote it.
        precision: fp16 or int8.
        pictures: folder of images that int8 ranges are measured on.
        int8_for: which runtime int8 is laid out for.
    """
    manifest = read_onnx_manifest(fp32, read_onnx_metadata(fp32))
    settings = ExportSettings(
        image_size=manifest.image_size,
        precision=precision,
        int8_for=int8_for,
        calibration="minmax",
        calibration_images=_NUM_PICTURES,
    )
    layout = f"-{int8_for}" if precision == "int8" else ""
    path = fp32.with_suffix(f".{precision}{layout}.onnx")
    typed = BUILDERS[precision](
        PrecisionJob(
            fp32=onnx.load(fp32),
            manifest=manifest,
            settings=settings,
            data=pictures,
            images=load_parity_images(
                pictures, count=_NUM_PICTURES, image_size=manifest.image_size
            ),
            target=path,
            folder=fp32.parent,
            progress=BenchProgress(None),
            say=_say_nothing,
        )
    )
    facts = {**typed.manifest_updates, "precision": precision}
    label(typed.graph, manifest.model_copy(update=facts), settings.batch)
    path.write_bytes(typed.graph.SerializeToString())
    return path


def write_pictures(folder: Path, count: int = _NUM_PICTURES) -> list[Path]:
    """Pictures drawn in code as JPEG files, for clocks and ranges that need pixels and no truth."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(synthetic_image(index)).save(path, quality=90)
    return paths


def _draw(name: str, num_classes: int) -> Any:
    """A detector of random weights; the seed is fixed."""
    from edgekd_bench.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    try:
        return DetectionModel(f"{name}.yaml", nc=num_classes, verbose=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{name}: Ultralytics {_ultralytics_version()} knows no such detector; "
            "give other --families or --scales"
        ) from error


def _ultralytics_version() -> str:
    return library_versions("ultralytics").get("ultralytics", "")


def give_ordinary_signals(model: Any) -> None:
    """Set the statistics of every batch norm of a detector to those of a few pictures."""
    import torch

    pictures = [
        letterbox(synthetic_image(index), _STATISTICS_SIZE)[0] for index in range(_NUM_PICTURES)
    ]
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average instead of a decaying one
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(to_batch(pictures)))
    model.eval()


def _silence(head: Any) -> None:
    """Let a detection head, or both of it, find nothing."""
    import torch

    for branches in (head.cv3, getattr(head, "one2one_cv3", None)):
        for branch in branches or ():
            torch.nn.init.constant_(branch[-1].bias, _SILENT)


def _say_nothing(_: str) -> None:
    """Nobody is told about choices that do not matter here."""
