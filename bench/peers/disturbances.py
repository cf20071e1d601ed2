"""What is done to a tool while it measures: a busy neighbour, a slow start, another file.

Each disturbance is a context manager around one run; it gives what to add to the run's environment.
None of them touches a tool's code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from peer_case import PEERS, Case, Files

SLOW_S = 1.0
_LONGEST_S = 600.0  # a burner ends by itself even where nobody ends it


class NotDisturbedError(Exception):
    """The run was over, or the disturbance was, before anything had been disturbed."""


@contextmanager
def cpu_bursts() -> Iterator[Mapping[str, str]]:
    """A second process that burns one core in bursts, before, during and after the run."""
    command = [sys.executable, str(PEERS / "cpu_bursts.py"), str(_LONGEST_S)]
    burner = subprocess.Popen(command)
    try:
        yield {}
        if burner.poll() is not None:
            raise NotDisturbedError("the neighbour ended early: nothing was disturbed")
    finally:
        burner.kill()
        burner.wait()


@contextmanager
def slow_first_run(seconds: float = SLOW_S) -> Iterator[Mapping[str, str]]:
    """The first run of every ONNX Runtime session takes this much longer."""
    folders = [str(PEERS / "slow_first_run"), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(folder for folder in folders if folder)
    yield {"PYTHONPATH": path, "EDGEKD_SLOW_FIRST_RUN_S": str(seconds)}


@contextmanager
def swapped_before(case: Case, stranger: Files) -> Iterator[Mapping[str, str]]:
    """Another detector lies under the names that the earlier runs measured."""
    stranger.copy_into(case.folder)
    yield {}


@contextmanager
def swapped_during(case: Case, stranger: Files, after_s: float) -> Iterator[Mapping[str, str]]:
    """Another detector takes the files' place when the run is under way."""
    swap = threading.Timer(after_s, stranger.copy_into, [case.folder])
    swap.start()
    try:
        yield {}
    finally:
        in_time = swap.finished.is_set()
        swap.cancel()
        swap.join()
    if not in_time:
        raise NotDisturbedError(f"the run ended within {after_s:.1f} s: nothing was swapped")
