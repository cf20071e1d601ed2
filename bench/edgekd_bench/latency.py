"""The three clocks of one image (or one batch) at a time, on all models in turns.

``device``: the network alone, input and output in the device's memory. ``host``: from a prepared
input in host memory to the output in host memory, copies and conversions included. ``end_to_end``:
from encoded bytes in memory to boxes in image pixels. Device and host are read from the very same
calls. `docs/measuring.md` draws what each includes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekd_bench.detections import Detections, Thresholds, to_detections
from edgekd_bench.images import letterbox, open_picture, to_batch
from edgekd_bench.runner import Runner
from edgekd_bench.timing_inputs import TimingInputs
from edgekd_bench.turns import Call, Samples, TimingLimits, time_in_turns


@dataclass(frozen=True)
class Latency:
    """All clocks of one model; the device's is in ``host.device_ms``."""

    host: Samples
    end_to_end: Samples


def measure_latency(
    runners: Sequence[Runner],
    twin: Runner,
    inputs: TimingInputs,
    *,
    limits: TimingLimits,
    thresholds: Thresholds,
    on_round: Callable[[], None] = lambda: None,
) -> tuple[list[Latency], Samples]:
    """Time all runners in turns on the same images; all figures are milliseconds per call.

    Args:
        runners: opened models, all on one backend.
        twin: the first of them opened once more, timed among the others on the host clock.
        inputs: prepared for the image size of each.
        limits: when to stop.
        thresholds: decoding for the end-to-end clock.
        on_round: called after each round, for progress.

    Returns:
        One entry a runner, in their order; and the twin's host clock.
    """
    host = time_in_turns(
        [_host_call(runner, inputs) for runner in (*runners, twin)], limits, on_round
    )
    whole = time_in_turns(
        [_end_to_end_call(runner, inputs, thresholds) for runner in runners], limits, on_round
    )
    return [Latency(*pair) for pair in zip(host[:-1], whole, strict=True)], host[-1]


def detect_in_bytes(runner: Runner, files: Sequence[bytes], how: Thresholds) -> list[Detections]:
    """The whole way from encoded images in memory to boxes: what ``end_to_end`` times."""
    info = runner.info
    fitted = [letterbox(open_picture(data), info.image_size) for data in files]
    output = runner.forward(to_batch([canvas for canvas, _ in fitted]))
    return [
        to_detections(output[index], way_back, end_to_end=info.end_to_end, thresholds=how)
        for index, (_, way_back) in enumerate(fitted)
    ]


def _host_call(runner: Runner, inputs: TimingInputs) -> Call:
    tensors = inputs.tensors[runner.info.image_size]
    return lambda number: runner.forward_timed(tensors[number % len(tensors)]).device_ms


def _end_to_end_call(runner: Runner, inputs: TimingInputs, thresholds: Thresholds) -> Call:
    def call(number: int) -> None:
        detect_in_bytes(runner, inputs.files[number % len(inputs.files)], thresholds)

    return call
