"""Precisions, dynamic batch and NMS through `run()`: names, manifest, runner, parity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export.conftest import NAMES, SIDE, Checkpoints
from onnx import numpy_helper

from edgekd_bench.detections import Thresholds, decode_raw
from edgekd_bench.images import to_batch
from edgekd_bench.manifest import Manifest, Nms, TeacherIdentity, read_manifest, write_manifest
from edgekd_bench.runner import RunnerOptions, open_runner
from edgekd_export import ExportSettings, run
from edgekd_export.fp16 import to_fp16
from edgekd_export.fp16_overflow import overflowing_nodes
from edgekd_export.graph_wiring import Wiring
from edgekd_export.head_structure import find_head
from edgekd_export.nms_reference import suppressed
from edgekd_export.onnx_graph import checked, content_hash
from edgekd_export.parity_images import ParityImages


def test_fp16_is_smaller_passes_and_is_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    weights = checkpoints.yolo11n
    sizes = {}
    for precision in ("fp32", "fp16"):
        settings = ExportSettings(precision=precision, num_parity_images=4)  # type: ignore[arg-type]
        result = run(weights, out=tmp_path, settings=settings)
        assert result.parity.verdict == "pass"
        assert (result.parity.precision, result.manifest.precision) == (precision, precision)
        sizes[precision] = result.onnx.stat().st_size
        with open_runner(result.onnx) as runner:
            assert runner.info.precision == precision
            assert runner.info.num_params == result.manifest.num_params
    assert {path.name for path in tmp_path.glob("*.onnx")} == {
        "yolo11n-0.onnx",
        "yolo11n-0.fp16.onnx",
    }
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_the_licence_names_the_teachers(checkpoints: Checkpoints, tmp_path: Path) -> None:
    weights = tmp_path / "detector.pt"
    weights.write_bytes(checkpoints.yolo11n.read_bytes())
    quick = ExportSettings(num_parity_images=1, simplify=False)
    assert run(weights, out=tmp_path, settings=quick).manifest.licence == "AGPL-3.0"
    teacher = TeacherIdentity(name="dinov3_vits16", licence="DINOv3 License", sha256="cd")
    before = Manifest(
        kind="detector", names=NAMES, image_size=SIDE, stride=32, teacher=teacher, init="distilled"
    )
    write_manifest(weights, before)
    result = run(weights, out=tmp_path, settings=quick)
    assert result.manifest.licence == "AGPL-3.0; teacher dinov3_vits16: DINOv3 License"
    metadata = {entry.key: entry.value for entry in onnx.load(result.onnx).metadata_props}
    assert metadata["license"] == result.manifest.licence


@pytest.mark.parametrize(("family", "conf"), [("yolov8n", 0.1), ("yolo26n", 0.15)])
def test_nms_in_the_graph_is_that_of_the_benchmark(
    family: str, conf: float, checkpoints: Checkpoints, pictures: ParityImages, tmp_path: Path
) -> None:
    raw_settings = ExportSettings(
        num_parity_images=1, dynamic_batch=True, end_to_end=False, simplify=False
    )
    raw = run(checkpoints(family), out=tmp_path / "raw", settings=raw_settings)
    nms = Nms(conf=conf, iou=0.6, max_det=80)
    settings = raw_settings.model_copy(
        update={"nms": True, "nms_conf": nms.conf, "nms_iou": nms.iou, "nms_max_det": nms.max_det}
    )
    result = run(checkpoints(family), out=tmp_path / "nms", settings=settings)
    assert result.parity.verdict == "pass"
    assert result.parity.num_detections > 0
    assert (result.manifest.end_to_end, result.manifest.nms) == (True, nms)
    with (
        open_runner(raw.onnx, options=RunnerOptions(batch=5)) as without,
        open_runner(result.onnx, options=RunnerOptions(batch=5)) as with_nms,
    ):
        assert with_nms.info.end_to_end
        batch = to_batch(pictures.canvases[:5])
        expected = suppressed(without.forward, nms)(batch)
        found = with_nms.forward(batch)
        assert found.shape == (5, 80, 6)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        counts = (found[:, :, 4] > 0).sum(axis=1)
        assert len(set(counts.tolist())) > 1, "images differ in how much there is on them"
        assert (np.diff(found[:, :, 4], axis=1) <= 0).all(), "best first"
        assert not found[found[:, :, 4] == 0].any(), "rows beyond the last detection are zero"
        alone = decode_raw(without.forward(batch)[0], Thresholds(nms.conf, nms.iou, nms.max_det))
        assert len(alone) == counts[0]


def test_nms_is_not_put_behind_a_head_that_needs_none(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    settings = ExportSettings(num_parity_images=1, nms=True, simplify=False)
    result = run(checkpoints("yolo26n"), out=tmp_path, settings=settings)
    assert (result.manifest.end_to_end, result.manifest.nms) == (True, None)
    operators = {node.op_type for node in onnx.load(result.onnx).graph.node}
    assert "NonMaxSuppression" not in operators


@pytest.mark.parametrize("simplify", [True, False])
def test_dynamic_batch_is_said_and_works(
    simplify: bool, checkpoints: Checkpoints, pictures: ParityImages, tmp_path: Path
) -> None:
    settings = ExportSettings(num_parity_images=2, dynamic_batch=True, batch=2, simplify=simplify)
    result = run(checkpoints("yolo12n"), out=tmp_path, settings=settings)
    manifest = read_manifest(result.onnx)
    assert manifest is not None
    assert manifest.dynamic_batch
    session = ort.InferenceSession(str(result.onnx), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, SIDE, SIDE]
    assert session.get_outputs()[0].shape[0] == "batch"
    batch = to_batch(pictures.canvases[:5])
    together = session.run(None, {"images": batch})[0]
    alone = [session.run(None, {"images": batch[i : i + 1]})[0] for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=2e-3)
    # The head is found without the simplifier too, past the arithmetic on shapes.
    head = find_head(onnx.load(result.onnx).graph)
    assert len(head.predictions) == 6
    assert all("/cv2." in name or "/cv3." in name for name in head.predictions)


def test_an_fp32_island_is_fp32_throughout(checkpoints: Checkpoints, tmp_path: Path) -> None:
    quick = ExportSettings(num_parity_images=1)
    fp32 = checked(onnx.load(run(checkpoints.yolo11n, out=tmp_path, settings=quick).onnx))
    before = content_hash(fp32)
    island = find_head(fp32.graph).decoding
    half = to_fp16(fp32, keep_fp32=island)
    assert content_hash(fp32) == before, "the graph given is not changed"
    wiring = Wiring(half.graph)
    for name in island:
        assert all(
            producer.op_type != "Cast" or _reads_prediction(wiring, producer)
            for producer in wiring.producers(wiring.nodes[name])
        ), f"{name} reads what was rounded to fp16 on the way"


def _reads_prediction(wiring: Wiring, cast: onnx.NodeProto) -> bool:
    source = wiring.producer(cast.input[0])
    return source is not None and source.op_type == "Conv"


def test_what_would_overflow_stays_fp32(
    checkpoints: Checkpoints, pictures: ParityImages, tmp_path: Path
) -> None:
    quick = ExportSettings(num_parity_images=1)
    fp32 = checked(onnx.load(run(checkpoints.yolo11n, out=tmp_path, settings=quick).onnx))
    batches = list(pictures.batches(1))
    assert overflowing_nodes(fp32, batches) == set()
    wiring = Wiring(fp32.graph)
    first = next(node for node in fp32.graph.node if node.op_type == "Conv")
    second = next(reader for reader in _weighted_readers(wiring, first))
    # The same network, its first layer scaled up a million times and the second down again.
    for layer, factor in ((first, 1e6), (second, 1e-6)):
        _scale(wiring.initializers[layer.input[1]], factor)
    _scale(wiring.initializers[first.input[2]], 1e6)
    kept = overflowing_nodes(fp32, batches)
    assert {first.name, second.name} <= kept
    assert len(kept) < 10
    session = ort.InferenceSession(
        to_fp16(fp32, keep_fp32=kept | find_head(fp32.graph).decoding).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    assert np.isfinite(session.run(None, {"images": batches[0][0]})[0]).all()


def _weighted_readers(wiring: Wiring, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for reader in wiring.consumers(node):
        if reader.op_type == "Conv":
            yield reader
        else:
            yield from _weighted_readers(wiring, reader)


def _scale(tensor: onnx.TensorProto, factor: float) -> None:
    scaled = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
