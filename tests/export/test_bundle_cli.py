"""The command line of bundles: what is typed, what is answered, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.synthetic_sets import write_yolo_set
from export.conftest import NAMES, Checkpoints
from typer.testing import CliRunner, Result

from edgekd.cli import app
from edgekd_bench.bundle import open_bundle
from edgekd_bench.errors import InputError


def edgekd(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def packed(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """``edgekd export … --bundle`` as a user types it."""
    folder = tmp_path_factory.mktemp("cli")
    data = write_yolo_set(folder / "screws", 3, NAMES)
    weights, rival = checkpoints("yolo11n"), checkpoints("yolo11n", seed=1)
    packing = ["--bundle", "--bundle-images", "2", "--baseline", rival, "--json"]
    return edgekd("export", weights, "--data", data, "--out", folder, *packing)


@pytest.fixture
def bundle(packed: Result) -> Path:
    return Path(json.loads(packed.stdout)["path"])


def test_packing_answers_in_json_and_tells_people_on_the_side(packed: Result) -> None:
    assert packed.exit_code == 0, packed.output
    answer = json.loads(packed.stdout)
    assert Path(answer["path"]).name == "yolo11n-0.bundle"
    assert [model["role"] for model in answer["description"]["models"]] == ["candidate", "baseline"]
    assert "mAP on 2 of 3 images of screws (val)" in packed.stderr


def test_a_bundle_is_measured_by_its_name_alone(bundle: Path, tmp_path: Path) -> None:
    quick = ["--min-seconds", "0", "--min-count", "4", "--threads", "1", "--no-throughput"]
    quick += ["--energy-seconds", "0", "--backend", "onnxruntime"]
    answer = edgekd("bench", bundle, "--out", tmp_path, *quick)
    assert answer.exit_code == 0, answer.output
    text = " ".join(answer.stdout.split())
    assert "2 of 3 images of screws (val)" in text
    assert "not enough to quote" in text
    record = json.loads((tmp_path / "results.json").read_text())
    assert len(record["rows"]) == 2
    assert record["data"]["num_images"] == 2


def test_a_bundle_needs_trt_to_be_built_from(bundle: Path) -> None:
    answer = edgekd("export", bundle)
    assert isinstance(answer.exception, InputError)
    assert "add --trt" in str(answer.exception)


def test_both_options_together_build_from_a_bundle(bundle: Path) -> None:
    answer = edgekd("export", "--trt", "--bundle", bundle, "--precision", "int8")
    assert isinstance(answer.exception, InputError)
    assert "holds fp32" in str(answer.exception)  # it was read as a bundle, and opened


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--bundle", "--trt"], "choose one"),
        (["--baseline", "b.pt"], "add --bundle"),
        (["--bundle"], "--data data.yaml"),
        (["--bundle", "--bundle-images", "0"], "--bundle-images"),
    ],
)
def test_options_that_contradict_each_other(
    checkpoints: Checkpoints, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    answer = edgekd("export", checkpoints("yolo11n"), "--out", tmp_path / "out", *arguments)
    assert isinstance(answer.exception, InputError), answer.output
    assert expected in str(answer.exception)
    assert not (tmp_path / "out").exists()


def test_without_data_and_bundle_bench_asks_for_images(tmp_path: Path) -> None:
    answer = edgekd("bench", tmp_path / "a.onnx")
    assert isinstance(answer.exception, InputError)
    assert "--data" in str(answer.exception)


def test_what_was_packed_opens(bundle: Path) -> None:
    assert open_bundle(bundle).description.name == "yolo11n-0"
