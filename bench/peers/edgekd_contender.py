"""A model in edgekd's own runner, as a contender that takes turns (`edgekd_bench.process_turns`).

    python edgekd_contender.py forward BACKEND MODEL IMAGES…
    python edgekd_contender.py end_to_end BACKEND MODEL IMAGES…

``forward`` is timed from a prepared batch in memory to the output in memory. ``end_to_end`` is
timed from the path of a file to boxes in its pixels: reading, decoding, letterboxing, network, NMS.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekd_bench.latency import detect_in_bytes
from edgekd_bench.process_turns import answer_turns, own_channel
from edgekd_bench.runner import Runner, open_runner
from edgekd_bench.settings import BenchSettings
from edgekd_bench.timing_inputs import prepare_inputs


def forward(runner: Runner, paths: Sequence[Path]) -> Callable[[int], object]:
    size = runner.info.image_size
    tensors = prepare_inputs(paths, 1, {size}).tensors[size]
    return lambda number: runner.forward(tensors[number % len(tensors)])


def end_to_end(runner: Runner, paths: Sequence[Path]) -> Callable[[int], object]:
    how = BenchSettings().deployment_thresholds()
    return lambda number: detect_in_bytes(runner, [paths[number % len(paths)].read_bytes()], how)


def main() -> None:
    """Open the model and take turns until nobody asks any more."""
    channel = own_channel()
    kind, backend, model, *images = sys.argv[1:]
    clock = {"forward": forward, "end_to_end": end_to_end}[kind]
    with open_runner(Path(model), backend) as runner:
        facts = {
            "backend": backend,
            "precision": runner.info.precision,
            "sha256": runner.info.sha256,
            "size_mb": runner.info.size_mb,
            "first_call_ms": runner.info.first_call_ms,
        }
        answer_turns(clock(runner, [Path(image) for image in images]), facts, channel=channel)


if __name__ == "__main__":
    main()
