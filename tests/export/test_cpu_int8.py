"""int8 for a CPU: every family, in the layout that each runtime really computes in int8."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export.slim_families import SIDE, slim_detector, traced
from onnx import numpy_helper

from edgekd_bench.backends import is_installed
from edgekd_bench.images import letterbox, to_batch
from edgekd_export.graph_wiring import Wiring
from edgekd_export.quantization.cpu_schemes import ONNXRUNTIME, OPENVINO
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.int8_regions import REGION_OPERATORS, region
from edgekd_export.quantization.quantize_dequantize import DQ, Q, Scheme, int8_layers
from edgekd_export.quantization.ranges import measure
from edgekd_export.synthetic_images import synthetic_image

PICTURES = [to_batch([letterbox(synthetic_image(index), SIDE)[0]]) for index in range(4)]
# ReLU and transposed convolutions, average pools, attention, a head that needs no NMS.
FAMILIES = ("yolov6n", "yolov9c", "yolo12n", "yolo26n")
_needs_openvino = pytest.mark.skipif(
    not is_installed("openvino"), reason="OpenVINO is not installed (the extra 'openvino')"
)


@dataclass(frozen=True)
class Layouts:
    """One detector as each CPU runtime gets it."""

    fp32: onnx.ModelProto
    source: Int8Source  # with ONNX Runtime's scheme
    onnxruntime: onnx.ModelProto
    openvino: onnx.ModelProto


@pytest.fixture(scope="module", params=FAMILIES)
def layouts(request: pytest.FixtureRequest) -> Layouts:
    fp32 = traced(slim_detector(request.param), precision="fp32")
    source, onnxruntime = _quantized(fp32, ONNXRUNTIME)
    return Layouts(fp32, source, onnxruntime, _quantized(fp32, OPENVINO)[1])


def _quantized(fp32: onnx.ModelProto, scheme: Scheme) -> tuple[Int8Source, onnx.ModelProto]:
    source = Int8Source(fp32, scheme)
    seen = measure(fp32, source.tensors, [(picture, 1) for picture in PICTURES])
    extremes = {name: (found.lowest, found.highest) for name, found in seen.items()}
    thresholds = {name: found.largest or 1.0 for name, found in seen.items()}
    source = replace(source, extremes=extremes)
    return source, source.int8(thresholds, source.layers)


def _outputs(graph: onnx.ModelProto, *, optimised: bool) -> list[np.ndarray]:
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [session.run(None, {"images": picture})[0] for picture in PICTURES]


def _distance(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """||difference|| / ||expected||, boxes and scores apart, whichever is worse."""
    ours, theirs = np.concatenate(found), np.concatenate(expected)
    if ours.shape[2] == 6:  # rows are ranked, and rows of equal rank need not be the same box
        pairs = [(ours[:, :, 4], theirs[:, :, 4])]
    else:
        pairs = [(ours[:, :4], theirs[:, :4]), (ours[:, 4:], theirs[:, 4:])]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


def test_onnx_runtime_computes_every_layer_in_int8(layouts: Layouts, tmp_path: Path) -> None:
    """What it does not fuse it computes in float between two conversions: slower than fp32."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(
        layouts.onnxruntime.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ran = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    nodes = Wiring(layouts.fp32.graph).nodes
    wanted = Counter(nodes[name].op_type for name in layouts.source.layers)
    assert ran["QLinearConv"] == wanted["Conv"] > 20
    activations = {nodes[n].op_type for n in _region(layouts)} & {"Sigmoid"}
    assert not activations or ran["QLinearSigmoid"] > 0.9 * _count(layouts, "Sigmoid")
    assert ran["QLinearConcat"] == _count(layouts, "Concat")
    assert ran["QLinearAdd"] == _count(layouts, "Add")


def test_the_region_ends_where_the_head_begins(layouts: Layouts) -> None:
    head = layouts.source.head
    inside = set(_region(layouts))
    assert not inside & (head.decoding | head.predictions)
    assert set(layouts.source.layers) <= inside
    assert {Wiring(layouts.fp32.graph).nodes[n].op_type for n in inside} <= (
        REGION_OPERATORS | {"Conv", "MatMul"}
    )


def test_fusing_changes_nothing_but_rounding(layouts: Layouts) -> None:
    fused = _outputs(layouts.onnxruntime, optimised=True)
    assert _distance(fused, _outputs(layouts.onnxruntime, optimised=False)) < 0.05


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_activations_are_unsigned_and_weights_signed_by_channel(
    layouts: Layouts, runtime: str
) -> None:
    graph = getattr(layouts, runtime).graph
    wiring = Wiring(graph)
    constants = {name: numpy_helper.to_array(t) for name, t in wiring.initializers.items()}
    for node in graph.node:
        if node.op_type == Q:
            assert constants[node.input[2]].dtype == np.uint8
    layers = int8_layers(graph)
    assert layers == set(layouts.source.layers)
    for name in layers:
        weight = wiring.producer(wiring.nodes[name].input[1])
        assert weight is not None and constants[weight.input[0]].dtype == np.int8
        assert constants[weight.input[1]].size > 1 or constants[weight.input[0]].shape[0] == 1
    # SiLU ends at -0.28: unsigned ranges begin there, so that no step is spent on what never comes.
    after_silu = [n for n in graph.node if n.op_type == Q and _writes_silu(wiring, n.input[0])]
    for node in after_silu:
        assert -0.3 < -float(constants[node.input[1]]) * int(constants[node.input[2]]) <= 0
    assert after_silu or not _count(layouts, "Sigmoid")


def test_openvino_gets_pairs_before_layers_alone(layouts: Layouts) -> None:
    graph = layouts.openvino.graph
    wiring, layers = Wiring(graph), int8_layers(layouts.openvino.graph)
    for node in graph.node:
        if node.op_type != Q:
            continue
        readers = [r for dq in wiring.consumers(node) for r in wiring.consumers(dq)]
        assert any(reader.name in layers for reader in readers)
        assert all(reader.op_type != "Sigmoid" for reader in readers), "splits layer and SiLU"
    for name in layouts.source.head.predictions:
        before = wiring.producer(wiring.nodes[name].input[0])
        assert before is not None and before.op_type != DQ, "predictions read float"


@_needs_openvino
def test_openvino_computes_what_the_file_says(layouts: Layouts) -> None:
    """It computed signed ranges around a Concat otherwise, by more than all of int8's rounding."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(layouts.openvino.SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [np.array(compiled(picture)[0]) for picture in PICTURES]
    expected = _outputs(layouts.openvino, optimised=False)
    assert _distance(found, expected) < 0.05


def test_a_layer_that_stays_float_takes_its_activation_along() -> None:
    fp32 = traced(slim_detector("yolo11n"))
    source = Int8Source(fp32, ONNXRUNTIME)
    wiring = Wiring(fp32.graph)
    victim = next(n for n in source.layers if _silu(wiring, n))
    without = [name for name in source.layers if name != victim]
    inside = region(fp32.graph, without, ONNXRUNTIME.operators)
    assert not set(inside) & _silu(wiring, victim)
    assert set(without) <= set(inside)
    assert len(inside) < len(region(fp32.graph, source.layers, ONNXRUNTIME.operators))
    assert not region(fp32.graph, [], ONNXRUNTIME.operators)


def _silu(wiring: Wiring, layer: str) -> set[str]:
    """Names of the sigmoid and the product after a layer."""
    readers: list[Any] = wiring.consumers(wiring.nodes[layer])
    names = {reader.name for reader in readers if reader.op_type in ("Sigmoid", "Mul")}
    return names if len(names) == 2 else set()


def _writes_silu(wiring: Wiring, tensor: str) -> bool:
    node = wiring.producer(tensor)
    return (
        node is not None
        and node.op_type == "Mul"
        and any(p.op_type in ("Sigmoid", DQ) for p in wiring.producers(node))
    )


def _region(layouts: Layouts) -> tuple[str, ...]:
    return region(layouts.fp32.graph, layouts.source.layers, ONNXRUNTIME.operators)


def _count(layouts: Layouts, operator: str) -> int:
    nodes = Wiring(layouts.fp32.graph).nodes
    return sum(nodes[name].op_type == operator for name in _region(layouts))
