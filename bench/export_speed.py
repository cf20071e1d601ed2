"""What edgekd's ONNX files gain on a CPU over Ultralytics' export of the same weights.

    python bench/export_speed.py --weights detector.pt --data data.yaml --out bench/results/cpu

One checkpoint is exported by Ultralytics and by edgekd, in fp32 and in int8 as each runtime likes
it; NNCF, where it is installed, quantises too. Then all of them take turns, each in a process of
its own (`edgekd_bench.process_turns`), on real images:

- forward: every file on ONNX Runtime and on OpenVINO, in edgekd's runners, from a prepared batch to
  the output; the reference is Ultralytics' fp32 file on ONNX Runtime;
- end to end: from the path of an image file to boxes in its pixels; the reference is
  ``YOLO("detector.onnx").predict`` with its own defaults.

mAP of each file on each runtime is measured on the val split, because two runtimes need not compute
the same from one file. Nothing is dropped; ratios are of medians of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd_bench.accuracy import evaluate
from edgekd_bench.backends import is_installed
from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.coco_score import Score
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.device_state import describe_environment
from edgekd_bench.errors import InputError
from edgekd_bench.latency_ratio import latency_ratio
from edgekd_bench.manifest import library_versions, sha256_of, write_text_atomically
from edgekd_bench.process_turns import Contender, TurnPlan, TurnTimes, time_in_process_turns
from edgekd_bench.quantile_intervals import quantile_interval
from edgekd_bench.resampled_map import draw_image_weights, resampled_map
from edgekd_bench.runner import open_runner
from edgekd_bench.samples import spread
from edgekd_bench.state_monitor import StateMonitor
from edgekd_export import ExportSettings
from edgekd_export.weights import read_checkpoint
from exported_files import PEERS, ExportedFile, export_all

REFERENCE = "Ultralytics fp32 on onnxruntime"
PREDICT = "Ultralytics predict"
RESAMPLES = 2000
LARGEST_LOSS = 0.01  # mAP50-95, "one point"


@dataclass(frozen=True)
class Entry:
    """A file on a runtime."""

    file: ExportedFile
    backend: str

    @property
    def name(self) -> str:
        return f"{self.file.name} on {self.backend}"


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Export, score, time, and put it all into one record."""
    environment = describe_environment()
    dataset = load_detection_set(options.data, "val")
    image_size = read_checkpoint(options.weights).image_size(options.image_size)
    settings = ExportSettings(
        image_size=image_size,
        opset=options.opset,
        calibration=options.calibration,
        calibration_images=options.calibration_images,
    )
    files = export_all(
        options.weights, options.data, folder, image_size=image_size, settings=settings
    )
    backends = [backend for backend in ("onnxruntime", "openvino") if is_installed(backend)]
    entries = [Entry(file, backend) for file in files for backend in backends]
    scores = {entry.name: score(entry, dataset) for entry in entries}
    images = [str(dataset.images[index].path) for index in spread(dataset, options.images)]
    plan = TurnPlan(options.rounds, options.calls, options.seed)
    with StateMonitor("cpu") as monitor:
        start = monitor.mark()
        forward = time_all([forward_of(entry, images) for entry in entries], plan)
        whole = time_all(end_to_end_of(entries, images, image_size), plan)
        window = monitor.window(start, monitor.mark())
    rows = [forward_row(entry, forward, scores) for entry in entries]
    ends = [end_to_end_row(name, whole) for name in whole]
    return {
        "what": "wall milliseconds of one image on a CPU; all contenders took turns, each in its "
        "own process, threads as each runtime chooses",
        "weights": {"name": options.weights.name, "sha256": sha256_of(options.weights)},
        "data": {
            "name": options.data.resolve().parent.name,
            "hash": dataset.content_hash(),
            "num_images": len(dataset.images),
        },
        "image_size": image_size,
        "batch": 1,
        "warmup_calls": 20,
        "rounds": plan.rounds,
        "calls_a_turn": plan.calls_per_turn,
        "timed_images": len(images),
        "export": settings.model_dump(mode="json", include={"opset", "calibration"})
        | {"calibration_images": options.calibration_images},
        "forward_reference": REFERENCE,
        "forward": rows,
        "end_to_end_reference": PREDICT,
        "end_to_end": ends,
        "bars": bars(rows, ends),
        "flags": list(window.flags),
        "environment": environment,
        "versions": library_versions(
            "onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "torch", "ultralytics"
        ),
        "command": ["bench/export_speed.py", *map(_without_folder, sys.argv[1:])],
    }


def _without_folder(argument: str) -> str:
    """``dice/data.yaml``: a record travels, somebody's folders do not."""
    return "/".join(Path(argument).parts[-2:]) if argument.startswith("/") else argument


def score(entry: Entry, dataset: DetectionSet) -> Score:
    """mAP of a file as that runtime computes it."""
    with open_runner(entry.file.path, entry.backend) as runner:
        return evaluate(runner, dataset).score


def time_all(contenders: Sequence[Contender], plan: TurnPlan) -> dict[str, TurnTimes]:
    """Time them with a progress bar on standard error."""
    from rich.console import Console

    with (
        BenchProgress(Console(stderr=True)) as progress,
        progress.stage(f"{len(contenders)} contenders, rounds", plan.rounds) as advance,
    ):
        return time_in_process_turns(contenders, plan, advance)


def forward_of(entry: Entry, images: Sequence[str]) -> Contender:
    return _edgekd(entry.name, "forward", entry, images)


def end_to_end_of(
    entries: Sequence[Entry], images: Sequence[str], image_size: int
) -> list[Contender]:
    """Ultralytics' predict, and edgekd with each of its files on the runtime it suits."""
    reference = next(entry for entry in entries if entry.name == REFERENCE)
    script = str(PEERS / "ultralytics_contender.py")
    predict = (sys.executable, script, str(reference.file.path), str(image_size), *images)
    return [
        Contender(PREDICT, predict),
        *(_edgekd(e.name, "end_to_end", e, images) for e in entries if _suits(e)),
    ]


def _suits(entry: Entry) -> bool:
    own = entry.file.made_by == "edgekd"
    return own and (
        entry.file.precision == "fp32" or entry.file.name.endswith(f"for {entry.backend}")
    )


def _edgekd(name: str, clock: str, entry: Entry, images: Sequence[str]) -> Contender:
    script = str(PEERS / "edgekd_contender.py")
    model = str(entry.file.path)
    return Contender(name, (sys.executable, script, clock, entry.backend, model, *images))


def forward_row(
    entry: Entry, times: Mapping[str, TurnTimes], scores: Mapping[str, Score]
) -> dict[str, Any]:
    """Latency and mAP of one file on one runtime, against the reference."""
    return {
        "name": entry.name,
        "made_by": entry.file.made_by,
        "precision": entry.file.precision,
        "backend": entry.backend,
        "parity": entry.file.parity,
        "sha256": times[entry.name].facts["sha256"],
        "size_mb": times[entry.name].facts["size_mb"],
        **percentiles(times[entry.name]),
        "ratio": ratio(times[REFERENCE], times[entry.name]),
        "map50_95": scores[entry.name].map50_95,
        "map50_95_lost": loss(scores[REFERENCE], scores[entry.name]),
    }


def end_to_end_row(name: str, times: Mapping[str, TurnTimes]) -> dict[str, Any]:
    """How many times as fast as Ultralytics' predict."""
    faster = ratio(times[name], times[PREDICT])
    return {"name": name, **percentiles(times[name]), "times_as_fast": faster}


def percentiles(times: TurnTimes) -> dict[str, Any]:
    """Percentiles with their intervals, milliseconds."""
    taken = times.milliseconds.ravel()
    return {
        "p50_ms": float(np.median(taken)),
        "p50_interval_ms": quantile_interval(taken, 0.5),
        "p90_ms": float(np.quantile(taken, 0.9)),
        "p99_ms": float(np.quantile(taken, 0.99)),
        "num_timed": len(taken),
    }


def ratio(base: TurnTimes, other: TurnTimes) -> dict[str, Any]:
    """Other over base, with its interval and the ratio of medians of each round."""
    found = latency_ratio([base.milliseconds.ravel()], [other.milliseconds.ravel()])
    rounds = np.median(other.milliseconds, axis=1) / np.median(base.milliseconds, axis=1)
    return {
        **found.model_dump(include={"estimate", "low", "high", "method"}),
        "by_round": [round(float(value), 4) for value in rounds],
    }


def loss(before: Score, after: Score) -> dict[str, float]:
    """mAP50-95 lost, with a paired bootstrap over images."""
    num_images = len(before.matches[0].num_truth)
    weights = draw_image_weights(num_images, RESAMPLES, np.random.default_rng(0))
    draws = resampled_map(before.matches, weights) - resampled_map(after.matches, weights)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    estimate = before.map50_95 - after.map50_95
    return {"estimate": estimate, "low": float(low), "high": float(high)}


def bars(rows: Sequence[Mapping[str, Any]], ends: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What was to be reached, and what was."""
    by_name = {row["name"]: row for row in rows}
    fp32 = by_name["edgekd fp32 on onnxruntime"]["ratio"]
    found: list[Any] = [
        _bar("fp32 forward, ratio at most 1.00 within its interval", fp32, fp32["low"] <= 1)
    ]
    for row in ends[1:]:
        faster = row["times_as_fast"]
        found.append(_bar(f"end to end, 1.3 times as fast: {row['name']}", faster, None, 1.3))
    for row in rows:
        if row["made_by"] == "edgekd" and row["name"].endswith(
            f"for {row['backend']} on {row['backend']}"
        ):
            lost = row["map50_95_lost"]["estimate"]
            met = row["ratio"]["estimate"] <= 0.7 and lost <= LARGEST_LOSS
            found.append(_bar(f"int8 forward, ratio at most 0.7: {row['name']}", row["ratio"], met))
            found[-1]["map50_95_lost"] = lost
    return found


def _bar(
    what: str, measured: Mapping[str, Any], met: bool | None, at_least: float = 0.0
) -> dict[str, Any]:
    met = measured["estimate"] >= at_least if met is None else met
    return {"what": what, **{k: measured[k] for k in ("estimate", "low", "high")}, "met": met}


def main() -> None:
    """Print the record as JSON and keep it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a trained checkpoint, .pt")
    parser.add_argument("--data", type=Path, required=True, help="data.yaml or coco.yaml")
    parser.add_argument("--out", type=Path, help="folder for the record")
    parser.add_argument("--image-size", type=int, help="default: the weights' own")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=5, help="in each turn")
    parser.add_argument("--images", type=int, default=16, help="to time on")
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--calibration", default="minmax")
    parser.add_argument("--calibration-images", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="to see that it works; the figures mean nothing"
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.calls, options.images, options.calibration_images = 3, 1, 2, 4
    with tempfile.TemporaryDirectory(prefix="edgekd-export-speed-") as folder:
        try:
            record = measure(options, Path(folder))
        except InputError as error:
            sys.exit(f"error: {error}")
    text = json.dumps(record, indent=2)
    if options.out:
        write_text_atomically(options.out / "export_speed.json", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
