"""Measure each backend in a process that has loaded no other.

Libraries that share a process share its threads, allocators and processor state: PyTorch's OpenMP
pool beside ONNX Runtime's, two CUDA contexts' worth of memory. Whoever deploys a model runs it on
one of them. A process that dies (out of memory, a driver's crash) also takes only itself along, and
the benchmark can say which backend it was.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Literal

from rich.console import Console

from edgekd_bench.backend_measurement import BackendJob, BackendResult, measure_backend
from edgekd_bench.bench_progress import BenchProgress, is_shown
from edgekd_bench.errors import InputError

_Stream = Literal["stdout", "stderr"]


def measure_in_fresh_process(job: BackendJob, progress: Console | None) -> BackendResult:
    """`measure_backend` in a process of its own.

    Args:
        job: what to measure.
        progress: a terminal's progress bar is drawn by that process, on the same stream.

    Raises:
        InputError: whatever `measure_backend` refuses, or the process died.
    """
    stream: _Stream | None = None
    if progress is not None and is_shown(progress):
        stream = "stderr" if progress.stderr else "stdout"
    with tempfile.TemporaryDirectory(prefix="edgekd-bench-") as name:
        folder = Path(name)
        (folder / "job").write_bytes(pickle.dumps((job, stream)))
        code = _run(folder)
        result = folder / "result"
        if not result.is_file():
            raise InputError(f"measuring on {job.backend} {_cause(code)}; {_advice(job)}")
        outcome = pickle.loads(result.read_bytes())
    if isinstance(outcome, InputError):
        raise outcome
    assert isinstance(outcome, BackendResult)
    return outcome


def _run(folder: Path) -> int:
    command = [sys.executable, "-m", "edgekd_bench.backend_process", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        try:
            return process.wait()
        except BaseException:  # Ctrl-C above all: nobody would wait for its result
            process.kill()
            raise


def _cause(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _advice(job: BackendJob) -> str:
    return f"leave it out with --backend, or measure fewer models (there are {len(job.models)})"


def _main(folder: Path) -> None:
    """What the fresh process does: read the job, measure, leave the result."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job, stream = pickle.loads((folder / "job").read_bytes())
    console = Console(stderr=stream == "stderr") if stream else None
    outcome: BackendResult | InputError
    try:
        with BenchProgress(console) as bar:
            outcome = measure_backend(job, bar)
    except InputError as error:
        outcome = error
    partial = folder / "result.partial"
    partial.write_bytes(pickle.dumps(outcome))
    partial.replace(folder / "result")


def _end_with_parent() -> None:
    """The parent holds the other end of our standard input until it ends, however it ends."""
    os.read(sys.stdin.fileno(), 1)  # not through `sys.stdin`, whose lock would outlive `_main`
    os._exit(1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
