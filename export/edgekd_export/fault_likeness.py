"""How far an artefact has gone from PyTorch in the direction of a known mistake.

Let r be what PyTorch answers, f what it answers with a mistake made on purpose, c what the artefact
answers. The likeness is the projection of c - r on f - r in units of f - r: 0 for a right artefact,
1 for one with the mistake. Noise has components in all directions and little in this one, so int8
rounding several times as large as the mistake leaves the figure near 0. Above 0.5 the artefact
is nearer to the mistake than to the truth. It is a matched filter (North, 1943), as used to find
echoes of known shape in noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgekd_export.aligned_outputs import Aligned

Float64Array = npt.NDArray[np.float64]


_WIDE_OF_THE_MARK = 0.25  # how far from 1 the likeness of a mistake that was made may be
_MOSTLY = 0.5  # share of the difference that a mistake must explain to be named


@dataclass(frozen=True)
class Suspicion:
    """How like a mistake an artefact behaves, and which it must be if any."""

    likeness: float
    fault: str = ""  # "" where none explains most of the difference


@dataclass
class _Projection:
    noise_on_fault: float = 0.0  # <c - r, f - r>
    fault_squared: float = 0.0
    noise_squared: float = 0.0

    @property
    def likeness(self) -> float:
        return self.noise_on_fault / self.fault_squared

    @property
    def explained(self) -> float:
        """Share of the squared difference that lies in the direction of the mistake."""
        if not self.noise_squared:
            return 0.0
        return self.likeness * self.noise_on_fault / self.noise_squared

    @property
    def shows(self) -> bool:
        """Whether the mistake would be larger than the noise that it leaves unexplained."""
        return self.fault_squared >= self.noise_squared * (1 - self.explained)

    @property
    def accounts_for_it(self) -> bool:
        return abs(self.likeness - 1) <= _WIDE_OF_THE_MARK and self.explained >= _MOSTLY


@dataclass
class FaultTally:
    """Collects images; each mistake may have been tried on other ones."""

    _projections: dict[str, _Projection] = field(default_factory=dict)

    def add(self, fault: str, reference: Aligned, faulty: Aligned, candidate: Aligned) -> None:
        """Add one image, all three aligned to the reference."""
        noise, direction = _apart(reference, candidate), _apart(reference, faulty)
        moved = direction != 0  # a mistake in decoding boxes leaves scores alone, so their noise
        if not moved.any():  # is none of its concern; a square photograph has no padding at all
            return
        noise, direction = noise[moved], direction[moved]
        projection = self._projections.setdefault(fault, _Projection())
        projection.noise_on_fault += float(noise @ direction)
        projection.fault_squared += float(direction @ direction)
        projection.noise_squared += float(noise @ noise)

    def worst(self) -> Suspicion:
        """The greatest likeness to any mistake that is not lost in the noise."""
        judged = {name: one for name, one in self._projections.items() if one.shows}
        likeness = max((one.likeness for one in judged.values()), default=0.0)
        named = {name: one.explained for name, one in judged.items() if one.accounts_for_it}
        return Suspicion(max(likeness, 0.0), max(named, key=named.__getitem__, default=""))


def _apart(reference: Aligned, other: Aligned) -> Float64Array:
    boxes, logits = other.boxes - reference.boxes, other.logits - reference.logits
    return np.concatenate([boxes.ravel(), logits.ravel()])
