"""Which model is compared with which.

Three questions are answered, and a pairing that is ambiguous is refused before anything is
measured:

- *Was it worth training so?* Same backend, precision and image size, and the same seed: both sides
  had the same data order and the same luck.
- *Is this file better than the one I have?* A baseline that was named by hand is compared with
  every candidate, also across backends, precisions and image sizes; the nearest one is taken.
- *What does int8 cost?* A model of lower precision is compared with the fp32 file of the very same
  weights, wherever both are measured on one backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Init, Parity
from edgekd_bench.record import ComparisonKind

Precision = Literal["fp32", "fp16", "int8"]
_PRECISIONS = ("fp32", "fp16", "int8")
Group = tuple[str, str, str, int, str | None]


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
    given: bool = False  # named as a baseline by hand, whatever its manifest says
    weights: str | None = None  # SHA-256 of the checkpoint behind the file
    layout: str | None = None  # the runtime that an int8 file is laid out for

    @property
    def group(self) -> Group:
        """Models of one group differ in nothing but their training."""
        return (self.backend, self.device, self.precision, self.image_size, self.layout)


@dataclass(frozen=True)
class PairGroup:
    """The pairs of one comparison: position k of each list belongs together."""

    baselines: list[Contender]
    candidates: list[Contender]
    asked: bool = True  # False: a model against its own fp32, which is always compared

    @property
    def seeds(self) -> list[int | None]:
        """The seed of each pair."""
        return [candidate.seed for candidate in self.candidates]

    @property
    def pairs(self) -> list[tuple[Contender, Contender]]:
        """Baseline and candidate of each pair."""
        return list(zip(self.baselines, self.candidates, strict=True))

    @property
    def kind(self) -> ComparisonKind:
        """What may be claimed: about training, about how weights run, or about two files."""
        if all(b.weights is not None and b.weights == c.weights for b, c in self.pairs):
            return "deployment"
        known = any(c.init != "other" or c.seed is not None for c in self.candidates)
        return "training" if known else "models"


@dataclass(frozen=True)
class Pairing:
    """All comparisons, the one to lead with first, and what was left out and why."""

    groups: list[PairGroup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pair_models(contenders: Sequence[Contender]) -> Pairing:
    """Pair every candidate with a baseline, and every quantised model with its own fp32.

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
    baselines = [c for c in sound if c.is_baseline]
    groups: list[PairGroup] = []
    for family in _families([c for c in sound if not c.is_baseline]):
        pairs = []
        for candidate in family:
            baseline = _partner(candidate, baselines)
            if baseline is not None:
                pairs.append((baseline, candidate))
            elif baselines:
                notes.append(f"{candidate.name} is not compared: no baseline {_terms(candidate)}")
        groups += _by_baseline_group(pairs)
    compared = {pair for group in groups for pair in group.pairs}
    for family in _families([c for c in sound if c.precision != "fp32"]):
        own = [(_own_fp32(candidate, sound), candidate) for candidate in family]
        pairs = [(b, c) for b, c in own if b is not None and (b, c) not in compared]
        groups += _by_baseline_group(pairs, asked=False)
    return Pairing(sorted(groups, key=_rank), notes)


def _partner(candidate: Contender, baselines: Sequence[Contender]) -> Contender | None:
    """The baseline that differs in training only, else the nearest one that was named by hand.

    Raises:
        InputError: there are two.
    """
    exact = [b for b in baselines if (b.group, b.seed) == (candidate.group, candidate.seed)]
    if exact:
        return _the_only(exact, candidate)
    # Two different seeds are two different strokes of luck, whoever named the file.
    seeds = (candidate.seed, None)
    given = [b for b in baselines if b.given and (b.seed in seeds or candidate.seed is None)]
    if not given:
        return None
    nearest = max(_nearness(b, candidate) for b in given)
    return _the_only([b for b in given if _nearness(b, candidate) == nearest], candidate)


def _nearness(baseline: Contender, candidate: Contender) -> tuple[bool, ...]:
    return (
        baseline.backend == candidate.backend,
        baseline.image_size == candidate.image_size,
        baseline.precision == candidate.precision,
        baseline.seed == candidate.seed,
    )


def _the_only(found: Sequence[Contender], candidate: Contender) -> Contender:
    if len({baseline.name for baseline in found}) > 1:
        raise InputError(
            f"{found[0].name} and {found[1].name}: both are baselines for {candidate.name} "
            f"{_terms(candidate)}, so a pair is ambiguous; measure them in separate runs"
        )
    return found[0]


def _own_fp32(candidate: Contender, sound: Sequence[Contender]) -> Contender | None:
    """The fp32 model of the same weights that runs in the same place, if it is measured too."""
    for other in sound:
        same_place = (other.backend, other.device, other.image_size) == (
            candidate.backend,
            candidate.device,
            candidate.image_size,
        )
        same_weights = other.weights is not None and other.weights == candidate.weights
        if same_place and same_weights and other.precision == "fp32":
            return other
    return None


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


def _by_baseline_group(
    pairs: Sequence[tuple[Contender, Contender]], asked: bool = True
) -> list[PairGroup]:
    """One comparison for each group of baselines: a mean over unlike ones would say nothing."""
    sorted_pairs: dict[Group, PairGroup] = {}
    for baseline, candidate in pairs:
        group = sorted_pairs.setdefault(baseline.group, PairGroup([], [], asked))
        group.baselines.append(baseline)
        group.candidates.append(candidate)
    return list(sorted_pairs.values())


def _rank(group: PairGroup) -> tuple[bool, bool, int]:
    """Lead with what was asked, what is deployed, and the precision that changes least."""
    first = group.candidates[0]
    return (
        not group.asked,
        first.backend == "pytorch",
        _PRECISIONS.index(first.precision),
    )


def _terms(contender: Contender) -> str:
    seed = "without a seed" if contender.seed is None else f"with seed {contender.seed}"
    return f"{seed} on {contender.backend} {contender.precision} at {contender.image_size} px"
