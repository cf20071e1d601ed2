"""The main job as its user runs it: one command, stopped, started again, changed."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from edgekd import pipeline
from edgekd.config import Config, load_config
from edgekd_bench.errors import InputError
from edgekd_bench.record import read_record

OVERRIDES = (
    "image_size=96",
    "device=cpu",
    "dice_scenes={num_unlabeled: 10, num_train: 6, num_val: 12, image_size: 96}",
    "teacher={name: test_efficientnet, random_weights: true}",
    "distill={epochs: 1, batch_size: 4, precision: fp32, workers: 1}",
    "train={epochs: 1, batch_size: 4, val_every: 1, precision: fp32}",
    "export.num_parity_images=32",
    "bench={min_seconds: 0, min_count: 3, warmup: 1, bootstrap: 200, num_sample_images: 2}",
)
ROW_FIELDS = {
    "model", "init", "precision", "backend", "image_size", "batch", "map50_95", "map50",
    "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "end_to_end_p50_ms", "size_mb",
    "num_params", "parity",
}  # fmt: skip
CONFIGS = Path(__file__).parents[2] / "configs"


def demo_config(runs_dir: Path, *more: str) -> Config:
    return load_config(CONFIGS / "demo.yaml", [*OVERRIDES, f"runs_dir={runs_dir}", *more])


def run(config: Config) -> str:
    """Run everything and return what it printed."""
    text = io.StringIO()
    pipeline.run(config, console=Console(file=text, width=200))
    return text.getvalue()


@dataclass(frozen=True)
class Finished:
    """A demo that a power cut stopped before its first export, and that was started again."""

    runs_dir: Path
    printed: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    import edgekd_export

    class PowerCutError(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise PowerCutError

    config = demo_config(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edgekd_export, "run", fail, raising=False)
        with pytest.raises(PowerCutError):
            pipeline.run(config)
    return Finished(config.runs_dir, run(config))


def test_a_stopped_run_goes_on(finished: Finished) -> None:
    assert "distill: done and unchanged" in finished.printed
    assert "train-baseline-seed0: done and unchanged" in finished.printed
    assert "export-baseline-seed0: done and unchanged" not in finished.printed
    assert read_record(finished.runs_dir / "demo" / "results.json").rows


def test_it_leaves_record_report_and_artefacts(finished: Finished) -> None:
    folder = finished.runs_dir / "demo"
    record = json.loads((folder / "results.json").read_text())
    assert set(record) >= {"environment", "rows", "verdict"}
    assert len(record["rows"]) == 4
    assert all(set(row) >= ROW_FIELDS for row in record["rows"])
    kinds = {(row["init"], row["backend"], row["parity"]) for row in record["rows"]}
    assert kinds == {
        ("baseline", "onnxruntime", "pass"), ("distilled", "onnxruntime", "pass"),
        ("baseline", "pytorch", "n/a"), ("distilled", "pytorch", "n/a"),
    }  # fmt: skip
    assert len({row["num_params"] for row in record["rows"]}) == 1
    assert record["verdict"]["outcome"] == "undecided"  # one seed proves nothing
    page = (folder / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for name in (
        "student_backbone.pt",
        "config.yaml",
        "predictions.json",
        "train/distilled-seed0/detector.pt",
        "export/baseline-seed0.onnx.json",
    ):
        assert (folder / name).is_file(), name


def test_a_second_start_skips_everything(finished: Finished) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished.runs_dir / "demo").rglob("*.pt")}
    printed = run(demo_config(finished.runs_dir))
    for stage in (
        "distill",
        "train-baseline-seed0",
        "train-distilled-seed0",
        "export-baseline-seed0",
        "export-distilled-seed0",
        "bench",
    ):
        assert f"{stage}: done and unchanged" in printed
    assert {p: p.stat().st_mtime_ns for p in (finished.runs_dir / "demo").rglob("*.pt")} == before


def test_only_what_a_change_touches_runs_again(finished: Finished, tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    shutil.copytree(finished.runs_dir, runs_dir)
    printed = run(demo_config(runs_dir, "train.ultralytics.mosaic=0.5"))
    assert "distill: done and unchanged" in printed
    assert "train-baseline-seed0: done and unchanged" not in printed
    (runs_dir / "demo" / "export" / "baseline-seed0.onnx").unlink()
    printed = run(demo_config(runs_dir, "train.ultralytics.mosaic=0.5"))
    assert "train-baseline-seed0: done and unchanged" in printed
    assert "export-baseline-seed0: done and unchanged" not in printed
    assert "export-distilled-seed0: done and unchanged" in printed


def test_a_wrong_training_argument_stops_before_the_distillation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'mosaic'"):
        pipeline.run(demo_config(tmp_path, "train.ultralytics.mosaik=0.5"))
    assert not list(tmp_path.rglob("*.pt"))


def test_several_seeds_give_paired_rows(finished: Finished, tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    shutil.copytree(finished.runs_dir, runs_dir)
    config = demo_config(runs_dir, "train.seeds=[0, 1, 2]")
    result = pipeline.run(config)
    assert len(result.record.rows) == 12
    assert result.record.verdict.num_seeds == 3
    comparison = result.record.verdict.comparisons[0]
    assert len(comparison.baselines) == len(comparison.candidates) == 3
