"""A manifest for people: what the network is, what it was made from, how well it was proven."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from edgekd_bench.engine_fit import PRODUCT_NAMES
from edgekd_bench.inspection.findings import GraphFacts, ManifestSource
from edgekd_bench.inspection.layout import counted, facts, heading, in_a_row, short, table
from edgekd_bench.manifest import Calibration, EngineBuild, Manifest, TeacherIdentity

_MAX_NAMES = 8
_MAX_DECISIONS = 10
_COUNTED = ("image", "detection")


def describe_manifest(
    manifest: Manifest, source: ManifestSource | None, graph: GraphFacts | None
) -> list[RenderableType]:
    """The parts of a manifest that say something.

    Args:
        manifest: the manifest.
        source: where it was found; None: it is the file itself.
        graph: of an ONNX file, for what is found in it rather than declared.
    """
    parts = [
        heading(f"Network, {_source(source)}"),
        facts(
            kind=manifest.kind if source is None else None,
            describes=manifest.sha256 if source is None else None,
            training=_training(manifest),
            teacher=teacher_text(manifest.teacher),
            licence=manifest.licence or "not stated",
            classes=class_names(manifest.names),
            image_size=f"{manifest.image_size} px square, stride {manifest.stride}",
            pixels=_pixels(manifest),
            batch=_batch(manifest, graph),
            head=_head(manifest),
            precision=_precision(manifest, graph),
            calibration=_calibration(manifest.calibration),
            target=manifest.target,
            parameters=f"{manifest.num_params:,}" if manifest.num_params else None,
            config=manifest.config_hash,
            versions=in_a_row(manifest.versions) or None,
        ),
    ]
    if manifest.parents:
        rows = [(p.role, p.name, short(p.sha256)) for p in manifest.parents]
        parts += [heading("Made from"), table(("role", "file", "sha256"), rows)]
    if manifest.engine:
        parts += _engine(manifest.engine)
    return [*parts, *_parity(manifest), *_decisions(manifest)]


def teacher_text(teacher: TeacherIdentity | None) -> str:
    """Name, licence and hash of a teacher."""
    if teacher is None:
        return "none named"
    return f"{teacher}, sha256 {short(teacher.sha256)}"


def class_names(names: dict[int, str]) -> str:
    """``6: one, two, three, …``"""
    shown = [names[index] for index in sorted(names)][:_MAX_NAMES]
    hidden = len(names) - len(shown)
    more = f", … and {hidden} more" if hidden else ""
    return f"{len(names)}: {', '.join(shown)}{more}"


def _source(source: ManifestSource | None) -> str:
    if source is None:
        return "by this manifest"
    return {
        "beside it": "by the manifest beside it",
        "inside it": "by the manifest inside it",
        "Ultralytics' metadata": "by the metadata Ultralytics wrote into it",
        "the network itself": "as it describes itself",
    }[source]


def _training(manifest: Manifest) -> str:
    kind = "unknown" if manifest.init == "other" else manifest.init
    return kind if manifest.seed is None else f"{kind}, seed {manifest.seed}"


def _pixels(manifest: Manifest) -> str:
    way = manifest.preprocessing
    top = way.scale * 255
    return (
        f"{way.color.upper()}, {way.layout.upper()}, 0 to {top:g}, letterboxed ({way.letterbox}, "
        f"padded with {way.pad_value})"
    )


def _batch(manifest: Manifest, graph: GraphFacts | None) -> str | None:
    if manifest.engine:
        least, best, most = manifest.engine.batch
        return f"{least}" if least == most else f"{least} to {most}, best at {best}"
    if graph and graph.inputs and graph.inputs[0].shape:
        first = graph.inputs[0].shape[0]
        return f"{first}, fixed" if isinstance(first, int) else f"any ('{first}')"
    if manifest.kind == "detector":
        return None
    return "any" if manifest.dynamic_batch else "fixed"


def _head(manifest: Manifest) -> str:
    if manifest.nms:
        nms = manifest.nms
        return (
            f"NMS in the graph: score above {nms.conf:g}, IoU {nms.iou:g}, at most {nms.max_det} "
            "boxes an image"
        )
    if manifest.end_to_end:
        return "end to end: boxes, scores and classes, no NMS needed"
    return "raw: boxes and class probabilities of every anchor, needs NMS"


def _precision(manifest: Manifest, graph: GraphFacts | None) -> str:
    laid_out = f", laid out for {manifest.int8_for}" if manifest.int8_for else ""
    declared = f"{manifest.precision}{laid_out}"
    if graph is None:
        return declared
    found = graph.precision or "unknown: no stored weights"
    return f"{declared} (declared), {found} (found in the graph)"


def _calibration(calibration: Calibration | None) -> str | None:
    if calibration is None:
        return None
    percentile = "" if calibration.percentile is None else f" {calibration.percentile:g}"
    return (
        f"{calibration.method}{percentile}, {counted(calibration.num_images, 'image')} of "
        f"{calibration.source}, "
        f"images {short(calibration.images_sha256)}, cache {short(calibration.cache_sha256)}"
    )


def _engine(build: EngineBuild) -> list[RenderableType]:
    capability = build.compute_capability or "no GPU in particular"
    return [
        heading("Engine"),
        facts(
            built_by=f"{PRODUCT_NAMES[build.builder]} {build.version} on {build.platform}",
            built_for=f"SM {capability}" if build.compute_capability else capability,
            built_on=build.device,
            DLA_core=None if build.dla_core is None else str(build.dla_core),
            options=in_a_row({k: v for k, v in build.options.items() if v is not None}) or None,
        ),
    ]


def _parity(manifest: Manifest) -> list[RenderableType]:
    if manifest.parity == "n/a" and manifest.kind == "detector":
        return []  # it is PyTorch
    figures = dict(manifest.parity_figures)
    counts = [
        counted(int(figures.pop(f"num_{noun}s")), noun)
        for noun in _COUNTED
        if f"num_{noun}s" in figures
    ]
    verdict = {"pass": "passed", "fail": "FAILED", "n/a": "not measured"}[manifest.parity]
    style = "bold red" if manifest.parity == "fail" else "bold"
    title = Text("\nParity with PyTorch: " + ", ".join([verdict, *counts]), style=style)
    if not figures:
        return [title]
    limits = manifest.parity_limits
    rows = [(name, _figure(name, value), _limit(name, limits)) for name, value in figures.items()]
    if limits:
        return [title, table(("figure", "worst", "limit"), rows, right=2)]
    return [title, table(("figure (limits not recorded)", "worst"), [r[:2] for r in rows], right=1)]


def _figure(name: str, value: float) -> str:
    """Cosines are told by what they lack, which four digits of themselves would hide."""
    return f"1 - {1 - value:.2g}" if name.endswith("cosine") else f"{value:.4g}"


def _limit(name: str, limits: Mapping[str, tuple[str, float]]) -> str:
    if name not in limits:
        return "none"
    rule, value = limits[name]
    return f"{rule} {_figure(name, value)}"


def _decisions(manifest: Manifest) -> list[RenderableType]:
    if not manifest.decisions:
        return []
    counts = Counter(decision.precision for decision in manifest.decisions)
    shown = manifest.decisions[:_MAX_DECISIONS]
    rows: list[Sequence[str]] = [
        (d.layer, f"{d.sqnr_db:.1f}", d.precision, d.reason) for d in shown
    ]
    headings: Sequence[str] = ("layer, most sensitive first", "SQNR dB", "precision", "reason")
    reasons = {decision.reason for decision in manifest.decisions}
    if len(reasons) == 1:  # the same sentence in every row is noise
        headings, rows = headings[:3], [row[:3] for row in rows]
    hidden = len(manifest.decisions) - len(shown)
    figures = {name: f"{value:.4g}" for name, value in manifest.accuracy_figures.items()}
    return [
        heading(f"Sensitivity search: {counts['int8']} layers int8, {counts['float']} float"),
        facts(reason=reasons.pop() if len(reasons) == 1 else None, accuracy=in_a_row(figures)),
        table(headings, rows),
        *([Text(f" … and {hidden} more, see --json")] if hidden else []),
    ]
