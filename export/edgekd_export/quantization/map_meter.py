"""mAP of a graph that has no file yet, through the runner and the scores of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from edgekd_bench.accuracy import evaluate
from edgekd_bench.backends import Backend
from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.manifest import Manifest
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_export.onnx_graph import label


@dataclass(frozen=True)
class MapMeter:
    """Measures graphs of one detector on one labelled set."""

    dataset: DetectionSet
    manifest: Manifest  # of the graphs; their precision plays no part
    batch: int
    folder: Path  # for the file a runner needs
    progress: BenchProgress
    backend: Backend = "onnxruntime"

    def __call__(self, graph: onnx.ModelProto, what: str) -> float:
        """mAP50-95 of a graph.

        Raises:
            InputError: classes of the set and of the model differ, or a broken image.
        """
        labelled = onnx.ModelProto.FromString(graph.SerializeToString())
        label(labelled, self.manifest, self.batch)
        path = self.folder / "candidate.onnx"
        path.write_bytes(labelled.SerializeToString())
        options = RunnerOptions(batch=self.batch)
        try:
            with (
                open_runner(path, self.backend, options) as runner,
                self.progress.stage(what, len(self.dataset.images)) as advance,
            ):
                found = evaluate(runner, self.dataset, batch=self.batch, on_image=advance)
        finally:
            path.unlink()
        return found.score.map50_95


def evenly_spread(dataset: DetectionSet, count: int) -> DetectionSet:
    """At most ``count`` images of a set, spread over it."""
    if len(dataset.images) <= count:
        return dataset
    places = np.linspace(0, len(dataset.images) - 1, count).round().astype(int)
    return replace(dataset, images=tuple(dataset.images[place] for place in places))
