"""From a typed ONNX file to a TensorRT engine with its manifest, or nothing.

This runs where the engine will run: on a Jetson with JetPack's TensorRT and edgekd's base install.
So nothing here needs torch or onnx, and the check against PyTorch, which needs both or a bundle's
expected outputs, is handed in by the caller. Like every artefact, an engine takes its place only
when it is whole and has been judged; one that fails is kept under another name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import Manifest, manifest_path, write_manifest
from edgekd_export.parity_report import ParityReport
from edgekd_export.staging import publish, staging_folder
from edgekd_export.tensorrt.build_log import BuildLog, open_build_log
from edgekd_export.tensorrt.builder_config import make_config
from edgekd_export.tensorrt.engine_manifest import BuildFacts, describe_engine, engine_path
from edgekd_export.tensorrt.network import ParsedNetwork, parse_network
from edgekd_export.tensorrt.plan import BuildPlan, plan_build
from edgekd_export.tensorrt.profiles import choose_batch
from edgekd_export.tensorrt.settings import TensorRTSettings
from edgekd_export.tensorrt.timing_cache import attach_timing_cache, save_timing_cache
from edgekd_export.tensorrt.trtexec import trtexec_command

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class EngineCheck:
    """What came of holding an engine against its reference."""

    report: ParityReport | None
    note: str = ""  # why there is no report


EngineVerifier = Callable[[Path, Manifest], EngineCheck]


@dataclass(frozen=True)
class EngineResult:
    """What was written, how it was judged, and what TensorRT had to say."""

    engine: Path
    manifest_path: Path
    manifest: Manifest
    parity: ParityReport | None  # None: it could not be run here
    notes: tuple[str, ...]  # what the user should know, one sentence each
    warnings: tuple[str, ...]  # TensorRT's own
    trtexec: str  # the same build with NVIDIA's tool


def build_engine(
    onnx_path: Path,
    manifest: Manifest,
    settings: TensorRTSettings = TensorRTSettings(),  # noqa: B008 (frozen)
    out: Path | None = None,
    console: Console | None = None,
    *,
    verify: EngineVerifier | None = None,
    plan: BuildPlan | None = None,
) -> EngineResult:
    """Build an engine.

    Args:
        onnx_path: fp32, fp16-cast, or int8 with explicit Q/DQ; its types are kept.
        manifest: what that file is, see `read_onnx_source`.
        settings: builder, target, limits, flags.
        out: the ``.engine`` to write, or a folder; None: beside the ONNX file.
        console: where a spinner may turn; None: nothing is shown.
        verify: holds the finished engine, whose manifest lies beside it, against its reference;
            None: it is not run.
        plan: from `plan_build`, where the caller has already made it.

    Raises:
        InputError: no GPU or TensorRT, an ONNX file TensorRT refuses, contradicting options, or
            nowhere to write; an earlier engine is untouched.
        GateError: the engine differs too much; it is kept as ``<name>.parity-failed.engine``.
    """
    plan = plan or plan_build(settings, manifest.precision)
    target = engine_path(out or onnx_path.parent, onnx_path, manifest, plan)
    with staging_folder(target) as folder:
        staged = folder / target.name
        built = _build(onnx_path, manifest, plan, staged, console)
        described = describe_engine(onnx_path, manifest, plan, built.facts)
        check = _verify(verify, staged, described)
        report = check.report
        if report is not None:
            judged = {"parity": report.verdict, "parity_figures": report.figures}
            described = described.model_copy(update=judged)
        final = _final_name(target, report)
        described = publish(staged, final, described)
    if report is not None and report.verdict == "fail":
        raise GateError(f"{report.summary()}; kept as {final}, do not deploy it")
    return EngineResult(
        engine=final,
        manifest_path=manifest_path(final),
        manifest=described,
        parity=report,
        notes=(*built.notes, *([check.note] if check.note else [])),
        warnings=tuple(built.warnings),
        trtexec=_command(onnx_path, final, plan, built),
    )


@dataclass(frozen=True)
class _Built:
    """What the build leaves behind besides the engine."""

    facts: BuildFacts
    input_name: str
    input_shape: tuple[int, int, int, int]
    notes: list[str]
    warnings: list[str]


def _build(
    onnx: Path, manifest: Manifest, plan: BuildPlan, staged: Path, console: Console | None
) -> _Built:
    """Parse, configure, build, and write the engine to ``staged``."""
    log = open_build_log(plan.api.module)
    for_dla = plan.settings.dla_core is not None
    parsed = parse_network(plan.api, log, onnx, manifest, for_dla=for_dla)
    batch = choose_batch(onnx, parsed, plan)
    config = make_config(plan, parsed, batch)
    timing, notes = None, list[str]()
    if plan.settings.timing_cache is not None:
        timing, notes = attach_timing_cache(plan.api, config, log, plan.settings.timing_cache)
    began = time.perf_counter()
    has_nms = manifest.nms is not None
    staged.write_bytes(_serialize(onnx, plan, parsed, config, log, has_nms, console))
    seconds = time.perf_counter() - began
    if timing is not None:
        notes += save_timing_cache(timing)
    facts = BuildFacts(batch, seconds, len(log.warnings), timing is not None)
    return _Built(facts, parsed.input_name, parsed.input_shape, notes, log.warnings)


def _serialize(
    onnx: Path,
    plan: BuildPlan,
    parsed: ParsedNetwork,
    config: Any,
    log: BuildLog,
    has_nms: bool,
    console: Console | None,
) -> Any:
    """The engine's bytes, as an object with the buffer protocol."""
    target = f"SM {plan.compute_capability}" if plan.compute_capability else "SM 8.6 and later"
    message = f"{plan.api.title} builds a {plan.precision} engine for {target} …"
    with console.status(message) if console else nullcontext():
        engine = parsed.builder.build_serialized_network(parsed.network, config)
    if engine is None:
        hint = "; NMS in the graph may be why, export without it" if has_nms else ""
        raise InputError(f"{onnx}: {plan.api.title} built no engine: {log.reason}{hint}")
    return engine


def _verify(verify: EngineVerifier | None, staged: Path, manifest: Manifest) -> EngineCheck:
    if verify is None:
        return EngineCheck(None)
    write_manifest(staged, manifest)  # without it no runner opens the engine
    return verify(staged, manifest)


def _final_name(target: Path, report: ParityReport | None) -> Path:
    if report is None or report.verdict == "pass":
        return target
    return target.with_name(f"{target.stem}.parity-failed{target.suffix}")


def _command(onnx: Path, engine: Path, plan: BuildPlan, built: _Built) -> str:
    return trtexec_command(
        onnx,
        engine,
        plan.settings,
        builder=plan.api.builder,
        input_shape=built.input_shape,
        batch=built.facts.batch,
        workspace_gb=plan.workspace_gb,
        compute_capability=plan.compute_capability,
        exact_fp32=plan.exact_fp32,
        input_name=built.input_name,
    )
