"""Let ``edgekd bench`` take a bundle wherever it takes a model.

A bundle stands for the ONNX files and engines in it and brings labelled images along, so that on a
device one argument is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.bundle import Bundle, is_bundle, open_bundle
from edgekd_bench.cuda_driver import find_gpu
from edgekd_bench.errors import InputError


@dataclass(frozen=True)
class BenchInputs:
    """What is to be measured, and on what."""

    models: list[Path]
    baselines: list[Path]
    data: Path
    notes: tuple[str, ...]  # what the reader of the results must know, one sentence each


def resolve_inputs(
    models: Sequence[Path], baselines: Sequence[Path], data: Path | None
) -> BenchInputs:
    """Replace bundles by what is in them.

    Args:
        models: model files and bundles; of a bundle, its baselines stay baselines.
        baselines: model files and bundles; of a bundle, its candidates become baselines.
        data: the labelled set; None: that of the bundles.

    Raises:
        InputError: a bundle that is not whole, no data, or bundles with different images.
    """
    opened = {path: open_bundle(path) for path in (*models, *baselines) if is_bundle(path)}
    candidates: list[Path] = []
    rivals: list[Path] = []
    for path in models:
        bundle = opened.get(path)
        candidates += [path] if bundle is None else bundle.measurable("candidate")
        rivals += [] if bundle is None else bundle.measurable("baseline")
    for path in baselines:
        bundle = opened.get(path)
        rivals += [path] if bundle is None else bundle.measurable("candidate")
    kept, notes = _leave_out_engines([*candidates, *rivals], list(opened.values()))
    candidates, rivals = ([p for p in paths if p in kept] for paths in (candidates, rivals))
    if data is None:
        chosen = _only_images(list(opened.values()))
        data = chosen.data
        notes.append(chosen.description.evaluation.note)
    return BenchInputs(candidates, rivals, data, tuple(notes))


def _leave_out_engines(
    paths: Sequence[Path], bundles: Sequence[Bundle]
) -> tuple[set[Path], list[str]]:
    """Without the engines that lie in a bundle, where there is no GPU at all to run them.

    They were not asked for by name, and were built ahead of time or came back from a device.
    """
    inside = {e for bundle in bundles for e in bundle.engines() if e in paths}
    if not inside or find_gpu() is not None:
        return set(paths), []
    return set(paths) - inside, [f"{len(inside)} engines left out: no NVIDIA GPU here to run them"]


def _only_images(bundles: Sequence[Bundle]) -> Bundle:
    """The bundle whose images to use."""
    if not bundles:
        raise InputError("no labelled images: give --data data.yaml (or coco.yaml)")
    if len({bundle.description.evaluation.content_hash for bundle in bundles}) > 1:
        names = ", ".join(str(bundle.folder) for bundle in bundles)
        raise InputError(f"{names} hold different images; give one set for all with --data")
    return bundles[0]
