"""Time programs in turns that must not share a process.

Two libraries in one process share its threads, its allocator and what each leaves spinning after a
call; timed one process after the other they meet different moods of the machine. So every contender
lives in a process of its own for the whole measurement, and all of them take turns: in each round,
in a fresh random order, each makes a few calls while the others sleep. The clock runs inside the
contender, around the call alone. Nothing is dropped but the warm-up before the first round.

A contender is any program that calls `answer_turns`; its standard output belongs to this protocol.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.errors import InputError

Float64Array = npt.NDArray[np.float64]

# Threads of a runtime may go on spinning for a few milliseconds after its last call.
_PAUSE_S = 0.02
_PATIENCE_S = 20.0  # for a contender that was told to end
_WARMUP = 20


@dataclass(frozen=True)
class Contender:
    """A program to time."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)  # in addition to our own


@dataclass(frozen=True)
class TurnTimes:
    """What one contender measured."""

    milliseconds: Float64Array  # (rounds, calls a turn); row r of all contenders ran side by side
    facts: dict[str, Any]  # what it said about itself


@dataclass(frozen=True)
class TurnPlan:
    """How much is timed."""

    rounds: int
    calls_per_turn: int
    seed: int = 0


def time_in_process_turns(
    contenders: Sequence[Contender], plan: TurnPlan, on_round: Callable[[], None] = lambda: None
) -> dict[str, TurnTimes]:
    """Start all contenders, let them warm up one after the other, and time them in turns.

    Returns:
        By name, in the order given.

    Raises:
        InputError: a contender could not start or ended early; its last words are in the message.
    """
    with ExitStack() as stack:
        seats = [stack.enter_context(_Seat(contender)) for contender in contenders]
        facts = [seat.wait_until_ready() for seat in seats]
        times = [np.empty((plan.rounds, plan.calls_per_turn)) for _ in seats]
        orders = np.random.default_rng(plan.seed)
        for number in range(plan.rounds):
            for index in orders.permutation(len(seats)):
                times[index][number] = seats[index].take_turn(plan.calls_per_turn)
                time.sleep(_PAUSE_S)
            on_round()
    return {
        contender.name: TurnTimes(milliseconds, said)
        for contender, milliseconds, said in zip(contenders, times, facts, strict=True)
    }


def answer_turns(
    call: Callable[[int], object],
    facts: Mapping[str, Any] | None = None,
    *,
    channel: IO[str] | None = None,
    warmup: int = _WARMUP,
) -> None:
    """Be a contender: warm up, then call as often as one is told to, until there is no more to do.

    Args:
        call: what is timed; it gets the number of the call.
        facts: JSON-ready, for the record.
        channel: where answers go; None: standard output. Take it with `own_channel` first where a
            library prints.
        warmup: untimed calls.
    """
    out = channel or sys.stdout
    for number in range(warmup):
        call(number)
    number = warmup
    gc.collect()
    gc.disable()
    print(json.dumps(dict(facts or {})), file=out, flush=True)
    for line in sys.stdin:
        taken = []
        for number in range(number, number + int(line)):  # noqa: B020 (it goes on counting)
            start = time.perf_counter_ns()
            call(number)
            taken.append((time.perf_counter_ns() - start) / 1e6)
        number += 1
        print(json.dumps(taken), file=out, flush=True)


def own_channel() -> IO[str]:
    """Keep standard output for answers, and send whatever else is printed to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


class _Seat:
    """A running contender."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._process: subprocess.Popen[str] | None = None
        self._words = Path(tempfile.mkstemp(prefix="edgekd-contender-")[1])

    def __enter__(self) -> _Seat:
        environment = {**os.environ, **self._contender.environment}
        with self._words.open("w", encoding="utf-8") as words:
            self._process = subprocess.Popen(
                self._contender.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env=environment,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            try:
                process.wait(_PATIENCE_S if kind is None else 0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._words.unlink(missing_ok=True)

    def wait_until_ready(self) -> dict[str, Any]:
        facts: dict[str, Any] = self._read()
        return facts

    def take_turn(self, calls: int) -> list[float]:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_read` says why it ended
            print(calls, file=self._process.stdin, flush=True)
        taken: list[float] = self._read()
        return taken

    def _read(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except json.JSONDecodeError as error:
            said = self._words.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            reason = said[-1] if said else line.strip() or "without a word"
            raise InputError(f"{self._contender.name} ended early: {reason[:300]}") from error
