"""A run folder as a real run leaves it, made from random numbers: what the report's tests read.

Three seeds of a baseline and a distilled detector, measured on three backends, with pictures of
dice on a table. Everything is seeded, so a page made from it can be compared with yesterday's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.report_pictures import CLASSES, write_predictions

from edgekd_bench.manifest import Init
from edgekd_bench.record import (
    BenchRecord,
    Comparison,
    Interval,
    Outcome,
    Row,
    Verdict,
    write_record,
)


@dataclass(frozen=True)
class Backend:
    """What one backend does to accuracy, latency and size."""

    name: str
    precision: str
    map_loss: float
    latency_ms: float
    size_mb: float
    ending: str


BACKENDS = (
    Backend("onnxruntime", "fp32", 0.0, 12.6, 10.4, ".onnx"),
    Backend("onnxruntime", "int8", 0.019, 8.1, 3.1, ".int8.onnx"),
    Backend("pytorch", "fp32", 0.0, 21.7, 10.6, ".pt"),
)


def build_run(
    folder: Path, *, outcome: Outcome = "undecided", num_seeds: int = 3, optional: bool = True
) -> Path:
    """Write a run folder; without ``optional`` only ``results.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder / "results.json", build_record(outcome, num_seeds))
    if optional:
        write_predictions(folder)
        write_distillation(folder)
        write_trainings(folder, num_seeds)
        (folder / "config.yaml").write_text(_CONFIG, encoding="utf-8")
    return folder


def build_record(outcome: Outcome = "undecided", num_seeds: int = 3) -> BenchRecord:
    """Rows of all backends and seeds, with comparisons whose intervals fit ``outcome``."""
    generator = np.random.default_rng(7)
    gain = {"better": 0.034, "undecided": 0.012, "worse": -0.031}[outcome]
    inits: tuple[Init, ...] = ("baseline", "distilled")
    rows = [
        _row(generator, backend, init, seed, gain if init == "distilled" else 0.0)
        for backend in BACKENDS
        for seed in range(num_seeds)
        for init in inits
    ]
    rows[-1] = rows[-1].model_copy(update={"parity": "fail"})
    comparisons = [_comparison(rows, backend, outcome, num_seeds) for backend in BACKENDS]
    estimate = comparisons[0].map50_95_difference.estimate
    headline = {
        "better": f"The distilled backbone is better: mAP50-95 {estimate:+.3f}, latency the same",
        "undecided": f"Undecided: mAP50-95 {estimate:+.3f}, and the interval includes zero",
        "worse": f"The distilled backbone is worse: mAP50-95 {estimate:+.3f}, latency the same",
    }[outcome]
    return BenchRecord(
        environment=_ENVIRONMENT,
        settings={"warmup": 30, "min_seconds": 10.0, "min_images": 300, "bootstrap": 2000},
        data={"name": "dice-val", "num_images": 240, "sha256": "5b1e" * 16, "classes": 6},
        rows=rows,
        verdict=Verdict(
            headline=headline, outcome=outcome, num_seeds=num_seeds, comparisons=comparisons
        ),
    )


def _row(
    generator: np.random.Generator, backend: Backend, init: Init, seed: int, gain: float
) -> Row:
    accuracy = 0.571 + gain - backend.map_loss + float(generator.normal(0, 0.007))
    base = np.linspace(-0.16, 0.14, len(CLASSES))
    jitter = generator.normal(0, 0.012, len(CLASSES))
    latency = backend.latency_ms * float(generator.normal(1, 0.012))
    return Row(
        model=f"{init}-seed{seed}{backend.ending}",
        init=init,
        seed=seed,
        precision=backend.precision,  # type: ignore[arg-type]
        backend=backend.name,
        device="cpu",
        image_size=320,
        batch=1,
        map50_95=accuracy,
        map50=min(1.0, accuracy + 0.271),
        map50_95_per_class={
            name: float(accuracy + base[index] + jitter[index]) for index, name in CLASSES.items()
        },
        latency_p50_ms=latency,
        latency_p90_ms=latency * 1.07,
        latency_p99_ms=latency * 1.31,
        end_to_end_p50_ms=latency + 3.1,
        end_to_end_p90_ms=latency * 1.07 + 3.6,
        end_to_end_p99_ms=latency * 1.31 + 5.0,
        num_warmup=30,
        num_timed=600,
        size_mb=backend.size_mb,
        num_params=2_591_010,
        parity="n/a" if "torch" in backend.name else "pass",
        sha256=hashlib.sha256(f"{init} {seed} {backend} {gain}".encode()).hexdigest(),
        teacher=None if init == "baseline" else "efficientnet_lite0",
    )


def _comparison(rows: list[Row], backend: Backend, outcome: Outcome, num_seeds: int) -> Comparison:
    half = 0.021 if outcome == "undecided" else 0.016
    method = f"paired bootstrap over images and {num_seeds} seeds, 2000 resamples"
    sides = {
        init: [
            row
            for row in rows
            if (row.backend, row.precision, row.init) == (backend.name, backend.precision, init)
        ]
        for init in ("baseline", "distilled")
    }
    means = {init: float(np.mean([row.map50_95 for row in side])) for init, side in sides.items()}
    estimate = means["distilled"] - means["baseline"]
    return Comparison(
        backend=backend.name,
        precision=backend.precision,  # type: ignore[arg-type]
        baselines=[row.model for row in sides["baseline"]],
        candidates=[row.model for row in sides["distilled"]],
        seeds=list(range(num_seeds)),
        map50_95_difference=Interval(
            estimate=estimate,
            low=estimate - half,
            high=estimate + half,
            outcome=outcome,
            method=method,
        ),
        latency_p50_ratio=Interval(
            estimate=1.002, low=0.991, high=1.014, outcome="undecided", method=method
        ),
        text=f"mAP50-95 {estimate:+.3f}, latency p50 ×1.002.",
    )


def write_distillation(folder: Path, num_epochs: int = 40) -> None:
    """``distill/metrics.jsonl`` with the overall figures and three levels."""
    generator = np.random.default_rng(5)
    lines = []
    for epoch in range(1, num_epochs + 1):
        progress = 1 - np.exp(-epoch / 9)
        cosine = 0.31 + 0.49 * progress + float(generator.normal(0, 0.004))
        line = {
            "epoch": epoch,
            "loss": 0.92 - 0.61 * progress + float(generator.normal(0, 0.006)),
            "heldout_cosine": cosine,
            "lr": 1e-3 * (1 - epoch / num_epochs),
            "images_per_second": 212.0 + float(generator.normal(0, 5)),
        }
        for level, shift in (("p3", -0.05), ("p4", 0.03), ("p5", 0.01)):
            line[f"heldout_cosine/{level}"] = cosine + shift
            line[f"loss/{level}/cosine"] = line["loss"] - shift
        lines.append(json.dumps(line))
    path = folder / "distill" / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_trainings(folder: Path, num_seeds: int = 3, num_epochs: int = 50) -> None:
    """``train/<init>-seed<k>/results.csv`` as the trainer pads it, validated every second epoch."""
    generator = np.random.default_rng(11)
    names = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/mAP50(B)"]
    header = ["epoch", "time", *names, "metrics/mAP50-95(B)", "val/box_loss"]
    for init, speed, top in (("baseline", 17.0, 0.575), ("distilled", 9.0, 0.588)):
        for seed in range(num_seeds):
            lines = [",".join(name.rjust(23) for name in header)]
            accuracy = 0.0
            for epoch in range(1, num_epochs + 1):
                progress = 1 - float(np.exp(-epoch / speed))
                loss = 1.9 - 1.1 * progress + generator.normal(0, 0.015, 3)
                if epoch % 2 == 0:
                    accuracy = max(0.0, top * progress + float(generator.normal(0, 0.01)))
                values = [epoch * 4.2, *loss, accuracy * 1.4, accuracy, 2.0 - progress]
                lines.append(",".join(f"{value:>23.5g}" for value in [float(epoch), *values]))
            path = folder / "train" / f"{init}-seed{seed}" / "results.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


_ENVIRONMENT = {
    "edgekd": "0.1.0",
    "python": "3.11.7",
    "os": "Linux 6.8 x86_64",
    "cpu": {"name": "Intel Xeon Gold 6448Y", "cores": 2, "governor": "performance"},
    "accelerator": None,
    "libraries": {"onnxruntime": "1.32.0", "numpy": "2.3.1", "torch": "2.14.0", "hotcoco": "1.3.0"},
    "temperature_c": [41.0, 43.5],
    "throttled": False,
}
_CONFIG = """name: dice
teacher:
  name: efficientnet_lite0
  weights: null
student:
  name: yolo11n.yaml
  scope: backbone
distill:
  epochs: 40
  lr: 0.001
train:
  epochs: 50
  seeds: [0, 1, 2]
"""
