"""int8 through `run()`: what is written, what a second export reuses, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.synthetic_sets import write_yolo_set
from export.conftest import NAMES, Checkpoints
from onnx import numpy_helper

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import Manifest, read_manifest
from edgekd_bench.runner import open_runner
from edgekd_export import ExportResult, ExportSettings, run
from edgekd_export.quantization import calibration, int8_builder
from edgekd_export.quantization.calibration_cache import CalibrationCache, read_cache
from edgekd_export.quantization.method_choice import choose_by_map, output_error
from edgekd_export.thresholds import PARITY_THRESHOLDS, ParityThresholds


def permissive() -> ParityThresholds:
    """Limits anything keeps. Networks of random weights amplify every rounding, and what the gate
    says of them is not the subject here."""
    limits = PARITY_THRESHOLDS["int8"]
    wide = {
        name: 1e-9 if "correlation" in name else 1e9 for name in type(limits.noise).model_fields
    }
    return limits.model_copy(
        update={
            "box_max_abs_px": 1e9,
            "score_max_abs": 1e9,
            "box_relative": 1e9,
            "score_relative": 1e9,
            "box_cosine": 1e-9,
            "score_cosine": 1e-9,
            "detection_score_max_abs": 1e9,
            "unmatched_share": 1.0,
            "noise": limits.noise.model_copy(update=wide),
        }
    )


def settings(**changes: Any) -> ExportSettings:
    given = {"precision": "int8", "num_parity_images": 1, "parity": permissive(), "simplify": False}
    return ExportSettings(**{**given, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolo_set(tmp_path_factory.mktemp("data") / "set", 6, NAMES)


@pytest.fixture(scope="module")
def weights(checkpoints: Checkpoints) -> Path:
    return checkpoints("yolov8n")


@pytest.fixture(scope="module")
def first(weights: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return run(weights, out=tmp_path_factory.mktemp("out"), data=data, settings=settings())


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, calibration and the comparison of methods must not run the network."""

    def ran(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was run to calibrate it")

    monkeypatch.setattr(calibration, "measure", ran)
    monkeypatch.setattr(int8_builder, "choose_by_map", ran)
    monkeypatch.setattr(int8_builder, "choose_by_outputs", ran)


def test_what_is_written(first: ExportResult, weights: Path) -> None:
    assert first.onnx.name == f"{weights.stem}.int8.onnx"
    assert first.calibration_cache == first.onnx.with_name(f"{weights.stem}.int8.calibration.json")
    cache = read_cache(first.calibration_cache)
    written = first.manifest.calibration
    assert written is not None
    assert first.manifest.precision == "int8"
    assert written.num_images == cache.num_images == 3
    assert written.images_sha256 == cache.images_sha256
    text = first.calibration_cache.read_bytes()
    assert written.cache_sha256 == hashlib.sha256(text).hexdigest()
    assert read_manifest(first.onnx) == first.manifest
    with open_runner(first.onnx) as runner:
        assert runner.info.precision == "int8"
    assert {path.name for path in first.onnx.parent.iterdir()} == {
        first.onnx.name,
        first.manifest_path.name,
        first.calibration_cache.name,
    }


def test_the_scales_in_the_graph_are_those_of_the_cache(first: ExportResult) -> None:
    assert first.calibration_cache is not None
    cache = read_cache(first.calibration_cache)
    assert cache.auto is not None
    limits = cache.thresholds(cache.auto.method)
    graph = onnx.load(first.onnx).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scales = {
        node.input[0]: float(numpy_helper.to_array(constants[node.input[1]]))
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert scales["images"] == pytest.approx(1 / 127)
    shared = scales.keys() & limits.keys()
    assert len(shared) > 30
    assert all(scales[name] == pytest.approx(limits[name] / 127, rel=1e-5) for name in shared)


def test_without_labels_to_go_by_the_nearest_outputs_decide(first: ExportResult) -> None:
    assert first.calibration_cache is not None
    choice = read_cache(first.calibration_cache).auto
    assert choice is not None
    assert choice.judged_by == "raw outputs"  # random weights: mAP is 0 by every method
    assert choice.scores[choice.method] == min(choice.scores.values())
    assert first.manifest.calibration is not None
    assert first.manifest.calibration.method == choice.method


@pytest.mark.usefixtures("no_network")
def test_a_second_export_reuses_the_cache_beside_it(
    first: ExportResult, weights: Path, data: Path
) -> None:
    before = first.onnx.read_bytes()
    again = run(weights, out=first.onnx.parent, data=data, settings=settings())
    assert again.onnx.read_bytes() == before
    assert again.manifest.calibration == first.manifest.calibration


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("method", ["auto", "minmax", "percentile"])
def test_a_named_cache_needs_no_images(
    method: str, first: ExportResult, weights: Path, tmp_path: Path
) -> None:
    named = settings(calibration=method, calibration_cache=first.calibration_cache)
    again = run(weights, out=tmp_path, settings=named)
    assert again.manifest.calibration is not None
    assert first.manifest.calibration is not None
    assert again.manifest.calibration.images_sha256 == first.manifest.calibration.images_sha256
    if method != "auto":
        assert again.manifest.calibration.method == method
        assert (again.manifest.calibration.percentile is None) is (method == "minmax")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("changes", [{"calibration_seed": 5}, {"percentile": 99.0}])
def test_other_images_or_rules_are_measured_again(
    changes: dict[str, Any], first: ExportResult, weights: Path, data: Path
) -> None:
    with pytest.raises(AssertionError, match="network was run"):
        run(weights, out=first.onnx.parent, data=data, settings=settings(**changes))


def test_a_cache_of_another_network_is_refused(
    first: ExportResult, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    named = settings(calibration_cache=first.calibration_cache)
    with pytest.raises(InputError, match="another network") as caught:
        run(checkpoints("yolov8n", seed=1), out=tmp_path, settings=named)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_percentile_the_cache_does_not_hold_is_refused(
    first: ExportResult, weights: Path, tmp_path: Path
) -> None:
    asked = settings(
        calibration="percentile", percentile=99.0, calibration_cache=first.calibration_cache
    )
    with pytest.raises(InputError, match="measured for percentile"):
        run(weights, out=tmp_path, settings=asked)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:200],
        lambda _: "{}",
        lambda text: json.dumps({**json.loads(text), "format_version": 9}),
        lambda text: text.replace('"lowest": 0.0', '"lowest": NaN', 1),
        lambda text: json.dumps({**json.loads(text), "tensors": {}}),
    ],
)
def test_a_damaged_cache_is_refused_in_one_line(
    damage: Any, first: ExportResult, weights: Path, tmp_path: Path
) -> None:
    assert first.calibration_cache is not None
    path = tmp_path / "damaged.json"
    path.write_text(damage(first.calibration_cache.read_text()))
    with pytest.raises(InputError, match=r"damaged\.json") as caught:
        run(weights, out=tmp_path / "out", settings=settings(calibration_cache=path))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such calibration cache"):
        read_cache(tmp_path / "missing.json")


def test_bad_input_leaves_the_earlier_artefact_alone(
    first: ExportResult, weights: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in first.onnx.parent.iterdir()}
    empty = tmp_path / "empty"
    empty.mkdir()
    for bad in ({"calibration_data": empty}, {"calibration_cache": tmp_path / "missing.json"}, {}):
        with pytest.raises(InputError):
            run(weights, out=first.onnx.parent, settings=settings(**bad))
    with pytest.raises(InputError, match="--max-map-drop needs labelled images"):
        run(weights, out=first.onnx.parent, settings=settings(max_map_drop=0.01))
    assert {path.name: path.read_bytes() for path in first.onnx.parent.iterdir()} == before


def test_an_unmet_budget_keeps_the_artefact_aside(
    first: ExportResult, weights: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in first.onnx.parent.iterdir()}
    maps = iter([0.5, 0.2, 0.3])  # fp32, all int8, half of the layers float
    monkeypatch.setattr(int8_builder.MapMeter, "__call__", lambda *_: next(maps))
    with pytest.raises(GateError, match=r"loses 0\.2000 mAP50-95") as caught:
        run(weights, out=first.onnx.parent, data=data, settings=settings(max_map_drop=0.01))
    aside = first.onnx.with_name(f"{first.onnx.stem}.map-drop-failed.onnx")
    assert str(aside) in str(caught.value)
    manifest = read_manifest(aside)
    assert manifest is not None
    assert manifest.accuracy_figures["map50_95_drop"] == pytest.approx(0.2)
    assert {name: (first.onnx.parent / name).read_bytes() for name in before} == before
    for path in first.onnx.parent.glob("*failed*"):
        path.unlink()


def test_a_budget_writes_the_table_of_decisions(
    first: ExportResult, weights: Path, data: Path, tmp_path: Path
) -> None:
    asked = settings(
        calibration="minmax", max_map_drop=0.5, calibration_cache=first.calibration_cache
    )
    result = run(weights, out=tmp_path, data=data, settings=asked)
    decisions = result.manifest.decisions
    assert len(decisions) > 50
    ratios = [decision.sqnr_db for decision in decisions]
    assert ratios == sorted(ratios)
    assert all(np.isfinite(ratios))
    assert {decision.precision for decision in decisions} == {"int8"}
    assert result.manifest.accuracy_figures["num_float_layers"] == 0
    assert Manifest.model_validate_json(result.manifest_path.read_text()) == result.manifest


def test_auto_keeps_the_method_with_the_most_map() -> None:
    maps = {"minmax": 0.3, "entropy": 0.5, "percentile": 0.4}
    asked = choose_by_map(
        lambda method: method,  # type: ignore[arg-type, return-value]
        lambda graph, _: maps[graph],  # type: ignore[index]
        num_images=9,
        images_sha256="ab",
    )
    assert asked is not None
    assert (asked.method, asked.judged_by, asked.scores) == ("entropy", "map50_95", maps)
    nothing = choose_by_map(
        lambda method: method,  # type: ignore[arg-type, return-value]
        lambda *_: 0.0,
        num_images=9,
        images_sha256="ab",
    )
    assert nothing is None


def test_neither_boxes_nor_scores_drown_in_the_error_of_outputs() -> None:
    raw = np.concatenate([np.full((4, 10), 300.0), np.full((3, 10), 0.5)])
    worse_scores, worse_boxes = raw.copy(), raw.copy()
    worse_scores[4:] *= 1.1
    worse_boxes[:4] *= 1.1
    assert output_error(raw, raw, end_to_end=False) == 0
    assert output_error(raw, worse_scores, end_to_end=False) == pytest.approx(0.1)
    assert output_error(raw, worse_boxes, end_to_end=False) == pytest.approx(0.1)


def test_a_tensor_of_zeros_keeps_a_usable_scale() -> None:
    zeros = {"lowest": 0, "highest": 0, "minmax": 0, "entropy": 0, "percentile": 0}
    cache = CalibrationCache(
        graph_sha256="a",
        images_sha256="b",
        source="c",
        num_images=1,
        image_size=64,
        percentile=99.9,
        tensors={"silent": zeros},  # type: ignore[dict-item]
    )
    assert cache.thresholds("minmax") == {"silent": 1.0}
