"""Correlations between channels over many images, from running sums.

A median says how large a change is; a correlation says whether what remains is still the same
signal. Sums are kept instead of values, so that a thousand images need no more memory than one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_FLAT = 1e-9  # of a channel's mean square: a variance below this is none
_CLEARLY = 0.02  # two channels may be alike in the reference, too


class PooledCorrelation:
    """Pearson correlations of C channels of one side with C channels of the other."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: tuple[Float64Array, ...] | None = None

    def add(self, reference: Float64Array, candidate: Float64Array) -> None:
        """Add N values of each channel: (C, N) twice."""
        new = (
            reference.sum(axis=1),
            candidate.sum(axis=1),
            (reference**2).sum(axis=1),
            (candidate**2).sum(axis=1),
            candidate @ reference.T,  # (C, C)
        )
        self._count += reference.shape[1]
        old = self._sums
        self._sums = new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))

    def matrix(self) -> Float64Array:
        """(C, C): row, a channel of the candidate; column, one of the reference.

        A reference that never changes can be like nothing: NaN. A candidate that never changes
        although its reference does is like nothing: 0.
        """
        if self._sums is None or not self._count:
            return np.empty((0, 0))
        a, b, aa, bb, ba = (sums / self._count for sums in self._sums)
        variance_a, variance_b = aa - a**2, bb - b**2
        flat_a, flat_b = variance_a <= _FLAT * aa, variance_b <= _FLAT * bb
        scale = np.sqrt(np.outer(np.where(flat_b, 1, variance_b), np.where(flat_a, 1, variance_a)))
        correlation = (ba - np.outer(b, a)) / scale
        correlation[flat_b] = 0
        correlation[:, flat_a] = np.nan
        return np.asarray(correlation, np.float64)

    def lowest(self) -> float:
        """The lowest correlation of a channel with itself; 1 where none ever changes."""
        own = self.matrix().diagonal()
        return float(np.nanmin(own, initial=1.0)) if len(own) else 1.0

    def num_mistaken(self) -> int:
        """Channels of the candidate that are more like another channel than like their own."""
        matrix = self.matrix()
        if len(matrix) < 2:
            return 0
        best = np.nan_to_num(matrix, nan=-2.0).max(axis=1)
        return int((best > matrix.diagonal() + _CLEARLY).sum())
