"""How large the values of one activation are, from any number of images in constant memory.

ONNX Runtime's calibraters keep every activation of every image until they are asked for ranges:
some hundred megabytes an image at 640 pixels. A histogram of |x| is all that symmetric ranges need,
so an image is counted and forgotten, and one pass serves every method.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NUM_BINS = 2048
_LEVELS = 128  # non-negative values of int8
_STEP = 8  # candidates lie this many bins apart
_SMOOTHING = 1e-4  # of a count, so that no bin of the compared distributions is quite empty

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


class ActivationHistogram:
    """Counts of |x| in equal bins from 0 to a limit that doubles when a larger value comes."""

    def __init__(self) -> None:
        self.lowest = np.inf
        self.highest = -np.inf
        self._counts: IntArray = np.zeros(NUM_BINS, np.int64)
        self._limit = 0.0  # upper edge of the last bin; 0: nothing but zeros so far

    def add(self, values: FloatArray) -> None:
        """Count the values of one image; they must be finite."""
        self.lowest = min(self.lowest, float(values.min()))
        self.highest = max(self.highest, float(values.max()))
        self._grow(self.largest)
        if self._limit == 0:
            self._counts[0] += values.size
            return
        scaled = np.abs(values.ravel()) * (NUM_BINS / self._limit)
        places = np.minimum(scaled.astype(np.int32), NUM_BINS - 1)
        self._counts += np.bincount(places, minlength=NUM_BINS)

    @property
    def largest(self) -> float:
        """The largest |x| of all: the threshold of the MinMax method, which clips nothing."""
        return max(abs(self.lowest), abs(self.highest))

    def percentile(self, percent: float) -> float:
        """The |x| that ``percent`` of all values stay below, upper edge of its bin."""
        wanted = np.ceil(self._counts.sum() * (percent / 100))
        place = int(np.searchsorted(self._counts.cumsum(), wanted))
        return min((place + 1) * self._limit / NUM_BINS, self.largest)

    def entropy(self) -> float:
        """The threshold at which int8 keeps most of the distribution of |x|.

        Of all thresholds the one with the smallest Kullback-Leibler divergence between the
        distribution clipped there and the same in 128 levels (Migacz, "8-bit Inference with
        TensorRT", GTC 2017).
        """
        divergences = {
            kept: _divergence(self._counts, kept) for kept in range(_LEVELS, NUM_BINS + 1, _STEP)
        }
        best = min(divergences, key=lambda kept: divergences[kept])
        return min(best * self._limit / NUM_BINS, self.largest)

    def _grow(self, largest: float) -> None:
        """Double the limit, merging bins in pairs, until ``largest`` fits."""
        if self._limit == 0:
            self._limit = largest
        while largest > self._limit:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate([pairs, np.zeros(NUM_BINS // 2, np.int64)])
            self._limit *= 2


def _divergence(counts: IntArray, kept: int) -> float:
    """KL divergence of the first ``kept`` bins, the rest clipped into the last, from 128 levels."""
    inside = counts[:kept].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += counts[kept:].sum()
    starts = np.arange(_LEVELS) * kept // _LEVELS
    widths = np.diff(starts, append=kept)
    occupied = np.add.reduceat((inside > 0).astype(np.float64), starts)
    level_means = np.add.reduceat(inside, starts) / np.maximum(occupied, 1)
    levelled = np.where(inside > 0, np.repeat(level_means, widths), 0.0)
    p, q = clipped + _SMOOTHING, levelled + _SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())
