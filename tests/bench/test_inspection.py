"""`edgekd inspect`: each kind is recognised, what is wrong is refused, nothing heavy is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.bundle_fixture import describe as describe_bundle
from bench.bundle_fixture import pack, write_bundle
from bench.conftest import manifest
from bench.report_fixture import build_record
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from typer.testing import CliRunner

from edgekd.cli import app
from edgekd_bench.errors import InputError
from edgekd_bench.inspection import Inspection, describe, inspect
from edgekd_bench.manifest import (
    MANIFEST_KEY,
    Calibration,
    LayerDecision,
    Parent,
    TeacherIdentity,
    manifest_path,
    write_manifest,
)
from edgekd_bench.record import GateOutcome, Interval, SelfCheck, write_record

SHA = "ab" * 32
TEACHER = TeacherIdentity(name="vits16", licence="DINOv3 License", sha256=SHA)


def text_of(found: Inspection) -> str:
    """What is printed, with the line breaks of a narrow terminal taken out."""
    stream = StringIO()
    Console(width=100, file=stream, color_system=None).print(describe(found))
    printed = stream.getvalue()
    assert max(map(len, printed.splitlines())) <= 100
    return " ".join(printed.split())


def write_onnx(
    path: Path,
    *,
    weights: str = "fp32",
    batch: int | str = 1,
    metadata: dict[str, str] | None = None,
) -> Path:
    """One convolution over four channels, whose weights are stored as asked for."""
    values = np.linspace(-1, 1, 4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
    dtype = TensorProto.FLOAT16 if weights == "fp16" else TensorProto.FLOAT
    nodes = []
    if weights == "int8":
        stored = [
            numpy_helper.from_array((values * 127).astype(np.int8), "q"),
            numpy_helper.from_array(np.float32(1 / 127), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ]
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]))
    else:
        half = values.astype(np.float16 if weights == "fp16" else np.float32)
        stored = [numpy_helper.from_array(half, "w")]
    nodes.append(helper.make_node("Conv", ["images", "w"], ["output0"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", dtype, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("output0", dtype, [batch, 4, 6, 6])],
        stored,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="test"
    )
    onnx.checker.check_model(model)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def edgekd(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["inspect", *arguments])


@pytest.mark.parametrize("weights", ["fp32", "fp16", "int8"])
def test_precision_is_found_in_the_graph(tmp_path: Path, weights: str) -> None:
    path = write_onnx(tmp_path / "m.onnx", weights=weights, batch="batch")
    write_manifest(path, manifest(precision=weights, dynamic_batch=True))
    found = inspect(path)
    assert found.graph is not None
    assert found.graph.precision == weights
    assert (found.graph.layers, found.graph.int8_layers) == (1, weights == "int8")
    assert found.graph.opsets == {"": 17}
    assert found.graph.inputs[0].shape == ["batch", 3, 8, 8]
    assert found.notes == []
    assert f"{weights} (declared), {weights} (found in the graph)" in text_of(found)


def test_a_precision_that_is_only_declared_is_told(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    write_manifest(path, manifest(precision="int8"))
    assert "declared int8, but the graph is fp32" in text_of(inspect(path))


def test_float_weights_behind_a_pair_count_as_int8(tmp_path: Path) -> None:
    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "s"))
    pair = [
        helper.make_node("QuantizeLinear", ["w", "s"], ["wq"]),
        helper.make_node("DequantizeLinear", ["wq", "s"], ["wd"]),
    ]
    conv = model.graph.node[0]
    conv.input[1] = "wd"
    for node in reversed(pair):
        model.graph.node.insert(0, node)
    onnx.save(model, tmp_path / "m.onnx")
    graph = inspect(tmp_path / "m.onnx").graph
    assert graph is not None
    assert graph.precision == "int8"
    assert graph.nodes == {"QuantizeLinear": 1, "DequantizeLinear": 1, "Conv": 1}


def test_everything_in_a_manifest_is_shown(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", weights="int8")
    decisions = [
        LayerDecision(
            layer=f"/model.{i}/Conv",
            sqnr_db=10.0 + i,
            precision="float" if i < 2 else "int8",
            reason="too noisy" if i < 2 else "within budget",
        )
        for i in range(14)
    ]
    calibration = Calibration(
        method="percentile",
        percentile=99.99,
        source="dice (train)",
        num_images=100,
        images_sha256="cd" * 32,
        cache_sha256="ef" * 32,
    )
    full = manifest(
        precision="int8",
        init="distilled",
        seed=3,
        teacher=TEACHER,
        licence="AGPL-3.0",
        names={i: f"class{i}" for i in range(20)},
        parents=[Parent(role="weights", name="detector.pt", sha256="12" * 32)],
        calibration=calibration,
        decisions=decisions,
        nms={"conf": 0.25, "iou": 0.7, "max_det": 300},
        target="jetson-orin-nano",
        parity="pass",
        parity_figures={"box_cosine": 1 - 1e-9, "box_max_abs_px": 0.02, "num_images": 32},
        parity_limits={"box_max_abs_px": ("at most", 0.05)},
        versions={"torch": "2.14.1"},
    )
    write_manifest(path, full)
    printed = text_of(inspect(path))
    for part in (
        "distilled, seed 3",
        "vits16 (DINOv3 License), sha256 abababababababab",
        "licence AGPL-3.0",
        "20: class0, class1",
        "and 12 more",
        "weights detector.pt 1212121212121212",
        "percentile 99.99, 100 images of dice (train)",
        "12 layers int8, 2 float",
        "/model.0/Conv 10.0 float too noisy",
        "… and 4 more",
        "NMS in the graph: score above 0.25",
        "jetson-orin-nano",
        "passed, 32 images",
        "box_max_abs_px 0.02 at most 0.05",
        "box_cosine 1 - 1e-09",
        "torch 2.14.1",
    ):
        assert part in printed, part


def test_the_manifest_inside_is_used_and_foreign_files_are_named(tmp_path: Path) -> None:
    inside = {MANIFEST_KEY: manifest().model_dump_json()}
    found = inspect(write_onnx(tmp_path / "lone.onnx", metadata=inside))
    assert found.manifest_source == "inside it"
    foreign = inspect(write_onnx(tmp_path / "foreign.onnx"))
    assert foreign.manifest is None
    assert "not made by edgekd" in text_of(foreign)


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    write_manifest(path, manifest())
    write_onnx(path, weights="fp16")
    for file in (path, manifest_path(path)):
        answer = subprocess_edgekd("inspect", str(file))
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: ")
        assert "SHA-256 differs" in answer.stderr
        assert answer.stderr.count("\n") == 1
        assert answer.stdout == ""


def test_a_manifest_without_its_file(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    beside = write_manifest(path, manifest())
    assert "m.onnx beside it is the file it describes" in text_of(inspect(beside))
    path.unlink()
    assert "m.onnx is not here" in text_of(inspect(beside))


def test_an_engine_says_whether_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"\x00engine" * 9)
    build = {
        "builder": "tensorrt",
        "version": "1.2.3",
        "platform": "plan9-mips",
        "compute_capability": "8.7",
        "batch": (1, 4, 8),
    }
    write_manifest(path, manifest(kind="engine", precision="fp16", engine=build))
    found = inspect(path)
    assert found.engine_fit is not None
    assert found.engine_fit.fits is False
    printed = text_of(found)
    assert "does not fit this machine: engine built by TensorRT 1.2.3 for SM 8.7" in printed
    assert "1 to 8, best at 4" in printed


def write_distilled(path: Path, form: str, **content: Any) -> Path:
    import torch

    metadata = {
        "config_hash": "c0ffee",
        "student": "yolo11n.yaml",
        "image_size": 320,
        "epochs": 12,
        "seed": 0,
        "num_images": 1156,
        "images_sha256": SHA,
        "teacher": TEACHER.model_dump(),
        "precision": "bf16",
        "versions": {"torch": "2.14.1"},
    }
    torch.save({"format": form, "metadata": json.dumps(metadata), **content}, path)
    return path


def test_backbones_and_checkpoints(tmp_path: Path) -> None:
    import torch

    tensors = {"model.0.conv.weight": torch.zeros(4, 3), "model.0.bias": torch.zeros(4)}
    backbone = inspect(write_distilled(tmp_path / "b.pt", "edgekd.backbone.1", tensors=tensors))
    assert backbone.kind == "backbone"
    assert "2 tensors, 16 numbers" in text_of(backbone)
    position = {"epoch": 3, "batch": 0, "step": 99, "best_cosine": 0.5, "best_epoch": 2}
    checkpoint = inspect(
        write_distilled(
            tmp_path / "last.pt", "edgekd.distill.2", backbone=tensors, position=position
        )
    )
    assert checkpoint.kind == "distillation checkpoint"
    assert "epoch 3, batch 0, step 99" in text_of(checkpoint)
    assert "DINOv3 License" in text_of(checkpoint)


def test_code_in_a_pt_is_not_run(tmp_path: Path) -> None:
    import torch

    torch.save(
        {"format": "edgekd.backbone.1", "tensors": _Bomb(tmp_path / "fuse")}, tmp_path / "x.pt"
    )
    with pytest.raises(InputError, match=r"x\.pt"):
        inspect(tmp_path / "x.pt")
    assert not (tmp_path / "fuse").exists()


class _Bomb:
    """Unpickles by making a file."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.fuse,)


def test_a_detector_with_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "detector.pt"
    path.write_bytes(b"weights")
    write_manifest(path, manifest(kind="detector", init="baseline", seed=1))
    found = inspect(path)
    assert found.kind == "detector"
    assert "baseline, seed 1" in text_of(found)


def test_a_benchmark(tmp_path: Path) -> None:
    ratio = Interval(estimate=1.0, low=0.99, high=1.01, outcome="undecided", method="bootstrap")
    record = build_record("better")
    check = SelfCheck(
        model="m", backend="onnxruntime", latency_p50_ratio=ratio, tolerance=0.01, passed=True
    )
    gate = GateOutcome(
        condition="latency_p90_ms > 8",
        models=["m"],
        backend="cpu",
        value=9.0,
        limit=8.0,
        violated=True,
        text="m: latency_p90_ms 9 > 8",
    )
    rows = [record.rows[0].model_copy(update={"flags": ["throttled once"]}), *record.rows[1:]]
    write_record(
        tmp_path / "results.json",
        record.model_copy(update={"rows": rows, "self_checks": [check], "gate": [gate]}),
    )
    assert inspect(tmp_path).kind == "benchmark"  # the run folder will do
    printed = text_of(inspect(tmp_path / "results.json"))
    for part in (
        "The distilled backbone is better",
        "baseline-seed0.onnx",
        "1 of 1 passed",
        "FAIL m: latency_p90_ms 9 > 8",
        "throttled once",
    ):
        assert part in printed, part


def test_bundles_are_verified_where_they_lie(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "ours.bundle", write_onnx(tmp_path / "m.onnx"))
    (tmp_path / "sent").mkdir()
    archive = pack(folder, tmp_path / "sent" / "ours.bundle.tar")
    for path in (folder, archive, folder / "bundle.json"):
        found = inspect(path)
        assert found.kind == "bundle"
        printed = text_of(found)
        assert "files are those that were packed" in printed
        assert "theirs baseline fp32 models/theirs.fp32.onnx" in printed
        assert "models: AGPL-3.0" in printed
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]  # nothing unpacked


def test_damaged_bundles_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "ours.bundle", write_onnx(tmp_path / "m.onnx"))
    (folder / "ours.npz").write_bytes(b"other")
    archive = pack(folder, tmp_path / "changed.bundle.tar")
    for path in (folder, archive):
        with pytest.raises(InputError, match=r"ours\.npz is not the file"):
            inspect(path)
    (folder / "ours.npz").unlink()
    with pytest.raises(InputError, match=r"ours\.npz is missing"):
        inspect(pack(folder, tmp_path / "missing.bundle.tar"))
    describe_bundle(folder, format_version=9)
    with pytest.raises(InputError, match="bundle format 9"):
        inspect(pack(folder, tmp_path / "newer.bundle.tar"))
    whole = archive.read_bytes()
    for length, reason in ((2000, "not the whole of one"), (len(whole) // 2, "whole")):
        archive.write_bytes(whole[:length])
        with pytest.raises(InputError, match=reason):
            inspect(archive)


def calibration_cache(path: Path) -> Path:
    tensors = {"images": {"lowest": 0, "highest": 1, "minmax": 1, "entropy": 1, "percentile": 1}}
    choice = {
        "method": "entropy",
        "judged_by": "map50_95",
        "scores": {"entropy": 0.51, "minmax": 0.5},
        "num_images": 50,
        "images_sha256": SHA,
    }
    content = {
        "format_version": 1,
        "graph_sha256": SHA,
        "images_sha256": "cd" * 32,
        "source": "dice (train)",
        "num_images": 64,
        "image_size": 320,
        "percentile": 99.99,
        "auto": choice,
        "tensors": tensors,
    }
    path.write_text(json.dumps(content))
    return path


def test_a_calibration_cache(tmp_path: Path) -> None:
    printed = text_of(inspect(calibration_cache(tmp_path / "m.int8.calibration.json")))
    assert "of 1 tensor" in printed
    assert "64 of dice (train) at 320 px" in printed
    assert "entropy, judged by map50_95 on 50 images: entropy 0.51, minmax 0.5" in printed


def test_a_feature_cache(tmp_path: Path) -> None:
    content = {
        "format_version": 1,
        "teacher": TEACHER.model_dump(),
        "blocks": [],
        "precision": "fp32",
        "image_size": 64,
        "crop_scale": [0.4, 1.0],
        "flip": True,
        "seed": 0,
        "space": "pca",
        "components": 32,
        "numbers": "int8",
        "pixels": False,
        "levels": [{"stride": 8, "channels": 32, "height": 8, "width": 8}],
        "fidelity": {"num_images": 4, "centred": {"8": 0.998}, "plain": {"8": 0.999}},
    }
    (tmp_path / "cache.json").write_text(json.dumps(content))
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "a.json").write_text(json.dumps({"records": [["k", 1], ["l", 2]]}))
    (shards / "a.bin").write_bytes(bytes(4096))
    (shards / "half.bin").write_bytes(bytes(4096))  # without a listing: never happened
    printed = text_of(inspect(tmp_path))
    assert "2 in 1 shard, 4.1 kB" in printed
    assert "pca, 32 components, stored as int8" in printed
    assert "stride 8 0.9980" in printed


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.onnx", None, "no such file"),
        ("a.onnx", b"", "empty"),
        ("a.onnx", b"\x08", "truncated, or not an ONNX file"),
        ("a.onnx", b"\x08\x08", "holds no graph"),
        ("a.pt", b"PK\x03\x04 half", "truncated, or not a torch file"),
        ("a.engine", b"\x01\x02", "has no manifest"),
        ("a.json", b"{", "truncated, or not JSON"),
        ("a.json", b"\xff\xfe", "truncated, or not JSON"),
        ("a.json", b"[1]", "no object"),
        ("a.json", b'{"hello": 1}', "no file edgekd knows"),
        ("a.json", b'{"kind": 1, "names": 1, "image_size": 1}', "not a manifest"),
        ("a.json", b'{"graph_sha256": 1, "tensors": {}}', "without ranges"),
        ("a.json", b'{"rows": 1, "verdict": 1}', "not a results.json"),
        ("cache.json", b'{"teacher": 1, "levels": []}', "not a feature cache"),
        ("a.tar", b"no tar", "not a whole tar"),
        ("a.txt", b"hello", "not a kind of file"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        inspect(path)
    assert str(path) in str(caught.value)


def test_a_truncated_onnx_and_a_sidecar_that_is_no_text(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    manifest_path(path).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        inspect(path)
    manifest_path(path).unlink()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="not an ONNX file"):
        inspect(path)


def test_folders_without_anything(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an empty folder"):
        inspect(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="give one of the files in it"):
        inspect(tmp_path)


def test_json_is_one_document_that_holds_what_was_found(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", weights="fp16")
    write_manifest(path, manifest(precision="fp16", parity="pass"))
    answer = edgekd(str(path), "--json")
    assert answer.exit_code == 0
    document = json.loads(answer.stdout)
    assert document["kind"] == "onnx"
    assert document["graph"]["precision"] == document["manifest"]["precision"] == "fp16"
    assert document["manifest"]["sha256"] == document["sha256"]
    assert "benchmark" not in document


LIGHT = """
import sys
for name in ("torch", "ultralytics", "onnx", "edgekd_export", "tensorrt", "tensorrt_rtx"):
    sys.modules[name] = None
sys.argv = ["edgekd", *sys.argv[1:]]
from edgekd.cli import main
main()
"""


def subprocess_edgekd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_base_install_is_enough(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", weights="int8")
    write_manifest(path, manifest(precision="int8"))
    answer = subprocess_edgekd("inspect", str(path))
    assert answer.returncode == 0, answer.stderr
    assert "int8 (found in the graph)" in answer.stdout
    assert "\x1b" not in answer.stdout


def test_without_torch_a_backbone_names_what_is_missing(tmp_path: Path) -> None:
    path = write_distilled(tmp_path / "b.pt", "edgekd.backbone.1", tensors={})
    answer = subprocess_edgekd("inspect", str(path))
    assert answer.returncode == 2
    assert "needs PyTorch; pip install 'edgekd[train]'" in answer.stderr
    assert answer.stderr.count("\n") == 1
