"""A record with everything a benchmark can measure, on boards that do not exist here.

The fixture of ``report_fixture`` is what earlier versions wrote; this one adds quantiles with tails
and intervals, device clocks, throughput, power, flags, object sizes, a self-check and device state,
so that a page made from it has every section.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bench.report_fixture import build_record, build_run
from bench.report_pictures import CLASSES, write_predictions

from edgekd_bench.manifest import Calibration, Manifest, Parent, TeacherIdentity
from edgekd_bench.record import (
    BenchRecord,
    Interval,
    Outcome,
    Row,
    SelfCheck,
    write_record,
)

BOARD = "NVIDIA Jetson Orin Nano Developer Kit"
THROTTLED = "the GPU throttled for heat: 918 → 624 MHz at 97 °C"


def build_rich_run(
    folder: Path,
    *,
    outcome: Outcome = "better",
    board: str | None = BOARD,
    speed: float = 1.0,
    num_seeds: int = 3,
    optional: bool = True,
) -> Path:
    """Write a run folder with all optional fields filled, and manifests for some models."""
    build_run(folder, outcome=outcome, num_seeds=num_seeds, optional=optional)
    record = build_rich_record(outcome, board=board, speed=speed, num_seeds=num_seeds)
    write_record(folder / "results.json", record)
    if optional:
        write_predictions(folder, num_images=2, num_worst=2)
    for row in record.rows:
        if row.precision == "int8":
            write_manifest_for(folder, row)
    return folder


def build_rich_record(
    outcome: Outcome = "better",
    *,
    board: str | None = BOARD,
    speed: float = 1.0,
    num_seeds: int = 3,
) -> BenchRecord:
    """The plain record with every optional field; ``speed`` divides all times."""
    record = build_record(outcome, num_seeds)
    generator = np.random.default_rng(23)
    rows = [_enrich(generator, row, speed) for row in record.rows]
    rows[2] = rows[2].model_copy(update={"flags": [THROTTLED]})
    comparisons = [
        comparison.model_copy(
            update={"relation": "dominates" if outcome == "better" else "undecided"}
        )
        for comparison in record.verdict.comparisons
    ]
    environment = dict(record.environment)
    if board is not None:
        environment["board"] = board
    return record.model_copy(
        update={
            "rows": rows,
            "environment": environment,
            "verdict": record.verdict.model_copy(update={"comparisons": comparisons}),
            "self_checks": [self_check()],
            "device_state": _STATE,
            "command": _COMMAND,
        }
    )


def self_check(passed: bool = True) -> SelfCheck:
    """The harness against itself."""
    low, high = (0.997, 1.004) if passed else (1.021, 1.034)
    ratio = Interval(
        estimate=(low + high) / 2,
        low=low,
        high=high,
        outcome="undecided" if passed else "worse",
        method="paired over 40 interleaved blocks, 2000 resamples",
    )
    return SelfCheck(
        model="baseline-seed0.onnx",
        backend="onnxruntime",
        latency_p50_ratio=ratio,
        tolerance=0.01,
        passed=passed,
    )


def write_manifest_for(folder: Path, row: Row) -> Path:
    """The manifest of a model that is not there: only its hash counts."""
    manifest = Manifest(
        kind="onnx",
        sha256=row.sha256,
        init=row.init,
        seed=row.seed,
        names=CLASSES,
        image_size=row.image_size,
        stride=32,
        precision=row.precision,
        calibration=Calibration(
            method="entropy",
            source="dice/train",
            num_images=128,
            images_sha256="ab" * 32,
            cache_sha256="cd" * 32,
        ),
        parents=[Parent(role="weights", name="detector.pt", sha256="ef" * 32)],
        teacher=TeacherIdentity(name="efficientnet_lite0", licence="Apache-2.0", sha256="01" * 32),
        licence="AGPL-3.0",
        parity="pass",
        parity_figures={"box_max_abs_px": 0.31, "score_cosine": 0.999914},
        versions={"onnx": "1.23.2", "onnxruntime": "1.32.0"},
    )
    path = folder / "export" / f"{row.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    return path


def _enrich(generator: np.random.Generator, row: Row, speed: float) -> Row:
    p50 = row.latency_p50_ms / speed
    calls = p50 * (1 + 0.02 * generator.gamma(2.0, 1.0, 600))
    calls[:9] *= generator.uniform(1.15, 2.4, 9)  # what an operating system does now and then
    quantiles = np.percentile(calls, range(101))
    p50, p90, p99 = (float(quantiles[percent]) for percent in (50, 90, 99))
    is_torch = row.backend == "pytorch"
    overhead = 2.4 / speed + 0.9
    power = 9.0 + 1.1 * p50 / 10
    return row.model_copy(
        update={
            "latency_p50_ms": p50,
            "latency_p90_ms": p90,
            "latency_p99_ms": p99,
            "latency_quantiles_ms": quantiles.tolist(),
            "latency_intervals_ms": {
                "latency_p50_ms": (p50 * 0.997, p50 * 1.003),
                "latency_p90_ms": (p90 * 0.99, p90 * 1.012),
                "latency_p99_ms": (p99 * 0.94, p99 * 1.15),
            },
            "num_outliers": int((calls > p50 + 5 * (np.percentile(calls, 75) - p50)).sum()),
            "device_p50_ms": None if is_torch else p50 * 0.86,
            "device_p90_ms": None if is_torch else p90 * 0.86,
            "device_p99_ms": None if is_torch else p99 * 0.84,
            "end_to_end_p50_ms": p50 + overhead,
            "end_to_end_p90_ms": p90 + overhead * 1.1,
            "end_to_end_p99_ms": p99 + overhead * 1.6,
            "throughput_images_per_s": 8 / (p50 * 8e-3 * 0.74),
            "throughput_batch": 8,
            "throughput_in_flight": 2,
            "first_call_ms": p50 * 9,
            "power_w": power,
            "energy_j_per_image": power * p50 / 1000,
            "map50_95_by_size": {
                "small": row.map50_95 * 0.55,
                "medium": row.map50_95 * 1.02,
                "large": None if row.seed == 1 else row.map50_95 * 1.2,
            },
            "map50_per_class": {
                name: min(1.0, value + 0.25) for name, value in row.map50_95_per_class.items()
            },
        }
    )


_STATE = {
    "power_mode": "15W (nvpmodel 0)",
    "before": {"gpu_clock_mhz": 918, "temperature_c": {"cpu": 48.5, "gpu": 49.0}},
    "after": {"gpu_clock_mhz": 624, "temperature_c": {"cpu": 71.0, "gpu": 97.0}},
}
_COMMAND = [
    *("edgekd", "bench", "distilled seed0.onnx", "--baseline", "baseline-seed0.onnx"),
    *("--data", "dice/data.yaml"),
]
