"""The schema of ``results.json``, the one thing every measurement ends in.

The report, the comparison of runs and other people's scripts read this file, so its field names are
a promise: add fields, never rename them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Init, Parity, write_text_atomically

Outcome = Literal["better", "worse", "undecided"]
Relation = Literal["dominates", "dominated", "trades", "undecided"]
ComparisonKind = Literal["training", "deployment", "models"]


class Row(BaseModel):
    """One model on one backend."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    init: Init
    seed: int | None = None
    precision: Literal["fp32", "fp16", "int8"]
    backend: str
    device: str
    image_size: int
    batch: int
    map50_95: float
    map50: float
    map50_95_per_class: dict[str, float] = {}
    map50_95_any_class: float | None = Field(
        default=None, description="boxes alone: found at all, whatever class they were given"
    )
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    end_to_end_p50_ms: float
    end_to_end_p90_ms: float
    end_to_end_p99_ms: float
    device_p50_ms: float | None = Field(
        default=None, description="computing alone, without copies; None: no such clock"
    )
    device_p90_ms: float | None = None
    device_p99_ms: float | None = None
    latency_intervals_ms: dict[str, tuple[float, float]] = Field(
        default={}, description="95 % intervals of the percentiles above, keyed by their field"
    )
    latency_quantiles_ms: list[float] = Field(
        default=[], description="0th to 100th percentile of the host clock, one by one"
    )
    num_outliers: int | None = Field(
        default=None, description="calls beyond p50 + 5 (p75 - p50); counted, never dropped"
    )
    throughput_images_per_s: float | None = Field(
        default=None, description="offline: all images at hand, nobody waits for one of them"
    )
    throughput_batch: int | None = None
    throughput_in_flight: int | None = Field(
        default=None, description="batches under way at once while throughput was measured"
    )
    power_w: float | None = Field(default=None, description="mean while the model was timed")
    energy_j_per_image: float | None = None
    flags: list[str] = Field(
        default=[], description="what was wrong with the machine, one sentence each"
    )
    map50_95_by_size: dict[str, float | None] = Field(
        default={}, description="'small', 'medium', 'large' as COCO; None: no such object"
    )
    map50_per_class: dict[str, float] = {}
    first_call_ms: float | None = Field(
        default=None, description="the very first run after opening, with all that happens once"
    )
    num_warmup: int
    num_timed: int
    size_mb: float
    num_params: int
    parity: Parity
    sha256: str
    teacher: str | None = None


class Interval(BaseModel):
    """A difference or ratio with its 95 % interval, and what that allows one to say."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    estimate: float
    low: float
    high: float
    outcome: Outcome
    method: str

    def in_words(self) -> str:
        """``+0.127 [+0.092, +0.165]``."""
        return f"{self.estimate:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


class Comparison(BaseModel):
    """Candidates against their baselines, pair by pair."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    backend: str
    precision: Literal["fp32", "fp16", "int8"]
    baselines: list[str]
    candidates: list[str]
    seeds: list[int | None]
    map50_95_difference: Interval
    latency_p50_ratio: Interval
    relation: Relation = Field(
        default="undecided", description="the candidate's place in mAP and latency together"
    )
    kind: ComparisonKind = Field(
        default="training",
        description="what the claim is about: how models were trained (seeds vary); one set of "
        "weights deployed in two ways; or two files whose training is unknown",
    )
    asked: bool = Field(
        default=True, description="False: a model against its own fp32, which is always compared"
    )
    baseline_backend: str | None = Field(default=None, description="None: the candidates'")
    baseline_precision: Literal["fp32", "fp16", "int8"] | None = Field(
        default=None, description="None: the candidates'"
    )
    text: str


class Verdict(BaseModel):
    """The answer in words, and the comparisons it rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    headline: str
    outcome: Literal["better", "worse", "undecided", "no baseline"]
    num_seeds: int
    comparisons: list[Comparison] = []


class SelfCheck(BaseModel):
    """The same model timed as A and as B: what the harness calls a difference when there is none.

    ``passed`` is False where the interval excludes 1 by more than the tolerance: then no latency
    comparison of this record can be trusted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    backend: str
    latency_p50_ratio: Interval
    tolerance: float
    passed: bool


class GateOutcome(BaseModel):
    """One condition of `--fail-if`, judged on one candidate (the mean over its seeds)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    condition: str
    models: list[str]
    backend: str
    value: float | None = Field(description="None: not measured, which counts as violated")
    limit: float | None
    violated: bool
    text: str


class BenchRecord(BaseModel):
    """The whole of ``results.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = 1
    environment: dict[str, Any]
    settings: dict[str, Any] = {}
    data: dict[str, Any] = Field(
        default={}, description="evaluation set: name, hash, num_images, classes"
    )
    rows: list[Row]
    verdict: Verdict
    self_checks: list[SelfCheck] = []
    gate: list[GateOutcome] = Field(default=[], description="conditions of `--fail-if`, judged")
    device_state: dict[str, Any] = Field(
        default={}, description="clocks, power, temperatures and throttling before and after"
    )
    command: list[str] = Field(default=[], description="the command line that repeats it")


class SampleBox(BaseModel):
    """One box on a sample image, pixels of the original image."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    xyxy: tuple[float, float, float, float]
    class_id: int
    score: float = 1.0


class SampleImage(BaseModel):
    """An evaluation image with its truth and what each model saw in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    width: int
    height: int
    truth: list[SampleBox]
    reason: Literal["sample", "worst"] = "sample"
    predictions: dict[str, list[SampleBox]] = Field(description="keyed by '<model>|<backend>'")


class SamplePredictions(BaseModel):
    """``predictions.json``: a few evaluation images for the report."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    names: dict[int, str]
    images: list[SampleImage]
    confusion: dict[str, list[list[int]]] = Field(
        default={},
        description="keyed by '<model>|<backend>'; row: true class, column: found class, the last "
        "of each: nothing",
    )


def write_record(path: Path, record: BenchRecord | SamplePredictions) -> None:
    """Write a record as JSON, atomically."""
    write_text_atomically(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path) -> BenchRecord:
    """Read ``results.json``.

    Raises:
        InputError: missing, not JSON, or not in this schema.
    """
    if not path.is_file():
        raise InputError(f"{path}: no results.json there; run `edgekd bench` or `edgekd run` first")
    try:
        return BenchRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, ValidationError) as error:
        reason = " ".join(str(error).splitlines()[:3])
        raise InputError(f"{path}: not a results.json of edgekd ({reason})") from error
