"""Figures that tell the noise of a lower precision from a fault, over all images together.

Rounding moves every number a little, to both sides, and leaves the signal what it was. A fault
moves them to one side (bias), replaces the signal (correlation), gives one class the scores of
another, or cuts scores off. A worst case over images cannot see the difference, because the worst
background cell of an honest int8 file may end anywhere; a median over all cells can.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt

from edgekd_export.aligned_outputs import Aligned
from edgekd_export.noise_limits import NoiseFigures
from edgekd_export.pooled_correlation import PooledCorrelation

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_OBJECT = np.log(0.05 / 0.95)  # the logit from which on a cell counts as an object
_FEW = 20  # a median over fewer values says nothing
_SATURATED = 0.999  # float sigmoids of large logits meet there without anybody's fault


class NoiseTally:
    """Collects the images of one comparison."""

    def __init__(self) -> None:
        self._boxes = _BoxNoise()
        self._scores = _ScoreNoise()
        self._classes = _ClassIdentity()
        self._ties = _TiedScores()

    def add(self, reference: Aligned, candidate: Aligned) -> None:
        """Add one image.

        Args:
            reference: aligned to itself.
            candidate: aligned to the reference.
        """
        objects = reference.logits.max(axis=0, initial=-np.inf) > _OBJECT  # (N,)
        self._boxes.add(reference, candidate, objects)
        self._scores.add(reference, candidate, objects)
        self._classes.add(reference, candidate, objects)
        self._ties.add(reference, candidate)

    def figures(self) -> NoiseFigures:
        """What was found in all images together."""
        return NoiseFigures(
            **self._boxes.figures(),
            **self._scores.figures(),
            class_correlation=self._classes.correlation.lowest(),
            mistaken_classes=self._classes.num_mistaken(),
            tied_best_scores=self._ties.num_cut_off(),
            best_rows_lost=self._classes.share_of_best_lost(),
        )


class _BoxNoise:
    def __init__(self) -> None:
        self._changes: list[Float32Array] = []  # (4, N) an image
        self._objects: list[Float32Array] = []
        self._correlation = PooledCorrelation()

    def add(self, reference: Aligned, candidate: Aligned, objects: BoolArray) -> None:
        change = (candidate.boxes - reference.boxes).astype(np.float32)
        self._changes.append(change)
        self._objects.append(change[:, objects])
        self._correlation.add(reference.boxes, candidate.boxes)

    def figures(self) -> dict[str, float]:
        changes = np.concatenate(self._changes or [np.zeros((4, 0), np.float32)], axis=1)
        return {
            "box_median": _median(abs(changes)),
            "box_bias": max(abs(_median(coordinate)) for coordinate in changes),
            "box_correlation": self._correlation.lowest(),
            "object_box_median": _median(abs(np.concatenate([*self._objects, changes[:, :0]], 1))),
        }


class _ScoreNoise:
    def __init__(self) -> None:
        self._changes: defaultdict[int, list[Float32Array]] = defaultdict(list)  # by class
        self._objects: list[Float32Array] = []
        self._image_medians: list[float] = [0.0]
        self._correlation = PooledCorrelation()
        self._row_correlation = PooledCorrelation()

    def add(self, reference: Aligned, candidate: Aligned, objects: BoolArray) -> None:
        change = (candidate.logits - reference.logits).astype(np.float32)  # (nc, N)
        audible = reference.audible | candidate.audible
        for index, (row, heard) in enumerate(zip(change, audible, strict=True)):
            self._changes[index].append(row[heard])
        self._image_medians.append(_median(abs(change[audible])))
        best = reference.logits.argmax(axis=0)
        self._objects.append(change[best, np.arange(len(best))][objects])
        # A correlation over few and similar values is lower than the noise would have it.
        rows = reference.classes is not None
        correlation = self._row_correlation if rows else self._correlation
        correlation.add(reference.logits, candidate.logits)

    def figures(self) -> dict[str, float]:
        by_class = [np.concatenate(changes) for changes in self._changes.values()]
        together = np.concatenate([*by_class, np.zeros(0, np.float32)])
        return {
            "logit_median": _median(abs(together)),
            "logit_bias": max((abs(_median(changes)) for changes in by_class), default=0.0),
            "logit_correlation": self._correlation.lowest(),
            "row_logit_correlation": self._row_correlation.lowest(),
            "image_logit_median": max(self._image_medians),
            "object_logit_median": _median(
                abs(np.concatenate([*self._objects, np.zeros(0, np.float32)]))
            ),
        }


class _ClassIdentity:
    """Whether class k of the one side is class k of the other."""

    def __init__(self) -> None:
        self.correlation = PooledCorrelation()
        self._taken_for: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._best_lost: list[bool] = []  # of images in which there is an object

    def add(self, reference: Aligned, candidate: Aligned, objects: BoolArray) -> None:
        if reference.classes is not None and candidate.classes is not None:
            ours, theirs = reference.classes[objects], candidate.classes[objects]
            for true, found in zip(ours.tolist(), theirs.tolist(), strict=True):
                if found >= 0:
                    self._taken_for[true][found] += 1
            if objects.any():
                best = int(reference.logits[0].argmax())
                self._best_lost.append(int(candidate.classes[best]) < 0)
        elif len(reference.logits) > 1:
            self.correlation.add(_apart(reference.logits), _apart(candidate.logits))

    def share_of_best_lost(self) -> float:
        return sum(self._best_lost) / len(self._best_lost) if self._best_lost else 0.0

    def num_mistaken(self) -> int:
        rows = sum(counts[true] * 2 < counts.total() for true, counts in self._taken_for.items())
        return rows + self.correlation.num_mistaken()


class _TiedScores:
    """Several scores that are all the highest: something cut them off."""

    def __init__(self) -> None:
        self._best = [-np.inf, -np.inf]  # of the reference, of the candidate
        self._count = [0, 0]

    def add(self, reference: Aligned, candidate: Aligned) -> None:
        for side, aligned in enumerate((reference, candidate)):
            best = float(aligned.logits.max(initial=-np.inf))
            if best > self._best[side]:
                self._best[side], self._count[side] = best, 0
            if best == self._best[side]:
                self._count[side] += int((aligned.logits == best).sum())

    def num_cut_off(self) -> int:
        saturated = self._best[1] >= np.log(_SATURATED / (1 - _SATURATED))
        return 0 if saturated else max(self._count[1] - max(self._count[0], 1), 0)


def _apart(logits: Float64Array) -> Float64Array:
    """(nc, N) without what all classes of a column share."""
    apart: Float64Array = logits - logits.mean(axis=0, keepdims=True)
    return apart


def _median(values: Float32Array) -> float:
    """The median; 0 where there are too few values to speak of one."""
    return float(np.median(values)) if values.size >= _FEW else 0.0
