"""Export a checkpoint into a bundle in every precision it needs, with the answers of PyTorch.

Everything goes through the normal export with its parity gate, so a bundle never holds a model that
failed. The fp32 file goes along with every lower precision: where an engine cannot be built or does
not hold what it should, there is something to fall back on and to compare with.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from edgekd_bench.accuracy import check_classes
from edgekd_bench.bundle import BundledModel
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import Manifest, read_manifest, sha256_of
from edgekd_bench.model_files import display_names
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_export import exporter
from edgekd_export.expected_outputs import save_expected
from edgekd_export.nms_reference import suppressed
from edgekd_export.parity import torch_forward
from edgekd_export.parity_images import load_parity_images
from edgekd_export.settings import ExportSettings
from edgekd_export.thresholds import Precision


@dataclass(frozen=True)
class Source:
    """A checkpoint, under the name its files have in the bundle."""

    weights: Path
    name: str
    role: Literal["candidate", "baseline"]


@dataclass(frozen=True)
class PackedModel:
    """One exported file of the bundle and what it is."""

    model: BundledModel
    manifest: Manifest
    calibration: str | None  # int8 only: path in the bundle


def name_sources(weights: Path, baselines: Sequence[Path]) -> list[Source]:
    """The candidate first; names are the shortest path endings that tell the checkpoints apart.

    Raises:
        InputError: a checkpoint that is missing or given twice, or baselines of the same seed.
    """
    paths = [weights, *baselines]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such weights; check the path")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(
            f"{weights}: the same checkpoint is given twice; a baseline is another one"
        )
    _check_seeds(baselines)
    names = ["-".join(Path(name).with_suffix("").parts) for name in display_names(paths)]
    return [
        Source(path, name, "baseline" if index else "candidate")
        for index, (path, name) in enumerate(zip(paths, names, strict=True))
    ]


def _check_seeds(baselines: Sequence[Path]) -> None:
    """Refuse baselines that the comparison on the device could not tell apart."""
    manifests = [read_manifest(path) for path in baselines]
    seeds = [manifest.seed if manifest else None for manifest in manifests]
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"the baselines have the seeds {seeds}; a candidate is compared with the one baseline "
            "of its own seed, so give each seed once"
        )


def pack_models(
    source: Source,
    folder: Path,
    *,
    dataset: DetectionSet,
    settings: ExportSettings,
    evidence: Path,
    console: Console | None,
) -> list[PackedModel]:
    """Export one checkpoint: the wanted precision first, then the one to fall back on.

    Args:
        source: the checkpoint.
        folder: of the bundle; ``models/`` and ``expected/`` are filled.
        dataset: where parity images come from, and what classes the model must have.
        settings: of the export.
        evidence: folder for a file that failed a gate.
        console: where progress is shown.

    Raises:
        InputError: unusable weights, or other classes than the set's.
        GateError: an export failed; the file is kept in ``evidence``.
    """
    packed: dict[Precision, PackedModel] = {}
    for precision in _precisions(settings):  # fp32 first: it shows in seconds what is wrong
        onnx = folder / "models" / f"{source.name}.{precision}.onnx"
        how = _settings(settings, source, precision)
        result = _export(source.weights, onnx, dataset, how, evidence, console)
        if not packed:
            _check_classes(result, dataset, settings.batch)
        model = BundledModel(
            name=source.name,
            role=source.role,
            precision=precision,
            onnx=f"models/{onnx.name}",
            fallback=precision != settings.precision,
            expected=f"expected/{source.name}.npz",
        )
        cache = result.calibration_cache
        calibration = cache.relative_to(folder).as_posix() if cache else None
        packed[precision] = PackedModel(model, result.manifest, calibration)
    first = packed[settings.precision]
    _save_expected(source, folder / first.model.expected, dataset, first.manifest, settings)
    return [first, *(entry for entry in packed.values() if entry is not first)]


def _precisions(settings: ExportSettings) -> Iterator[Precision]:
    yield "fp32"
    if settings.precision != "fp32":
        yield settings.precision


def _settings(settings: ExportSettings, source: Source, precision: Precision) -> ExportSettings:
    """The same for all, but for what belongs to one precision or one network."""
    changes: dict[str, Any] = {"precision": precision}
    if precision != settings.precision:
        changes["parity"] = None  # limits that were given are those of the wanted precision
    if source.role == "baseline":
        changes["calibration_cache"] = None  # ranges of the candidate's activations
    return settings.model_copy(update=changes)


def _export(
    weights: Path,
    onnx: Path,
    dataset: DetectionSet,
    settings: ExportSettings,
    evidence: Path,
    console: Console | None,
) -> exporter.ExportResult:
    try:
        return exporter.run(
            weights, out=onnx, data=dataset.source, settings=settings, console=console
        )
    except GateError as error:
        for file in onnx.parent.glob("*-failed.onnx*"):
            shutil.copyfile(file, evidence / file.name)
        raise GateError(str(error).replace(str(onnx.parent), str(evidence))) from error


def _check_classes(result: exporter.ExportResult, dataset: DetectionSet, batch: int) -> None:
    with open_runner(result.onnx, options=RunnerOptions(batch=batch)) as runner:
        check_classes(runner, dataset)


def _save_expected(
    source: Source, path: Path, dataset: DetectionSet, manifest: Manifest, settings: ExportSettings
) -> None:
    images = load_parity_images(
        dataset.source, count=settings.num_parity_images, image_size=manifest.image_size
    )
    native = manifest.end_to_end and manifest.nms is None
    forward = torch_forward(source.weights, manifest.image_size, end_to_end=native)
    if manifest.nms is not None:
        forward = suppressed(forward, manifest.nms)
    save_expected(
        path,
        images,
        forward,
        end_to_end=manifest.end_to_end,
        weights_sha256=sha256_of(source.weights),
        reference=f"PyTorch {version('torch')}, fp32, not fused",
    )
