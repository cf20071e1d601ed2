"""DeepStream files: a configuration that says what the graph says, a parser that agrees with us."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from export.served_models import NAMES, SIDE, served

import edgekd_export.deployment
from edgekd_bench.detections import Thresholds, decode_end_to_end, decode_raw
from edgekd_export.deployment.deepstream import nvinfer_config, write_deepstream
from edgekd_export.deployment.served_model import ServedModel

STUB = Path(__file__).with_name("deepstream_stub")
SOURCES = Path(edgekd_export.deployment.__file__).parent
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")


def parsed(model: ServedModel) -> configparser.ConfigParser:
    config = configparser.ConfigParser(strict=True)  # nvinfer reads a GKeyFile: the same form
    config.read_string(nvinfer_config(model, onnx="../m.onnx", engine="../m.engine"))
    return config


def test_a_raw_head_gets_the_raw_parser_and_nms(tmp_path: Path) -> None:
    config = parsed(served(tmp_path, "raw"))
    properties = config["property"]
    assert properties["parse-bbox-func-name"] == "NvDsInferParseEdgekdRaw"
    assert properties["cluster-mode"] == "2"
    assert config["class-attrs-all"]["nms-iou-threshold"] == "0.7"
    assert properties["num-detected-classes"] == str(len(NAMES))
    assert properties["infer-dims"] == f"3;{SIDE};{SIDE}"
    assert properties["output-blob-names"] == "output0"
    assert float(properties["net-scale-factor"]) == 1 / 255
    letterbox = ("model-color-format", "maintain-aspect-ratio", "symmetric-padding")
    assert [properties[key] for key in letterbox] == ["0", "1", "1"]


def test_an_end_to_end_head_is_not_suppressed_again(tmp_path: Path) -> None:
    config = parsed(served(tmp_path, "end_to_end"))
    assert config["property"]["parse-bbox-func-name"] == "NvDsInferParseEdgekdEndToEnd"
    assert config["property"]["cluster-mode"] == "4"
    assert "nms-iou-threshold" not in config["class-attrs-all"]


@pytest.mark.parametrize(("precision", "mode"), [("fp32", "0"), ("int8", "1"), ("fp16", "2")])
def test_every_precision_runs_the_verified_engine(
    precision: str, mode: str, tmp_path: Path
) -> None:
    model = served(tmp_path, "raw", precision=precision)
    config = parsed(model)
    assert config["property"]["network-mode"] == mode
    assert config["property"]["model-engine-file"] == "../m.engine"
    assert "onnx-file" not in config["property"]
    text = nvinfer_config(model, onnx="../m.onnx", engine="../m.engine")
    assert ("# onnx-file=../m.onnx" in text) is (precision != "int8")


def test_the_parser_named_is_one_the_sources_export(tmp_path: Path) -> None:
    source = (SOURCES / "nvdsinfer_edgekd.cpp").read_text()
    for kind in ("raw", "end_to_end"):
        name = parsed(served(tmp_path, kind))["property"]["parse-bbox-func-name"]
        assert f'extern "C" bool {name}(' in source


def test_labels_are_in_the_order_of_class_ids(tmp_path: Path) -> None:
    write_deepstream(served(tmp_path, "raw"), tmp_path / "out", onnx="a", engine="b")
    assert (tmp_path / "out/labels.txt").read_text().splitlines() == list(NAMES.values())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config_infer_primary.txt",
        "labels.txt",
        "nvdsinfer_edgekd.cpp",
        "Makefile",
    }


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that calls the parsers as nvinfer does."""
    program = tmp_path_factory.mktemp("parser") / "call_parser"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    sources = [STUB / "call_parser.cpp", SOURCES / "nvdsinfer_edgekd.cpp"]
    subprocess.run(
        ["g++", *flags, "-I", STUB / "sources/includes", "-o", program, *sources], check=True
    )
    return program


def objects(program: Path, kind: str, output: np.ndarray, classes: int = 3) -> np.ndarray:
    """(N, 6) class, score, left, top, width, height; empty where the parser refuses."""
    rows, columns = output.shape
    numbers = [rows, columns, classes, SIDE, 0.25]
    done = subprocess.run(
        [program, kind, *map(str, numbers)],
        input=output.astype(np.float32).tobytes(),
        capture_output=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return np.array(lines, np.float64).reshape(-1, 6)


@needs_compiler
def test_the_raw_parser_finds_what_edgekd_finds(parser: Path) -> None:
    random = np.random.default_rng(0)
    output = np.concatenate(
        [random.uniform(10, 54, (2, 50)), random.uniform(4, 18, (2, 50)), random.random((3, 50))]
    )
    output[4:, ::3] *= 0.2  # some below the threshold
    found = objects(parser, "raw", output)
    everything = Thresholds(conf=0.25, iou=1.0, multi_label=False)  # nvinfer's NMS comes later
    expected = decode_raw(output.astype(np.float32), everything)
    assert 10 < len(expected) < 50
    order = np.argsort(-found[:, 1], kind="stable")
    np.testing.assert_array_equal(found[order, 0], expected.class_ids)
    np.testing.assert_allclose(found[order, 1], expected.scores, rtol=1e-6)
    corners = np.concatenate([found[order, 2:4], found[order, 2:4] + found[order, 4:6]], axis=1)
    np.testing.assert_allclose(corners, expected.boxes, atol=1e-4)


@needs_compiler
def test_the_end_to_end_parser_finds_what_edgekd_finds(parser: Path) -> None:
    random = np.random.default_rng(1)
    low = random.uniform(0, 40, (20, 2))
    scores = np.sort(random.random((20, 1)), axis=0)[::-1]
    output = np.concatenate([low, low + 10, scores, np.arange(20)[:, None] % 3], axis=1)
    found = objects(parser, "end_to_end", output)
    expected = decode_end_to_end(output.astype(np.float32), Thresholds(conf=0.25))
    assert len(found) == len(expected) > 5
    np.testing.assert_array_equal(found[:, 0], expected.class_ids)
    np.testing.assert_allclose(found[:, 2:4], expected.boxes[:, :2], atol=1e-4)


@needs_compiler
def test_boxes_are_clipped_and_nonsense_is_dropped(parser: Path) -> None:
    rows = [
        [-5, -5, 10, 10, 0.9, 0],
        [50, 50, 80, 80, 0.9, 2],
        [10, 10, 10, 20, 0.9, 1],  # no area
        [10, 10, 20, 20, np.nan, 1],
        [np.nan, 10, 20, 20, 0.9, 1],
        [10, 10, 20, 20, 0.9, 7],  # no such class
        [0, 0, 0, 0, 0.9, -1],  # filled up
    ]
    found = objects(parser, "end_to_end", np.array(rows))
    np.testing.assert_allclose(found[:, 2:], [[0, 0, 10, 10], [50, 50, 14, 14]])


@needs_compiler
def test_a_wrong_number_of_classes_is_refused_not_misread(parser: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        objects(parser, "raw", np.zeros((7, 20)), classes=4)
    assert caught.value.returncode == 1
    assert b"num-detected-classes=4" in caught.value.stderr
    with pytest.raises(subprocess.CalledProcessError):
        objects(parser, "end_to_end", np.zeros((20, 5)))


@needs_compiler
@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_the_makefile_builds_a_library_with_both_parsers(tmp_path: Path) -> None:
    import ctypes

    write_deepstream(served(tmp_path, "raw"), tmp_path / "out", onnx="a", engine="b")
    subprocess.run(["make", "-C", tmp_path / "out", f"DEEPSTREAM={STUB}"], check=True)
    library = ctypes.CDLL(str(tmp_path / "out/libnvdsinfer_edgekd.so"))
    assert library.NvDsInferParseEdgekdRaw
    assert library.NvDsInferParseEdgekdEndToEnd
