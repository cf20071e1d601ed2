"""Pack a device bundle: collect what a device needs, describe it, and put it in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgekd_bench.bundle import (
    BUNDLE_SUFFIX,
    DESCRIPTION_NAME,
    BundleDescription,
    BundledFile,
    EvaluationImages,
)
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, library_versions, sha256_of
from edgekd_export.bundle.archive import write_tar
from edgekd_export.bundle.evaluation import pack_evaluation
from edgekd_export.bundle.models import PackedModel, Source, name_sources, pack_models
from edgekd_export.bundle.readme import readme
from edgekd_export.bundle.settings import BundleSettings
from edgekd_export.bundle.staging import publish, staging
from edgekd_export.deployment.deepstream import write_deepstream
from edgekd_export.deployment.served_model import read_served_model
from edgekd_export.deployment.triton import write_triton
from edgekd_export.settings import ExportSettings
from edgekd_export.targets import load_target
from edgekd_export.tensorrt import TensorRTSettings

_TRITON_MAX_BATCH = 8


@dataclass(frozen=True)
class BundleResult:
    """What was packed, and where."""

    path: Path
    description: BundleDescription
    size_mb: float


def run(
    weights: Path,
    *,
    out: Path,
    data: Path | None,
    baselines: Sequence[Path] = (),
    settings: ExportSettings = ExportSettings(),  # noqa: B008 (frozen)
    bundle: BundleSettings = BundleSettings(),  # noqa: B008 (frozen)
    console: Console | None = None,
) -> BundleResult:
    """Export a detector, and baselines with it, into a bundle.

    Args:
        weights: the detector's checkpoint.
        out: the folder to put ``<weights' stem>.bundle`` in, or a name ending in ``.bundle`` or
            ``.tar``.
        data: data.yaml or coco.yaml with a val split: parity and evaluation images.
        baselines: checkpoints to compare with on the device.
        settings: precision and so on, the same for all models.
        bundle: how many images, folder or tar.
        console: where to say what is being done.

    Raises:
        InputError: unusable weights, data or place; nothing is left behind.
        GateError: a model failed the parity gate; it is kept beside the bundle for inspection.
    """
    dataset = _labelled(data)
    sources = name_sources(weights, baselines)
    target = _target(out, weights, bundle)
    with staging(target) as hidden:
        folder = hidden / "bundle"
        models = _pack_all(sources, folder, dataset, settings, target.parent, console)
        evaluation = pack_evaluation(dataset, bundle.bundle_images, folder)
        _write_deployment(folder, models[0], settings)
        name, board = _bundle_name(target), settings.tensorrt.target
        description = _describe(folder, name, board, models, evaluation)
        staged = folder
        if target.suffix == ".tar":
            staged = hidden / "bundle.tar"
            write_tar(folder, staged, f"{description.name}{BUNDLE_SUFFIX}")
        publish(staged, target, hidden / "replaced")
    return BundleResult(target, description, sum(f.size for f in description.files) / 1e6)


def _labelled(data: Path | None) -> DetectionSet:
    if data is None or data.is_dir():
        raise InputError(
            "a bundle takes labelled images along: give --data data.yaml (or coco.yaml) with a val "
            "split"
        )
    return load_detection_set(data, "val")


def _target(out: Path, weights: Path, settings: BundleSettings) -> Path:
    if out.suffix in (BUNDLE_SUFFIX, ".tar"):
        return out
    name = f"{weights.stem}{BUNDLE_SUFFIX}"
    return out / (f"{name}.tar" if settings.bundle_tar else name)


def _bundle_name(target: Path) -> str:
    return target.name.removesuffix(".tar").removesuffix(BUNDLE_SUFFIX)


def _pack_all(
    sources: list[Source],
    folder: Path,
    dataset: DetectionSet,
    settings: ExportSettings,
    evidence: Path,
    console: Console | None,
) -> list[PackedModel]:
    """Every model of every checkpoint; the wanted precision of the candidate comes first."""
    models: list[PackedModel] = []
    for source in sources:
        if console is not None:
            console.print(f"packing {source.role} {source.weights}")
        models += pack_models(
            source,
            folder,
            dataset=dataset,
            settings=settings,
            evidence=evidence,
            console=console,
        )
    return models


def _write_deployment(folder: Path, packed: PackedModel, settings: ExportSettings) -> None:
    """Configurations for DeepStream and Triton, for the first model."""
    onnx, deploy = folder / packed.model.onnx, folder / "deploy"
    served = read_served_model(onnx, packed.manifest, packed.model.name)
    write_deepstream(
        served,
        deploy / "deepstream",
        onnx=f"../../{packed.model.onnx}",
        engine=f"../../{packed.model.engine}",
    )
    write_triton(served, deploy / "triton", "onnxruntime", file=onnx, max_batch=_TRITON_MAX_BATCH)
    most = _engine_max_batch(settings.tensorrt)
    write_triton(served, deploy / "triton_tensorrt", "tensorrt", file=None, max_batch=most)


def _engine_max_batch(settings: TensorRTSettings) -> int:
    """The most images an engine built with these settings takes, where the graph allows any."""
    if settings.batch_profile is not None:
        return settings.batch_profile[2]
    return load_target(settings.target).batch if settings.target else 1


def _describe(
    folder: Path,
    name: str,
    board: str | None,
    models: list[PackedModel],
    evaluation: EvaluationImages,
) -> BundleDescription:
    """Write README.md and bundle.json; what the latter lists is everything there is by then."""
    described = BundleDescription(
        name=name,
        edgekd=library_versions().get("edgekd", "unknown"),
        target=board,
        models=[packed.model for packed in models],
        calibration=[packed.calibration for packed in models if packed.calibration],
        evaluation=evaluation,
        licences=_licences([packed.manifest for packed in models], evaluation),
        files=[],
    )
    page = readme(described, f"{name}{BUNDLE_SUFFIX}", [packed.manifest for packed in models])
    (folder / "README.md").write_text(page, encoding="utf-8")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [
        BundledFile(
            path=path.relative_to(folder).as_posix(),
            sha256=sha256_of(path),
            size=path.stat().st_size,
        )
        for path in paths
    ]
    complete = described.model_copy(update={"files": files})
    (folder / DESCRIPTION_NAME).write_text(
        complete.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    return complete


def _licences(manifests: list[Manifest], evaluation: EvaluationImages) -> dict[str, str]:
    """Of what → under which licence."""
    found = {"models": manifests[0].licence or "AGPL-3.0, as Ultralytics networks are"}
    for manifest in manifests:
        if manifest.teacher is not None:
            found[f"weights distilled from {manifest.teacher.name}"] = manifest.teacher.licence
    found["parser for DeepStream"] = "AGPL-3.0-or-later, as edgekd"
    found["images"] = f"that of {evaluation.source}; see to it before you pass the bundle on"
    return found
