"""The parity gate for engines: the same comparison, with the GPU on one side.

The reference is PyTorch where the weights are at hand, or what PyTorch answered where a bundle
brings that along. Where only the ONNX file is, as on a device without torch, it is that file in
ONNX Runtime on the CPU, which was itself held against PyTorch when it was exported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_export.expected_outputs import load_expected
from edgekd_export.nms_reference import suppressed
from edgekd_export.parity import Forward, compare, torch_forward
from edgekd_export.parity_images import ParityImages, load_parity_images
from edgekd_export.settings import ExportSettings
from edgekd_export.tensorrt.builder import EngineCheck, EngineVerifier
from edgekd_export.tensorrt.plan import BuildPlan
from edgekd_export.thresholds import PARITY_THRESHOLDS


def engine_verifier(
    reference: Path,
    manifest: Manifest,
    plan: BuildPlan,
    *,
    data: Path | None,
    settings: ExportSettings,
) -> EngineVerifier:
    """A check for `build_engine`.

    Args:
        reference: the checkpoint, the ONNX file the engine is built from, or the ``.npz`` of
            `save_expected`, which brings its own images.
        manifest: of that ONNX file.
        plan: of the build; says whether the engine can run here.
        data: images to compare on, see `load_parity_images`; they are read now, before a long
            build.
        settings: how many images, and the limits.

    Raises:
        InputError: no images there.
    """
    if not plan.runs_here:
        here = f"this GPU is SM {plan.gpu.compute_capability}" if plan.gpu else "no NVIDIA GPU"
        return lambda engine, _: EngineCheck(
            None,
            f"the engine could not be run here ({here}), so its parity is n/a; where it runs, "
            f"`edgekd bench {engine.name} --device cuda --data DATA` shows what it finds",
        )
    if reference.suffix == ".npz":
        images, _ = load_expected(reference)
    else:
        images = load_parity_images(
            data, count=settings.num_parity_images, image_size=manifest.image_size
        )
    return lambda engine, described: _verify(engine, described, reference, images, settings)


def _verify(
    engine: Path,
    manifest: Manifest,
    reference: Path,
    images: ParityImages,
    settings: ExportSettings,
) -> EngineCheck:
    assert manifest.engine is not None, "describe_engine always fills it in"
    batch = manifest.engine.batch[1]
    try:
        runner = open_runner(engine, options=RunnerOptions(batch=batch, device="cuda"))
    except InputError as error:  # no pycuda, say; the engine may be right all the same
        return EngineCheck(None, f"the engine could not be run, so its parity is n/a: {error}")
    with runner, _forward(reference, manifest, batch) as expected:
        report = compare(
            expected,
            runner.forward,
            images,
            end_to_end=manifest.end_to_end,
            batch=batch,
            precision=manifest.precision,
            thresholds=settings.parity or PARITY_THRESHOLDS[manifest.precision],
        )
    return EngineCheck(report)


@contextmanager
def _forward(reference: Path, manifest: Manifest, batch: int) -> Iterator[Forward]:
    if reference.suffix.lower() == ".onnx":
        with open_runner(reference, "onnxruntime", RunnerOptions(batch=batch)) as runner:
            yield runner.forward
    elif reference.suffix == ".npz":
        yield load_expected(reference)[1]
    else:
        native = manifest.end_to_end and manifest.nms is None
        forward = torch_forward(reference, manifest.image_size, end_to_end=native)
        yield forward if manifest.nms is None else suppressed(forward, manifest.nms)
