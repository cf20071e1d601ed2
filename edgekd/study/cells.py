"""Train the detectors of a study and let each find its boxes, several at a time where asked.

A cell is done when its detector and its detections lie in its folder, unchanged and made from the
same inputs; a study that was stopped goes on with the cells that are missing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.console import Console

from edgekd.config import section_hash
from edgekd.run_stages import LabelledData, RunStages
from edgekd.study.plan import Cell
from edgekd_bench.accuracy import evaluate
from edgekd_bench.coco_score import Score, score_detections
from edgekd_bench.detections import Detections
from edgekd_bench.manifest import sha256_of, write_bytes_atomically
from edgekd_bench.runner import RunnerOptions, open_runner


@dataclass(frozen=True)
class Trained:
    """What is left of a cell: its files."""

    detector: Path
    sha256: str
    detections: Path


def train_cells(
    cells: Sequence[Cell], data: LabelledData, jobs: int, console: Console
) -> Iterator[tuple[Cell, Trained]]:
    """Each cell with its files, as they are finished.

    Raises:
        InputError: bad input to a training.
        GateError: a hand-over could not be proven.
        StoppedError: stopped by the user.
    """
    if jobs == 1:
        for cell in cells:
            yield cell, train_cell(cell, data, console)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train_cell, cell, data): cell for cell in cells}
        try:
            for finished in as_completed(waiting):
                yield waiting[finished], finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train_cell(cell: Cell, data: LabelledData, console: Console | None = None) -> Trained:
    """Train one detector and run it over the val images; skipped where that is done."""
    stages = RunStages(cell.config, console or Console(quiet=True), data)
    detector = stages.train(cell.backbone, cell.seed)
    digest = sha256_of(detector)
    found = detector.with_name("detections.npz")
    how = cell.config.bench
    thresholds = repr(how.accuracy_thresholds())
    inputs = section_hash(digest, stages.val_hash, stages.versions, thresholds)
    stage = f"detect-{detector.parent.name}"
    if not stages.stamps.is_done(stage, inputs):
        _detect(cell, data, detector, found)
        stages.stamps.mark_done(stage, inputs, [found])
    return Trained(detector, digest, found)


def score_of(trained: Trained, data: LabelledData) -> Score:
    """COCO's mAP of a cell, from its detections on disk."""
    return score_detections(_read(trained.detections), data.val)


def _detect(cell: Cell, data: LabelledData, detector: Path, found: Path) -> None:
    """Find the boxes of all val images with the deployed pre- and postprocessing."""
    how = cell.config.bench
    options = RunnerOptions(image_size=cell.config.image_size, device=how.device)
    with open_runner(detector, "pytorch", options) as runner:
        accuracy = evaluate(runner, data.val, thresholds=how.accuracy_thresholds())
    _write(found, accuracy.detections)


def _write(path: Path, detections: Sequence[Detections]) -> None:
    """One row of ``boxes``, ``scores`` and ``class_ids`` a box; ``counts`` says whose they are."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        counts=np.array([len(one) for one in detections]),
        boxes=np.concatenate([one.boxes for one in detections]),
        scores=np.concatenate([one.scores for one in detections]),
        class_ids=np.concatenate([one.class_ids for one in detections]),
    )
    write_bytes_atomically(path, content.getvalue())


def _read(path: Path) -> list[Detections]:
    with np.load(path) as stored:
        ends = np.cumsum(stored["counts"])[:-1]
        parts = [np.split(stored[name], ends) for name in ("boxes", "scores", "class_ids")]
    return [Detections(*one) for one in zip(*parts, strict=True)]
