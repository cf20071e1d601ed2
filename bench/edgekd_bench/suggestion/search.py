"""Go through the combinations, small ones first, and leave out what cannot meet the budget.

A larger scale or image size of a network that misses the budget by a factor of two is not measured,
nor int8 of one whose fp32 misses it by four: no number type makes up for that. What was measured is
kept at once, so a run that is stopped, or runs out of time, is continued by the next.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Protocol

from rich.console import Console

from edgekd_bench.backends import Backend
from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.device_state import describe_environment
from edgekd_bench.runner import Precision
from edgekd_bench.suggestion.cache import TimingCache
from edgekd_bench.suggestion.catalog import FAMILIES, SCALES
from edgekd_bench.suggestion.ranking import rank
from edgekd_bench.suggestion.result import Choice, Suggestion, Timing
from edgekd_bench.suggestion.settings import SuggestionSettings
from edgekd_bench.suggestion.timing import HOPELESS, StudentTimer, Timed

_HOPELESS_FLOAT = 4.0  # times the budget: int8 will not be four times as quick
_DRIFT = 0.05
_OUT_OF_TIME = "out of time; the next run goes on here"


class StudentBuilder(Protocol):
    """Makes the files that are timed; it lives where torch is."""

    def build(self, student: str, image_size: int, folder: Path) -> Path:
        """An untrained fp32 network as an ONNX file in ``folder``."""

    def convert(self, fp32: Path, precision: Precision, backend: Backend) -> Path:
        """The same in another precision, laid out as the backend likes it, beside it."""

    def pictures(self, folder: Path) -> Sequence[Path]:
        """Image files to feed the networks with, in ``folder`` or elsewhere."""


class Timer(Protocol):
    """Times files in turns; a context manager."""

    def __enter__(self) -> Timer: ...

    def __exit__(self, *_: object) -> None: ...

    def time_group(
        self, backend: Backend, group: Sequence[Timed], on_round: Callable[[], None] = ...
    ) -> dict[Choice, Timing]:
        """Time students of one backend against each other."""

    def drift(self) -> float:
        """How far one and the same network wandered between groups: 0.05 is 5 %."""


def run(
    settings: SuggestionSettings,
    builder: StudentBuilder,
    *,
    cache_folder: Path,
    fresh: bool = False,
    progress: Console | None = None,
    timer: Callable[[SuggestionSettings, Sequence[Path]], Timer] = StudentTimer,
) -> Suggestion:
    """Time students on this machine and hold them against a budget.

    Args:
        settings: which students, and the budget.
        builder: makes their files.
        cache_folder: where measurements of this machine are kept.
        fresh: measure again what is known.
        progress: where to show progress; None: nowhere.
        timer: what times; tests give another.

    Raises:
        InputError: a network that cannot be built, or not on this backend.
    """
    environment = describe_environment(settings.threads)
    cache = TimingCache(
        cache_folder, environment, device=settings.device, num_classes=settings.num_classes
    )
    with tempfile.TemporaryDirectory(prefix="edgekd-suggest-") as name:
        folder = Path(name)
        with (
            timer(settings, builder.pictures(folder)) as students,
            BenchProgress(progress) as bar,
        ):
            search = _Search(settings, builder, students, cache, folder, bar)
            search.timings = cache.read()
            if fresh:
                search.forget()
            search.go()
            drift = students.drift()
    options = rank(
        search.choices(),
        search.timings,
        search.left_out,
        target_ms=settings.target_ms,
        percentile=settings.percentile,
    )
    return Suggestion(
        target_ms=settings.target_ms,
        percentile=settings.percentile,
        environment=environment,
        settings=settings.model_dump(mode="json"),
        options=options,
        sources={family: FAMILIES[family].source for family in settings.families},
        notes=_notes(settings, drift, sum(not o.timing.quiet for o in options if o.timing)),
        cache=str(cache.path),
    )


@dataclass
class _Search:
    settings: SuggestionSettings
    builder: StudentBuilder
    timer: Timer
    cache: TimingCache
    folder: Path
    bar: BenchProgress
    timings: dict[Choice, Timing] = field(default_factory=dict)
    left_out: dict[Choice, str] = field(default_factory=dict)
    files: dict[tuple[str, int], Path] = field(default_factory=dict)  # fp32, by student and size
    started: float = field(default_factory=time.monotonic)

    def choices(self) -> list[Choice]:
        """All combinations, in the order they are measured in."""
        how = self.settings
        order = product(how.scales, how.image_sizes, how.precisions, how.backends, how.families)
        return [
            Choice(
                family=family, scale=scale, image_size=size, precision=precision, backend=backend
            )
            for scale, size, precision, backend, family in order
        ]

    def forget(self) -> None:
        """Measure again what is asked for; what else is known stays."""
        for choice in self.choices():
            self.timings.pop(choice, None)

    def go(self) -> None:
        """Measure group by group: networks of all families that differ in nothing else."""
        how = self.settings
        levels = product(how.scales, how.image_sizes)
        for scale, size in levels:
            for precision, backend in product(how.precisions, how.backends):
                group = [
                    choice
                    for choice in self.choices()
                    if (choice.scale, choice.image_size) == (scale, size)
                    and (choice.precision, choice.backend) == (precision, backend)
                    and self._is_wanted(choice)
                ]
                if not group:
                    continue
                if time.monotonic() - self.started > how.max_minutes * 60:
                    self.left_out |= dict.fromkeys(group, _OUT_OF_TIME)
                    continue
                self.timings |= self._measure(group)
                self.cache.write(self.timings)
            self._forget_files()

    def _is_wanted(self, choice: Choice) -> bool:
        known = self.timings.get(choice)
        if known is not None and not self._too_rough(known):
            return False
        reason = self._hopeless(choice)
        if reason:
            self.timings.pop(choice, None)
            self.left_out[choice] = reason
        return not reason

    def _too_rough(self, timing: Timing) -> bool:
        """A few calls settled that it missed another, smaller budget by far."""
        return timing.rough and timing.p50_ms <= HOPELESS * self.settings.target_ms

    def _hopeless(self, choice: Choice) -> str:
        """Why a combination cannot meet the budget; "" where it might.

        The median tells, whatever percentile the budget is for: one disturbance must not rule out
        everything that is larger.
        """
        for other, timing in self.timings.items():
            factor = timing.p50_ms / self.settings.target_ms
            limit = HOPELESS if other.precision == choice.precision else _HOPELESS_FLOAT
            if factor > limit and _is_smaller(other, choice):
                return (
                    f"misses the budget: {other.student} at {other.image_size} px in "
                    f"{other.precision} takes {factor:.1f} times as long"
                )
        return ""

    def _measure(self, group: Sequence[Choice]) -> dict[Choice, Timing]:
        first = group[0]
        what = f"scale {first.scale} at {first.image_size} px, {first.precision}"
        with self.bar.stage(f"building {what}", len(group)) as advance:
            timed = []
            for choice in group:
                timed.append(Timed(choice, self._file(choice)))
                advance()
        with self.bar.stage(f"timing {what} on {first.backend}, rounds", None) as advance:
            return self.timer.time_group(first.backend, timed, advance)

    def _file(self, choice: Choice) -> Path:
        key = (choice.student, choice.image_size)
        if key not in self.files:
            self.files[key] = self.builder.build(*key, self.folder)
        fp32 = self.files[key]
        if choice.precision == "fp32":
            return fp32
        return self.builder.convert(fp32, choice.precision, choice.backend)

    def _forget_files(self) -> None:
        """Files of a level are of no use to the next; an open runner does not need its own."""
        for fp32 in self.files.values():
            for path in fp32.parent.glob(f"{fp32.stem}.*"):
                path.unlink()
        self.files.clear()


def _is_smaller(one: Choice, other: Choice) -> bool:
    """Whether one does less work than the other on the same backend, whatever the weights."""
    return (
        one != other
        and (one.family, one.backend) == (other.family, other.backend)
        and SCALES.index(one.scale) <= SCALES.index(other.scale)
        and one.image_size <= other.image_size
        and one.precision in ("fp32", other.precision)
    )


def _notes(settings: SuggestionSettings, drift: float, num_busy: int) -> list[str]:
    notes = [
        "published mAP is COCO's at 640 px, as the makers give it; it ranks students of one image "
        "size and says nothing about yours, and int8 costs some of it",
        "overhead is decoding, letterbox and boxes with nothing detected: random weights detect "
        "nothing, so suppression of many boxes comes on top",
    ]
    remarks = {family: FAMILIES[family].note for family in settings.families}
    notes += [f"{family}: {remark}" for family, remark in remarks.items() if remark]
    if num_busy:
        notes.append(
            f"{num_busy} timings were taken while the machine was busy (p90 beyond 1.5 times p50); "
            "measure again with --fresh when it is quiet"
        )
    if drift > _DRIFT:
        notes.append(
            f"the machine drifted: one and the same network took {drift:.0%} longer in one group "
            "than in another, so distrust smaller differences, or measure again with --fresh"
        )
    return notes
