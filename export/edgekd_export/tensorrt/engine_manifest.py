"""What is written beside an engine, and what the engine is called.

An engine holds no readable description of itself, so its manifest is not decoration: it alone says
what the outputs mean and which machines can load the file (`edgekd_bench.engine_fit`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.engine_fit import EngineBuilder, platform_tag
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import (
    EngineBuild,
    Manifest,
    Parent,
    library_versions,
    read_manifest,
    sha256_of,
)
from edgekd_bench.onnx_metadata import read_onnx_manifest
from edgekd_export.tensorrt.plan import BuildPlan
from edgekd_export.thresholds import Precision

ENGINE_SUFFIX = ".engine"


@dataclass(frozen=True)
class BuildFacts:
    """What only the build itself can tell."""

    batch: tuple[int, int, int]
    seconds: float
    num_warnings: int
    timing_cache: bool  # whether one was in use


def read_onnx_source(onnx: Path) -> Manifest:
    """What the ONNX file that an engine is to be built from says about itself.

    Raises:
        InputError: missing, broken, changed since its manifest, or no detector.
    """
    if not onnx.is_file():
        raise InputError(f"{onnx}: no such ONNX file; check the path")
    beside = read_manifest(onnx)
    if beside is not None:
        return beside
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # our own error is clearer than its warnings
    try:
        session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes differ by version
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{onnx}: cannot be read ({reason}); export it again") from error
    return read_onnx_manifest(onnx, session.get_modelmeta().custom_metadata_map)


def engine_path(out: Path, onnx: Path, manifest: Manifest, plan: BuildPlan) -> Path:
    """Where an engine goes: ``out`` itself where it names one, else a file in that folder."""
    if out.suffix == ENGINE_SUFFIX:
        return out
    return out / engine_name(onnx, manifest.precision, plan.api.builder)


def engine_name(onnx: Path, precision: Precision, builder: EngineBuilder) -> str:
    """``detector.onnx`` and ``detector.int8.onnx`` both become ``detector.int8.engine``.

    An engine of TensorRT-RTX is called ``detector.int8.rtx.engine``.
    """
    stem = onnx.stem.removesuffix(f".{precision}")
    kind = ".rtx" if builder == "tensorrt-rtx" else ""
    return f"{stem}.{precision}{kind}{ENGINE_SUFFIX}"


def describe_engine(onnx: Path, manifest: Manifest, plan: BuildPlan, facts: BuildFacts) -> Manifest:
    """The manifest of a new engine; the parity gate has not seen it yet.

    Args:
        onnx: what it was built from.
        manifest: of that file; what it says about training and calibration is carried over.
        plan: how it was built.
        facts: what came of it.
    """
    source = Parent(role="onnx", name=onnx.name, sha256=sha256_of(onnx))
    here = library_versions("onnxruntime", "numpy")
    built_by = {plan.api.builder: plan.api.version}
    return manifest.model_copy(
        update={
            "kind": "engine",
            "sha256": "",
            "parity": "n/a",
            "parity_figures": {},
            "dynamic_batch": facts.batch[0] != facts.batch[2],
            "target": plan.target.name if plan.target else manifest.target,
            "parents": [*manifest.parents, source],
            "versions": {**manifest.versions, **here, **built_by},
            "engine": EngineBuild(
                builder=plan.api.builder,
                version=plan.api.version,
                platform=platform_tag(),
                compute_capability=plan.compute_capability,
                device=plan.gpu.name if plan.gpu and plan.runs_here else None,
                batch=facts.batch,
                dla_core=plan.settings.dla_core,
                options=_options(plan, facts),
            ),
        }
    )


def _options(plan: BuildPlan, facts: BuildFacts) -> dict[str, Any]:
    return {
        "workspace_gb": plan.workspace_gb,
        "builder_level": plan.settings.builder_level,
        "refit": plan.settings.refit,
        "strip_weights": plan.settings.strip_weights,
        "tf32": not plan.exact_fp32,
        "timing_cache": facts.timing_cache,
        "build_seconds": round(facts.seconds, 1),
        "num_warnings": facts.num_warnings,
    }
