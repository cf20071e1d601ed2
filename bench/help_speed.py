"""How long ``edgekd --help`` takes, against ``yolo help``, as whole processes in one run.

    python bench/help_speed.py --out bench/results/cpu

A command line that thinks for seconds before it answers is one people stop asking.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one finished process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def main() -> None:
    """Alternate the two commands and print the record as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for the record")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    scripts = Path(sys.executable).parent
    commands = {
        "edgekd": [str(scripts / "edgekd"), "--help"],
        "yolo": [str(scripts / "yolo"), "help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "YOLO_CONFIG_DIR": folder, "YOLO_OFFLINE": "true"}
        for command in commands.values():
            seconds(command, environment)  # warm the file cache
        for _ in range(options.rounds):
            for name, command in commands.items():
                times[name].append(seconds(command, environment))
    medians = {name: statistics.median(values) for name, values in times.items()}
    record = {
        "what": "whole process, wall seconds",
        "rounds": options.rounds,
        "warmup": 1,
        "seconds": times,
        "median_seconds": medians,
        "ratio_edgekd_to_yolo": medians["edgekd"] / medians["yolo"],
        "python": platform.python_version(),
        "cpu_cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("edgekd", "ultralytics", "typer")},
    }
    text = json.dumps(record, indent=2)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        file = options.out / "help_speed.json"
        file.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
