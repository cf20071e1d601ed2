"""The loop that a tutorial shows for ONNX Runtime, and the same loop on other inputs.

    python ort_loop.py ONNX CALLS
    python ort_loop.py ONNX CALLS --threads 8
    python ort_loop.py ONNX CALLS --inputs IMAGES…

The first form is the tutorial's: random numbers, a clock around `session.run`, no warm-up, the
mean. The second sets the threads of the session. The third takes turns among zeros, random numbers
and letterboxed images, after a warm-up, and gives the median of each. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

_WARMUP = 10

Float32Array = npt.NDArray[np.float32]


def open_session(model: str, threads: int | None) -> tuple[Any, str, tuple[int, ...]]:
    """Session, name and shape of its input (B, 3, S, S)."""
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return session, entry.name, tuple(entry.shape)


def mean_ms(session: Any, name: str, batch: Float32Array, calls: int) -> float:
    """The tutorial's number, milliseconds."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        session.run(None, {name: batch})
        times.append((time.perf_counter() - start) * 1000)
    return sum(times) / len(times)


def medians_by_input(
    session: Any, name: str, shape: tuple[int, ...], calls: int, images: list[str]
) -> dict[str, float]:
    """Median milliseconds on zeros, noise and images; every round calls each once."""
    from edgekd_bench.timing_inputs import prepare_inputs

    prepared = prepare_inputs([Path(image) for image in images], 1, {shape[-1]})
    inputs = {
        "zeros": [np.zeros(shape, np.float32)],
        "random": [np.random.default_rng(0).random(shape, dtype=np.float32)],
        "images": prepared.tensors[shape[-1]],
    }
    times: dict[str, list[float]] = {kind: [] for kind in inputs}
    orders = np.random.default_rng(0)
    for number in range(_WARMUP + calls):
        for kind in orders.permutation(list(inputs)):
            batch = inputs[kind][number % len(inputs[kind])]
            times[kind].append(mean_ms(session, name, batch, 1))
    return {kind: float(np.median(taken[_WARMUP:])) for kind, taken in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("calls", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--inputs", nargs="+")
    options = parser.parse_args()
    session, name, shape = open_session(options.model, options.threads)
    if options.inputs:
        found = medians_by_input(session, name, shape, options.calls, options.inputs)
        print(json.dumps(found))
        return
    batch = np.random.rand(*shape).astype(np.float32)
    mean = mean_ms(session, name, batch, options.calls)
    print(f"average inference time: {mean:.2f} ms over {options.calls} runs")
    print(json.dumps({"milliseconds": mean}))


if __name__ == "__main__":
    main()
