"""Does distillation pay? One comparison: its figures, their intervals, and the sentence on them.

Which models are paired is decided in ``pairing``, how sure the figures are in ``intervals``, and
what may be claimed from them in ``verdict``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekd_bench.intervals import Measurement, latency_ratio, map_difference
from edgekd_bench.record import Comparison
from edgekd_bench.verdict import describe


def compare(
    baselines: Sequence[Measurement],
    candidates: Sequence[Measurement],
    *,
    bootstrap: int,
    seed: int,
) -> Comparison:
    """Compare candidates with baselines, pair by pair.

    Args:
        baselines: one a pair, all of one backend and precision.
        candidates: the partner of each, measured on the same images in the same rounds.
        bootstrap: resamples.
        seed: of the resampling.
    """
    assert len(baselines) == len(candidates) > 0, "pairs come in twos"
    rng = np.random.default_rng(seed)
    difference = map_difference(baselines, candidates, bootstrap, rng)
    ratio = latency_ratio(
        [m.forward_ms for m in baselines], [m.forward_ms for m in candidates], bootstrap, rng
    )
    rows = [m.row for m in baselines], [m.row for m in candidates]
    num_images = len(baselines[0].matches[0].num_truth)
    return Comparison(
        backend=baselines[0].row.backend,
        precision=baselines[0].row.precision,
        baselines=[row.model for row in rows[0]],
        candidates=[row.model for row in rows[1]],
        seeds=[row.seed for row in rows[1]],
        map50_95_difference=difference,
        latency_p50_ratio=ratio,
        text=describe(*rows, difference, ratio, num_images),
    )
