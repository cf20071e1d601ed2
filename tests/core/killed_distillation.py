"""Run one distillation again and again in forked processes and kill each at a given moment.

Started as a program by ``test_kill.py``: importing torch takes seconds, so it is done once here and
every attempt is a fork of a process that has not computed anything yet.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import edgekd.distill
from edgekd.config import load_config
from edgekd_bench.ultralytics_setup import prepare_ultralytics


def attempt(config: Path, overrides: list[str], delay: float) -> bool:
    """Whether the run ended by itself within ``delay`` seconds; otherwise it was killed."""
    child = os.fork()
    if child == 0:
        edgekd.distill.run(load_config(config, overrides), resume=True)
        os._exit(0)
    end = time.monotonic() + delay
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                sys.exit(f"the run failed by itself: {os.waitstatus_to_exitcode(status)}")
            return True
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    config, overrides = Path(sys.argv[1]), sys.argv[2:]
    prepare_ultralytics(config.parent / "ultralytics")
    for line in sys.stdin:
        print("finished" if attempt(config, overrides, float(line)) else "killed", flush=True)


main()
