"""How fast edgekd distils with a feature cache, against LightlyTrain's `distillationv3`.

Both get the same photographs, the same student, a ViT teacher of the same shape (random weights on
both sides: the speed does not depend on them), the same image size and batch, each with the
threads and the arithmetic it chooses itself. LightlyTrain runs the teacher at every step; edgekd
runs it once a view, keeps the features, and cycles through the views.

LightlyTrain is installed into an environment of its own and driven from outside. Each measurement
is a process; the two alternate. What is measured are steady rates: LightlyTrain's over its steps
after a warm-up, edgekd's while it fills the cache and in the loop afterwards. A whole job is then
calculated, linearly, for both:

    LightlyTrain   images x epochs / rate
    edgekd         (images x views + fitting) / filling rate + images x epochs / loop rate

with the passes of the teacher that fitting the target space takes. The JSON record is printed last.

    python bench/peers/lightly_train.py --images photos/images --out bench/results/cpu-2core
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd.config import DistillConfig
from edgekd.distill.feature_cache.codec import fitting_passes
from edgekd_bench.device_state import describe_environment
from edgekd_bench.manifest import write_text_atomically

HERE = Path(__file__).parent
TEACHERS = {  # name → LightlyTrain's, timm's
    "vit_small_patch16": ("dinov3/vits16-notpretrained", "vit_small_patch16_dinov3"),
    "vit_base_patch16": ("dinov3/vitb16-notpretrained", "vit_base_patch16_dinov3"),
}
REQUIREMENT = "lightly-train[ultralytics,timm]==0.18.0"
BARS = {"vit_small_patch16": 4.0, "vit_base_patch16": 10.0}


def environment_python(folder: Path) -> Path:
    """The interpreter of LightlyTrain's own environment, made where it is not there yet."""
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing {REQUIREMENT} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        constraints = HERE.parent.parent / "constraints.txt"
        pip = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints)]
        subprocess.run([*pip, REQUIREMENT, "tensorboard"], check=True, stdout=sys.stderr)
        (folder / "installed").touch()
    return python


def run_worker(python: Path, script: str, task: dict[str, Any], folder: Path) -> str:
    """Standard output of a worker; its last words where it fails."""
    file = folder / "task.json"
    file.write_text(json.dumps(task), encoding="utf-8")
    command = [str(python), str(HERE / script), str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        words = answer.stderr.strip().splitlines()[-15:]
        raise SystemExit(f"{script} failed:\n" + "\n".join(words))
    return answer.stdout


def lightly_train_rate(python: Path, teacher: str, options: argparse.Namespace) -> dict[str, Any]:
    """Images/s over the steps after the warm-up."""
    with tempfile.TemporaryDirectory() as folder:
        steps = options.warmup + options.peer_steps + 1
        task = common(options) | {
            "teacher": TEACHERS[teacher][0],
            "epochs": 1 + steps * options.batch // options.num_photos,
            "max_steps": steps,
            "workers": "auto",
            "seed": 0,
            "out": f"{folder}/out",
        }
        run_worker(python, "lightly_train_worker.py", task, Path(folder))
        record = json.loads(Path(folder, "out", "steps.json").read_text(encoding="utf-8"))
    moments = record["steps"][options.warmup : options.warmup + options.peer_steps + 1]
    rate = options.batch * (len(moments) - 1) / (moments[-1] - moments[0])
    return {"images_per_second": rate, "versions": record["versions"]}


def edgekd_rates(teacher: str, options: argparse.Namespace) -> dict[str, Any]:
    """Images/s of filling and loop."""
    with tempfile.TemporaryDirectory() as folder:
        task = common(options) | {
            "images": [str(path) for path in photographs(options)[: options.fill_images]],
            "teacher": TEACHERS[teacher][1],
            "views": 1,  # every image anew: nothing is decoded twice
            "num_images": options.fill_images,
            "warmup": options.warmup,
            "steps": options.steps,
        }
        answer = run_worker(Path(sys.executable), "edgekd_distill_worker.py", task, Path(folder))
        record: dict[str, Any] = json.loads(answer.splitlines()[-1])
        return record


def common(options: argparse.Namespace) -> dict[str, Any]:
    """What both are told alike."""
    return {
        "images": [str(options.images.resolve())],
        "student": options.student,
        "image_size": options.size,
        "batch_size": options.batch,
    }


def photographs(options: argparse.Namespace) -> list[Path]:
    """All images of the folder, in the order of their names."""
    found = sorted(p for p in options.images.resolve().rglob("*") if p.suffix in (".jpg", ".jpeg"))
    if len(found) < options.fill_images:
        raise SystemExit(f"{options.images}: {len(found)} JPEGs, {options.fill_images} needed")
    return found


def job_fitting_passes(options: argparse.Namespace) -> int:
    """Of the teacher, for fitting the target space in the calculated job."""
    return fitting_passes(DistillConfig().standardize_images, options.batch)


def whole_job(rates: dict[str, float], views: int, options: argparse.Namespace) -> dict[str, float]:
    """Seconds and images/s of ``job_images`` × ``job_epochs``, for both, and their ratio.

    Args:
        rates: images/s of ``lightly_train``, ``edgekd_filling`` and ``edgekd_loop``.
        views: kept of each image.
        options: of the command line.
    """
    peer, filling, loop = (
        rates[name] for name in ("lightly_train", "edgekd_filling", "edgekd_loop")
    )
    total = options.job_images * options.job_epochs
    fill_seconds = (options.job_images * views + job_fitting_passes(options)) / filling
    seconds = fill_seconds + total / loop
    return {
        "views": views,
        "lightly_train_seconds": total / peer,
        "edgekd_filling_seconds": fill_seconds,
        "edgekd_loop_seconds": total / loop,
        "lightly_train_images_per_second": peer,
        "edgekd_images_per_second": total / seconds,
        "ratio": total / peer / seconds,
    }


def measure_teacher(
    teacher: str, python: Path, options: argparse.Namespace, say: Callable[[str], None]
) -> dict[str, Any]:
    """Alternating rounds with one teacher, and the jobs calculated from their medians."""
    peers, own = [], []
    for number in range(options.rounds):
        peers.append(lightly_train_rate(python, teacher, options))
        own.append(edgekd_rates(teacher, options))
        say(
            f"{teacher} round {number + 1}: LightlyTrain {peers[-1]['images_per_second']:.2f}, "
            f"edgekd filling {own[-1]['filling_images_per_second']:.2f}, "
            f"loop {own[-1]['loop_images_per_second']:.1f} images/s"
        )
    rates = {
        "lightly_train": [one["images_per_second"] for one in peers],
        "edgekd_filling": [one["filling_images_per_second"] for one in own],
        "edgekd_loop": [one["loop_images_per_second"] for one in own],
    }
    median = {name: statistics.median(values) for name, values in rates.items()}
    jobs = [whole_job(median, views, options) for views in options.views]
    return {
        "images_per_second": rates,
        "median_images_per_second": median,
        "jobs": jobs,
        "bar": BARS[teacher],
        "bar_met_with_views": [job["views"] for job in jobs if job["ratio"] >= BARS[teacher]],
        "precision": {"edgekd": own[0]["precision"], "lightly_train": "its own choice ('auto')"},
        "versions": {"lightly_train": peers[0]["versions"], "edgekd": own[0]["versions"]},
    }


def main() -> None:
    """Parse, measure, write and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, help="folder for lightly_train_speed.json")
    parser.add_argument("--environment", type=Path, default=Path("runs/lightly_train_venv"))
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=list(TEACHERS))
    parser.add_argument("--views", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--student", default="yolo11n.yaml")
    for name, default in (
        ("size", 224),
        ("batch", 16),
        ("warmup", 2),
        ("peer-steps", 5),
        ("steps", 30),
        ("fill-images", 48),
        ("rounds", 3),
        ("job-images", 1000),
        ("job-epochs", 50),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.num_photos = len(photographs(options))
    environment = describe_environment(None)
    python = environment_python(options.environment)
    record = {
        "what": "distillation of a YOLO backbone from a ViT with random weights, images/s, data "
        "included; whole jobs are extrapolated linearly from steady rates",
        "command": "python bench/peers/lightly_train.py --images IMAGES --out FOLDER",
        "student": options.student,
        "image_size": options.size,
        "batch": options.batch,
        "warmup_steps": options.warmup,
        "timed_steps": {"lightly_train": options.peer_steps, "edgekd_loop": options.steps},
        "job": {
            "images": options.job_images,
            "epochs": options.job_epochs,
            "edgekd_fitting_passes": job_fitting_passes(options),
        },
        "teachers": {
            teacher: measure_teacher(
                teacher, python, options, lambda line: print(line, file=sys.stderr, flush=True)
            )
            for teacher in options.teachers
        },
        "environment": environment,
    }
    text = json.dumps(record, indent=2) + "\n"
    if options.out:
        write_text_atomically(options.out / "lightly_train_speed.json", text)
    print(text)


if __name__ == "__main__":
    main()
