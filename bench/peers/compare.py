"""What edgekd and its peers report for one and the same detector, and where they mislead.

    python bench/peers/compare.py DETECTOR.pt DATA.yaml --page docs/peers.md
    python bench/peers/compare.py --page docs/peers.md

Every tool is a black box in a fresh process on files of its own (`peer_case`). All run in rounds,
in an order drawn anew each round; then single questions are put to them (`peer_probes`), and each
is disturbed while it measures (`disturbances`). What follows from that is decided by rules
(`peer_faults`, `peer_verdicts`), not here. The second form writes the page from an earlier record.

LightlyTrain is compared where ``--lightly-python`` names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peer_case import OPSET, WEIGHTS_NOISE, prepare_files, write_set
from peer_faults import Evidence, find_faults, repeatability
from peer_page import write_page
from peer_probes import clipping_probe, repeated_probes, single_probes
from peer_runs import Report, Workbench
from peer_schedule import NEIGHBOUR, Runs, ask_once, checked, judge, run_disturbed, run_rounds
from peer_tools import EDGEKD, MS, Effort, Tool, all_tools

from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.device_state import describe_environment
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import library_versions, sha256_of, write_text_atomically
from edgekd_bench.state_monitor import StateMonitor
from edgekd_export.weights import read_checkpoint

FILE_NAME = "peers.json"
RESULTS = Path("bench/results/cpu-2core")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything and put it into one record."""
    started = time.monotonic()
    environment = describe_environment()
    dataset = load_detection_set(options.data, "val")
    image_size = read_checkpoint(options.weights).image_size(None)
    data = write_set(dataset, folder / "set", options.images)
    files, stranger = prepare_files(options.weights, folder, image_size)
    bench = Workbench(folder / "runs", files, data, image_size)
    effort = Effort(options.edgekd_seconds, options.profile_seconds, options.calls)
    tools = all_tools(effort, options.lightly_python)
    with StateMonitor("cpu") as monitor:
        start = monitor.mark()
        rounds = run_rounds(bench, tools, options.rounds, options.seed)
        probes = run_probes(bench, effort, options, dataset, data)
        window = monitor.window(start, monitor.mark())
    disturbed = run_disturbed(bench, tools, rounds, stranger)
    beside_neighbour = disturbed[NEIGHBOUR][EDGEKD]
    clip = clipping_probe([*rounds[EDGEKD], beside_neighbour], folder)
    probes["clipping"] = [checked(clip, bench.run(clip), needs_number=False)]
    return {
        "what": "wall milliseconds of one image on a CPU as each tool reports them; every run in a "
        "fresh process, threads as each tool chooses",
        "weights": {"name": options.weights.name, "sha256": sha256_of(options.weights)},
        "onnx": {"made_by": "Ultralytics", "opset": OPSET, "sha256": sha256_of(files.onnx)},
        "data": {"name": options.data.resolve().parent.name, **describe_set(dataset, data)},
        "image_size": image_size,
        "precision": "fp32",
        "batch": 1,
        "rounds": options.rounds,
        "effort": vars(effort) | {"probe_rounds": options.probe_rounds},
        "swapped_in": f"the same detector, every weight times 1 + {WEIGHTS_NOISE} noise",
        "tools": [describe_tool(tool, rounds[tool.name]) for tool in tools],
        "edgekd_repeatability": repeatability(rounds[EDGEKD]),
        "faults": [fault.to_json() for fault in find_faults(Evidence(rounds, probes))],
        "disturbances": judge(tools, rounds, disturbed),
        "flags": list(window.flags),
        "seconds": round(time.monotonic() - started, 1),
        "environment": environment,
        "versions": versions(options.lightly_python),
        "command": ["python", "bench/peers/compare.py", *map(_without_folder, sys.argv[1:])],
    }


def run_probes(
    bench: Workbench, effort: Effort, options: argparse.Namespace, dataset: DetectionSet, data: Path
) -> Runs:
    """The single questions, those about times repeated."""
    repeated = repeated_probes(effort, options.lightly_python)
    single = single_probes(effort, data, dataset.names, options.lightly_python)
    timed = run_rounds(bench, repeated, options.probe_rounds, options.seed)
    return timed | ask_once(bench, single)


def describe_tool(tool: Tool, reports: Sequence[Report]) -> dict[str, Any]:
    """A row of the first table, with every run's figures."""
    numbers = [report.figures[MS] for report in reports]
    return {
        "tool": tool.name,
        "number": tool.number,
        "median_ms": float(np.median(numbers)),
        "lowest_ms": min(numbers),
        "highest_ms": max(numbers),
        "names_file_by_hash": all(report.names_file for report in reports),
        "seconds": float(np.median([report.seconds for report in reports])),
        "runs": [report.figures for report in reports],
    }


def describe_set(dataset: DetectionSet, data: Path) -> dict[str, Any]:
    """The images that all tools were given."""
    used = load_detection_set(data, "val")
    return {"hash": used.content_hash(), "num_images": len(used.images), "of": len(dataset.images)}


def versions(lightly_python: Path | None) -> dict[str, str]:
    """Of what took part."""
    found = library_versions("onnx", "onnxruntime", "onnxslim", "torch", "ultralytics")
    if lightly_python is not None:
        code = "import importlib.metadata as m; print(m.version('lightly-train'))"
        command = [str(lightly_python), "-c", code]
        asked = subprocess.run(command, capture_output=True, text=True)
        if asked.returncode:
            raise InputError(f"{lightly_python}: has no lightly-train; install it there")
        found["lightly-train"] = asked.stdout.strip()
    return found


def _without_folder(argument: str) -> str:
    """``dice/data.yaml``: a record travels, somebody's folders do not."""
    return "/".join(Path(argument).parts[-2:]) if argument.startswith("/") else argument


def read_record(folder: Path) -> Any:
    """An earlier record.

    Raises:
        InputError: there is none.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise InputError(f"{path}: no such record; give DETECTOR.pt and DATA.yaml to measure one")
    return json.loads(path.read_text(encoding="utf-8"))


def parse_arguments() -> argparse.Namespace:
    """The command line, each option documented where it is declared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("weights", type=Path, nargs="?", help="a trained detector, .pt")
    add("data", type=Path, nargs="?", help="its data.yaml; the val split is used")
    add("--out", type=Path, default=RESULTS, help=f"folder of {FILE_NAME}; default: {RESULTS}")
    add("--page", type=Path, help="Markdown page whose tables are to be written")
    add("--rounds", type=int, default=5, help="undisturbed runs of each tool")
    add("--probe-rounds", type=int, default=2, help="runs of each timed question")
    add("--images", type=int, default=40, help="of the val split, evenly spread")
    add("--calls", type=int, default=100, help="of the plain loop")
    add("--edgekd-seconds", type=float, default=1.0, help="edgekd bench --min-seconds")
    add("--profile-seconds", type=float, default=2.0, help="ProfileModels(min_time=…)")
    add("--lightly-python", type=Path, help="an interpreter that has lightly-train")
    add("--seed", type=int, default=0, help="of the order of the tools")
    options = parser.parse_args()
    if (options.weights is None) != (options.data is None):
        parser.error("give both DETECTOR.pt and DATA.yaml, or neither")
    return options


def main() -> None:
    """Measure where a detector is given; write the record and the page where asked."""
    options = parse_arguments()
    try:
        if options.weights is None:
            record = read_record(options.out)
        else:
            versions(options.lightly_python)  # fails now, not after minutes
            with tempfile.TemporaryDirectory(prefix="edgekd-peers-") as folder:
                record = measure(options, Path(folder))
            write_text_atomically(options.out / FILE_NAME, json.dumps(record, indent=2) + "\n")
        if options.page:
            write_page(record, options.page)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
