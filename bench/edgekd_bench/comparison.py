"""One comparison: its figures, their intervals, what follows for the pair, and the sentence on it.

Which models are paired is decided in ``pairing``, how sure the figures are in ``intervals`` and
``latency_ratio``, and what may be claimed from them in ``verdict``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekd_bench.intervals import Measurement, can_decide, map_difference
from edgekd_bench.latency_ratio import is_quiet, latency_ratio
from edgekd_bench.record import Comparison, ComparisonKind
from edgekd_bench.verdict import describe, relate


def compare(
    baselines: Sequence[Measurement],
    candidates: Sequence[Measurement],
    *,
    bootstrap: int,
    seed: int,
    kind: ComparisonKind = "training",
    asked: bool = True,
    doubt: str = "",
) -> Comparison:
    """Compare candidates with baselines, pair by pair.

    Args:
        baselines: one a pair, all of one backend and precision.
        candidates: the partner of each, measured on the same images.
        bootstrap: resamples.
        seed: of the resampling.
        kind: what the claim is about.
        asked: False: nobody named the baseline, it is the candidate's own fp32.
        doubt: why the clocks cannot be trusted, half a sentence; "": they can.
    """
    assert len(baselines) == len(candidates) > 0, "pairs come in twos"
    rng = np.random.default_rng(seed)
    difference = map_difference(baselines, candidates, bootstrap, rng, kind=kind)
    before, after = [m.row for m in baselines], [m.row for m in candidates]
    num_images = len(baselines[0].matches[0].num_truth)
    times = [m.forward_ms for m in baselines], [m.forward_ms for m in candidates]
    if not doubt and not all(is_quiet(samples) for side in times for samples in side):
        doubt = "the machine was busy"
    interleaved = before[0].backend == after[0].backend
    ratio = latency_ratio(*times, interleaved=interleaved, doubt=doubt)
    relation = relate(
        difference if can_decide(kind, len(after), num_images) else None,
        None if doubt else ratio,
    )
    return Comparison(
        backend=after[0].backend,
        precision=after[0].precision,
        baseline_backend=before[0].backend,
        baseline_precision=before[0].precision,
        baselines=[row.model for row in before],
        candidates=[row.model for row in after],
        seeds=[row.seed for row in after],
        kind=kind,
        asked=asked,
        map50_95_difference=difference,
        latency_p50_ratio=ratio,
        relation=relation,
        text=describe(before, after, difference, ratio, num_images, kind, relation, doubt),
    )
