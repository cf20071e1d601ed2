"""The other parts of an inspection for people: graph, distillation, benchmark, bundle, caches."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from edgekd_bench.bundle import BundleDescription
from edgekd_bench.inspection.findings import (
    CalibrationFacts,
    DistillationFacts,
    FeatureCacheFacts,
    GraphFacts,
    TensorFacts,
)
from edgekd_bench.inspection.layout import (
    bytes_text,
    counted,
    facts,
    heading,
    in_a_row,
    short,
    table,
)
from edgekd_bench.inspection.manifest_text import teacher_text
from edgekd_bench.record import BenchRecord
from edgekd_bench.table import results_table

_MAX_OPERATORS = 12


def describe_graph(graph: GraphFacts) -> list[RenderableType]:
    """Inputs, outputs and operators of an ONNX graph."""
    common = dict(list(graph.nodes.items())[:_MAX_OPERATORS])
    hidden = len(graph.nodes) - len(common)
    more = f", and {counted(hidden, 'other operator')}" if hidden else ""
    quantize, dequantize = (graph.nodes.get(f"{kind}Linear", 0) for kind in _QDQ)
    return [
        heading("Graph"),
        facts(
            inputs="\n".join(map(_tensor, graph.inputs)),
            outputs="\n".join(map(_tensor, graph.outputs)),
            opset=", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in graph.opsets.items()),
            written_by=f"{graph.producer or 'unknown'}, IR version {graph.ir_version}",
            nodes=f"{graph.num_nodes:,}: {in_a_row(common)}{more}",
            Q_and_DQ=f"{quantize} QuantizeLinear, {dequantize} DequantizeLinear"
            if quantize or dequantize
            else "none",
            int8_weights=f"in {graph.int8_layers} of {counted(graph.layers, 'layer')}",
            stored=in_a_row({k: f"{n:,}" for k, n in graph.num_weights.items() if n}) or "nothing",
        ),
    ]


_QDQ = ("Quantize", "Dequantize")


def _tensor(tensor: TensorFacts) -> str:
    return f"{tensor.name}  ({', '.join(map(str, tensor.shape))}) {tensor.dtype}"


def describe_distillation(found: DistillationFacts) -> list[RenderableType]:
    """What a backbone or a distillation checkpoint was made with."""
    at = found.position
    position = None
    if at:
        position = ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in at.items())
    quality = None if found.heldout_cosine is None else f"{found.heldout_cosine:.4f}"
    return [
        heading("Distillation"),
        facts(
            format=found.format,
            student=found.student,
            teacher=teacher_text(found.teacher),
            images=f"{found.num_images:,} at {found.image_size} px, "
            f"sha256 {short(found.images_sha256)}",
            epochs=f"{found.epochs}, seed {found.seed}",
            position=position,
            best_epoch=None if found.best_epoch is None else str(found.best_epoch),
            cosine=quality and f"{quality} with the teacher, on held-out images",
            precision=f"{found.precision} while distilling",
            backbone=f"{found.num_tensors} tensors, {found.num_values:,} numbers",
            tensors_hash=found.tensors_hash,
            config=found.config_hash,
            versions=in_a_row(found.versions),
        ),
    ]


def describe_record(record: BenchRecord) -> list[RenderableType]:
    """The table `edgekd bench` prints, and what led to the verdict."""
    gate = [f"{'FAIL' if o.violated else 'ok  '} {o.text}" for o in record.gate]
    libraries = record.environment.get("libraries", {})
    return [
        Text(""),
        results_table(record),
        *(
            Text(f"{comparison.backend} {comparison.precision}: {comparison.text}")
            for comparison in record.verdict.comparisons
            if comparison.text not in record.verdict.headline
        ),
        *(Text(line, style="bold red" if line.startswith("FAIL") else "") for line in gate),
        heading("Run"),
        facts(
            images_hash=str(record.data.get("hash", "not recorded")),
            rows=str(len(record.rows)),
            seeds=str(record.verdict.num_seeds),
            self_checks=_self_checks(record),
            versions=in_a_row(libraries) if isinstance(libraries, dict) else str(libraries),
            command=" ".join(record.command) or None,
        ),
    ]


def _self_checks(record: BenchRecord) -> str:
    if not record.self_checks:
        return "none were made"
    passed = sum(check.passed for check in record.self_checks)
    return f"{passed} of {len(record.self_checks)} passed"


def describe_bundle(bundle: BundleDescription) -> list[RenderableType]:
    """What is in a bundle and what for."""
    models = [
        (m.name, m.role, m.precision + (", fallback" if m.fallback else ""), m.onnx)
        for m in bundle.models
    ]
    rows = [(file.path, short(file.sha256), bytes_text(file.size)) for file in bundle.files]
    return [
        facts(
            name=bundle.name,
            packed_by=f"edgekd {bundle.edgekd}",
            target=bundle.target or "no device in particular",
            images=bundle.evaluation.note,
            boxes=str(bundle.evaluation.num_boxes),
            calibration=", ".join(bundle.calibration) or None,
            licences="\n".join(f"{what}: {terms}" for what, terms in bundle.licences.items()),
        ),
        heading("Models"),
        table(("name", "role", "precision", "file"), models),
        heading(counted(len(rows), "file")),
        table(("file", "sha256", "size"), rows, right=1),
    ]


def describe_calibration(found: CalibrationFacts) -> list[RenderableType]:
    """Where int8 ranges come from."""
    choice = None
    if found.auto:
        scores = {name: f"{value:.4g}" for name, value in found.auto.scores.items()}
        choice = (
            f"{found.auto.method}, judged by {found.auto.judged_by} on "
            f"{counted(found.auto.num_images, 'image')}: {in_a_row(scores)}"
        )
    return [
        facts(
            ranges=f"of {counted(found.num_tensors, 'tensor')}",
            images=f"{found.num_images:,} of {found.source} at {found.image_size} px",
            images_sha256=short(found.images_sha256),
            graph_sha256=f"{short(found.graph_sha256)}, the only network it fits",
            percentile=f"{found.percentile:g}",
            auto_chose=choice or "not asked",
        )
    ]


def describe_feature_cache(found: FeatureCacheFacts) -> list[RenderableType]:
    """What teacher features are stored, and how faithfully."""
    levels = [
        f"stride {lv.stride}: {lv.channels} × {lv.height} × {lv.width}" for lv in found.levels
    ]
    components = "" if found.components is None else f", {found.components} components"
    return [
        facts(
            teacher=teacher_text(found.teacher),
            image_size=f"{found.image_size} px",
            views=f"crops of {found.crop_scale[0]:g} to {found.crop_scale[1]:g}, "
            f"{'flipped too' if found.flip else 'never flipped'}, seed {found.seed}",
            space=f"{found.space}{components}, stored as {found.numbers}, "
            f"computed in {found.precision}",
            levels="\n".join(levels),
            records=f"{found.num_records:,} in {counted(found.num_shards, 'shard')}, "
            f"{bytes_text(found.shard_bytes)}{', with pixels' if found.pixels else ''}",
            fidelity=_fidelity(found),
        )
    ]


def _fidelity(found: FeatureCacheFacts) -> str:
    measured = found.fidelity or {}
    cosines = measured.get("centred")
    if not isinstance(cosines, dict):
        return "not measured"
    figures = {f"stride {stride}": f"{value:.4f}" for stride, value in cosines.items()}
    return f"cosine with the live teacher: {in_a_row(figures)}"
