"""The whole benchmark on tiny real models: what is written, what is refused, what is left out."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from bench.conftest import TinyModels, manifest
from bench.synthetic_sets import write_yolo_set
from pydantic import ValidationError
from rich.console import Console

import edgekd_bench
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_manifest
from edgekd_bench.model_files import display_names
from edgekd_bench.record import BenchRecord, SamplePredictions, read_record
from edgekd_bench.settings import BenchSettings
from edgekd_bench.table import results_table

QUICK = BenchSettings(
    min_seconds=0,
    min_count=4,
    warmup=1,
    bootstrap=200,
    num_latency_images=2,
    threads=1,
    throughput=False,
)


def _onnx(source: Path, target: Path, **facts: object) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    write_manifest(target, manifest(**facts))
    return target


def _table(record: BenchRecord) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(results_table(record))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_two_backends_end_to_end(tiny_models: TinyModels, yolo_set: Path, tmp_path: Path) -> None:
    models = [
        _onnx(
            tiny_models.onnx, tmp_path / f"{init}{seed}/m.onnx", init=init, seed=seed, parity="pass"
        )
        for init in ("baseline", "distilled")
        for seed in (0, 1, 2)
    ]
    console = Console(file=io.StringIO(), force_terminal=True)
    record = edgekd_bench.run(
        [*models, tiny_models.pt],
        data=yolo_set,
        settings=QUICK,
        out=tmp_path / "out",
        progress=console,
    )
    assert read_record(tmp_path / "out/results.json") == record
    assert [row.model for row in record.rows[:2]] == ["baseline0/m.onnx", "baseline1/m.onnx"]
    assert {row.backend for row in record.rows} == {"onnxruntime", "pytorch"}
    for row in record.rows:
        assert 0 < row.latency_p50_ms <= row.latency_p90_ms <= row.latency_p99_ms
        # Both are read from the same calls, so no noise can turn them round.
        assert row.device_p50_ms is not None and row.device_p50_ms <= row.latency_p50_ms
        assert row.num_timed >= 4 and row.num_params > 2_000_000
        assert row.latency_quantiles_ms[50] == row.latency_p50_ms
        assert len(row.latency_quantiles_ms) == 101 and row.first_call_ms
    # The very same weights: no difference, however many seeds.
    comparison = record.verdict.comparisons[0]
    assert comparison.seeds == [0, 1, 2] and record.verdict.num_seeds == 3
    assert comparison.map50_95_difference.estimate == 0.0
    assert record.verdict.outcome == "undecided"
    assert record.data["num_images"] == 3 and len(record.data["hash"]) == 64
    samples = SamplePredictions.model_validate(
        json.loads((tmp_path / "out/predictions.json").read_text())
    )
    assert len(samples.images) == 3 and len(samples.images[0].truth) == 2
    assert set(samples.images[0].predictions) == {f"{r.model}|{r.backend}" for r in record.rows}
    text = _table(record)
    assert "baseline0/m.onnx" in text and "prove nothing" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_baseline_given_by_hand_is_one(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copy(tiny_models.onnx, tmp_path / "other.onnx"))
    record = edgekd_bench.run(
        [other, tiny_models.onnx],
        data=yolo_set,
        baselines=[tiny_models.onnx],
        settings=QUICK,
        out=tmp_path / "out",
    )
    assert [(row.model, row.init) for row in record.rows] == [
        ("tiny.onnx", "baseline"),
        ("other.onnx", "other"),
    ]
    assert record.verdict.comparisons[0].baselines == ["tiny.onnx"]
    assert "3 images prove nothing" in record.verdict.headline
    assert "distillation" not in record.verdict.headline.lower()


def test_a_failed_export_has_a_row_but_no_say(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    base = _onnx(tiny_models.onnx, tmp_path / "base.onnx", init="baseline")
    bad = _onnx(tiny_models.onnx, tmp_path / "bad.onnx", init="distilled", parity="fail")
    record = edgekd_bench.run([base, bad], data=yolo_set, settings=QUICK, out=tmp_path / "out")
    assert [row.parity for row in record.rows] == ["n/a", "fail"]
    assert record.verdict.outcome == "no baseline" and not record.verdict.comparisons
    assert "bad.onnx is left out of the verdict" in record.verdict.headline


def test_nothing_is_written_when_something_is_refused(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"junk")
    other_classes = write_yolo_set(tmp_path / "two", names={0: "one", 1: "two"})
    twins = [_onnx(tiny_models.onnx, tmp_path / f"b{i}.onnx", init="baseline") for i in (0, 1)]
    rival = _onnx(tiny_models.onnx, tmp_path / "rival.onnx", init="distilled")
    cases = [
        ([tiny_models.onnx, broken], yolo_set, QUICK, "broken.pt"),
        ([tmp_path / "none.onnx"], yolo_set, QUICK, "no such model"),
        ([tmp_path / "a.tflite"], yolo_set, QUICK, "no backend"),
        ([tmp_path / "a.engine"], yolo_set, QUICK, "a.engine"),
        ([tiny_models.onnx], other_classes, QUICK, "3 classes but .* has 2"),
        ([tiny_models.onnx], tmp_path / "none.yaml", QUICK, "no such file"),
        ([*twins, rival], yolo_set, QUICK, "both are baselines for rival"),
        ([], yolo_set, QUICK, "no model to measure"),
        (
            [tiny_models.onnx],
            yolo_set,
            QUICK.model_copy(update={"backends": ("pytorch",)}),
            "no model to measure on pytorch",
        ),
    ]
    for models, data, settings, reason in cases:
        with pytest.raises(InputError, match=reason) as caught:
            edgekd_bench.run(models, data=data, settings=settings, out=tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    paths = [Path("/r/base/0/m.onnx"), Path("/r/new/0/m.onnx"), Path("/r/new/0/m.pt")]
    assert display_names(paths) == ["base/0/m.onnx", "new/0/m.onnx", "m.pt"]


@pytest.mark.parametrize("wrong", [{"bootstrap": 100}, {"warm_up": 3}, {"backends": ["tpu"]}])
def test_unknown_or_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BenchSettings.model_validate(wrong)
    assert all(field.description for field in BenchSettings.model_fields.values())
