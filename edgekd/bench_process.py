"""Run the benchmark stage in a fresh process.

A process that has trained is no place to measure in: its memory is fragmented, its allocator and
threads are set up for training, and two copies of one network were seen 1.9 % apart there, in every
run, that a fresh process showed within 1 %. `edgekd run` must report what `edgekd bench` would.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

import edgekd_bench
from edgekd_bench.record import BenchRecord
from edgekd_bench.settings import BenchSettings


def bench_in_fresh_process(
    models: Sequence[Path],
    baselines: Sequence[Path],
    data: Path,
    settings: BenchSettings,
    out: Path,
    console: Console,
) -> BenchRecord:
    """`edgekd_bench.run` with these arguments, in a process of its own.

    A terminal's progress bar is drawn by that process, on the stream of ``console``.

    Raises:
        InputError: see `edgekd_bench.run`.
    """
    stream = ("stderr" if console.stderr else "stdout") if console.is_terminal else None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_bench, models, baselines, data, settings, out, stream).result()


def _bench(
    models: Sequence[Path],
    baselines: Sequence[Path],
    data: Path,
    settings: BenchSettings,
    out: Path,
    stream: str | None,
) -> BenchRecord:
    return edgekd_bench.run(
        models,
        baselines=baselines,
        data=data,
        settings=settings,
        out=out,
        progress=Console(stderr=stream == "stderr") if stream else None,
    )
