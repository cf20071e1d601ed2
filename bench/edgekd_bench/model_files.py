"""The files a benchmark is given: what they are called in it, where each runs, and what each is.

Everything that can be refused is refused here, before the first measurement: each model is opened
once on every backend it is to run on, and its classes are held against the set's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.accuracy import check_classes
from edgekd_bench.backend_measurement import ModelFile, runner_options
from edgekd_bench.backends import Backend, backends_of
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.errors import InputError
from edgekd_bench.pairing import Contender
from edgekd_bench.runner import open_runner
from edgekd_bench.settings import BenchSettings


@dataclass(frozen=True)
class Entry:
    """A model on a backend, as it enters the benchmark."""

    file: ModelFile
    backend: Backend
    contender: Contender


def list_models(
    models: Sequence[Path], baselines: Sequence[Path], how: BenchSettings
) -> list[tuple[Path, str, bool]]:
    """Path, name and "was given as a baseline" of each file once, baselines first.

    Files that no wanted backend runs are left out.

    Raises:
        InputError: a kind of file that no backend runs, or nothing is left.
    """
    given: dict[Path, bool] = {}
    paths: list[Path] = []
    for path, is_baseline in [(p, True) for p in baselines] + [(p, False) for p in models]:
        if path.resolve() in given:
            continue
        given[path.resolve()] = is_baseline
        if set(backends_of(path)) & set(how.backends):
            paths.append(path)
    if not paths:
        raise InputError(
            f"no model to measure on {' or '.join(how.backends)}; give .onnx, .pt or .engine files"
        )
    names = display_names(paths)
    return [(p, name, given[p.resolve()]) for p, name in zip(paths, names, strict=True)]


def inspect_models(
    listed: Sequence[tuple[Path, str, bool]],
    dataset: DetectionSet,
    how: BenchSettings,
    build_cache: Path,
) -> list[Entry]:
    """Open every model once on every backend it runs on, backend by backend.

    Raises:
        InputError: a model that cannot be opened, or has other classes than the set.
    """
    return [
        _inspect(path, name, is_baseline, backend, dataset, how, build_cache)
        for backend in how.backends
        for path, name, is_baseline in listed
        if backend in backends_of(path)
    ]


def display_names(paths: Sequence[Path]) -> list[str]:
    """The shortest endings of paths that still tell them apart."""
    parts = [path.resolve().parts for path in paths]
    names = []
    for own in parts:
        length = 1
        while sum(other[-length:] == own[-length:] for other in parts) > 1 and length < len(own):
            length += 1
        names.append("/".join(own[-length:]))
    return names


def _inspect(
    path: Path,
    name: str,
    is_baseline: bool,
    backend: Backend,
    dataset: DetectionSet,
    how: BenchSettings,
    build_cache: Path,
) -> Entry:
    with open_runner(path, backend, runner_options(how, backend, how.batch, build_cache)) as runner:
        check_classes(runner, dataset)
        info = runner.info
    contender = Contender(
        name=name,
        backend=info.backend,
        device=info.device,
        precision=info.precision,
        image_size=info.image_size,
        is_baseline=is_baseline or info.init == "baseline",
        init="baseline" if info.init == "other" and is_baseline else info.init,
        seed=info.seed,
        teacher=info.teacher,
        parity=info.parity,
        given=is_baseline,
        weights=info.weights_sha256,
        layout=info.int8_for,
    )
    return Entry(ModelFile(path, name, info.sha256), backend, contender)
