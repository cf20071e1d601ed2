"""The page a person finds in a bundle: what it is, what to type, what may be done with it."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd_bench.bundle import BundleDescription, BundledModel
from edgekd_bench.manifest import Manifest


def readme(description: BundleDescription, folder_name: str, manifests: Sequence[Manifest]) -> str:
    """The text of ``README.md``.

    Args:
        description: what is in the bundle.
        folder_name: what the bundle's folder is called.
        manifests: of the models, in the order of the description.
    """
    return "\n".join(
        [
            f"# {description.name}",
            "",
            _what(description),
            "",
            *_commands(folder_name),
            "",
            *_contents(description, manifests),
            "",
            *_licences(description),
            "",
        ]
    )


def _what(description: BundleDescription) -> str:
    target = f" for {description.target}" if description.target else ""
    return (
        f"A detector{target}, packed by edgekd {description.edgekd} with all a device needs to "
        "build an engine from it, to verify that the engine computes what PyTorch computed, and "
        "to measure it."
    )


def _commands(folder_name: str) -> list[str]:
    return [
        "## On the device",
        "",
        "    pip install edgekd pycuda",
        f"    edgekd export --trt {folder_name}",
        f"    edgekd bench {folder_name}",
        "",
        "The first line needs neither torch nor onnx; TensorRT itself comes with JetPack (see",
        "`docs/jetson.md` of edgekd). The second builds `engines/` and verifies them. The third",
        "measures latency and mAP, and compares with the baseline if one is packed.",
        "",
        "Both commands first hold all files against the SHA-256 in `bundle.json`. An engine fits",
        "the machine and the TensorRT that built it; after a change of either, build again.",
    ]


def _contents(description: BundleDescription, manifests: Sequence[Manifest]) -> list[str]:
    evaluation = description.evaluation
    lines = [
        "## What is in it",
        "",
        "| file | role | precision | input | parity with PyTorch |",
        "|---|---|---|---|---|",
        *(_row(model, what) for model, what in zip(description.models, manifests, strict=True)),
        "",
        f"- `{evaluation.data}`: {evaluation.num_images} labelled images with "
        f"{evaluation.num_boxes} objects. {evaluation.note}.",
        "- `expected/`: images of the parity gate and what PyTorch answered to them.",
        "- `deploy/deepstream/`, `deploy/triton/`: configurations that fit the first model.",
    ]
    if description.calibration:
        files = ", ".join(f"`{path}`" for path in description.calibration)
        lines.append(f"- {files}: ranges the int8 scales were made from.")
    return lines


def _row(model: BundledModel, manifest: Manifest) -> str:
    role = f"{model.role}, to fall back on" if model.fallback else model.role
    batch = "any batch" if manifest.dynamic_batch else "fixed batch"
    return (
        f"| `{model.onnx}` | {role} | {model.precision} | {manifest.image_size} px, {batch} "
        f"| {manifest.parity} |"
    )


def _licences(description: BundleDescription) -> list[str]:
    rows = [f"- {what}: {licence}" for what, licence in description.licences.items()]
    return ["## Licences", "", *rows]
