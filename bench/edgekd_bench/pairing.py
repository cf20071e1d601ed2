"""Which model is compared with which: same backend, precision and image size, and the same seed.

A pair by seed is what makes the comparison fair: both sides had the same data order and the same
luck. A pairing that is ambiguous is refused before anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Init, Parity

Precision = Literal["fp32", "fp16", "int8"]
_PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Contender:
    """What pairing needs to know of a model."""

    name: str
    backend: str
    device: str
    precision: Precision
    image_size: int
    is_baseline: bool
    init: Init
    seed: int | None
    teacher: str | None
    parity: Parity

    @property
    def group(self) -> tuple[str, str, str, int]:
        """Only models of one group may be compared."""
        return (self.backend, self.device, self.precision, self.image_size)


@dataclass(frozen=True)
class PairGroup:
    """The pairs of one comparison: position k of each list belongs together."""

    baselines: list[Contender]
    candidates: list[Contender]

    @property
    def seeds(self) -> list[int | None]:
        """The seed of each pair."""
        return [candidate.seed for candidate in self.candidates]


@dataclass(frozen=True)
class Pairing:
    """All comparisons, the one to lead with first, and what was left out and why."""

    groups: list[PairGroup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pair_models(contenders: Sequence[Contender]) -> Pairing:
    """Pair every candidate with the baseline of its group and seed.

    Raises:
        InputError: two baselines could be the partner of one candidate.
    """
    failed = [c for c in contenders if c.parity == "fail"]
    sound = [c for c in contenders if c.parity != "fail"]
    notes = [
        f"{c.name} is left out of the verdict: its export does not compute what the original does "
        "(parity gate failed)"
        for c in failed
    ]
    partners = _partners([c for c in sound if c.is_baseline])
    groups: list[PairGroup] = []
    for family in _families([c for c in sound if not c.is_baseline]):
        pairs = []
        for candidate in family:
            baseline = partners.get((candidate.group, candidate.seed))
            if baseline is not None:
                pairs.append((baseline, candidate))
            elif partners:
                notes.append(f"{candidate.name} is not compared: no baseline {_terms(candidate)}")
        if pairs:
            groups.append(PairGroup([b for b, _ in pairs], [c for _, c in pairs]))
    return Pairing(sorted(groups, key=_rank), notes)


def _partners(
    baselines: Sequence[Contender],
) -> dict[tuple[tuple[str, str, str, int], int | None], Contender]:
    found: dict[tuple[tuple[str, str, str, int], int | None], Contender] = {}
    for baseline in baselines:
        key = (baseline.group, baseline.seed)
        if key in found:
            raise InputError(
                f"{found[key].name} and {baseline.name}: both are baselines {_terms(baseline)}, "
                "so a pair is ambiguous; measure them in separate runs"
            )
        found[key] = baseline
    return found


def _families(candidates: Sequence[Contender]) -> list[list[Contender]]:
    """Candidates that are repetitions of one experiment: alike in all but the seed.

    A second model with the same seed cannot be a repetition, so it starts a family of its own.
    """
    families: list[list[Contender]] = []
    for candidate in candidates:
        kind = (candidate.group, candidate.init, candidate.teacher)
        for family in families:
            first = family[0]
            alike = (first.group, first.init, first.teacher) == kind
            if alike and candidate.seed not in [member.seed for member in family]:
                family.append(candidate)
                break
        else:
            families.append([candidate])
    return families


def _rank(group: PairGroup) -> tuple[bool, int]:
    """Lead with what is deployed, and with the precision that changes least."""
    first = group.candidates[0]
    return (first.backend == "pytorch", _PRECISIONS.index(first.precision))


def _terms(contender: Contender) -> str:
    seed = "without a seed" if contender.seed is None else f"with seed {contender.seed}"
    return f"{seed} on {contender.backend} {contender.precision} at {contender.image_size} px"
