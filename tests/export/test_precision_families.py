"""Every family in every precision: valid ONNX, float where it must be, int8 wherever it may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export.slim_families import (
    FAMILIES,
    NUM_CLASSES,
    SIDE,
    is_nms_free,
    slim_detector,
    traced,
)
from onnx import TensorProto, numpy_helper

from edgekd_bench.manifest import Nms
from edgekd_export.fp16 import to_fp16
from edgekd_export.graph_wiring import Wiring
from edgekd_export.head_structure import find_head
from edgekd_export.nms_graph import add_nms
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.quantize_dequantize import DQ, Q, int8_layers

PICTURES = np.random.default_rng(0).random((5, 3, SIDE, SIDE), np.float32)
NMS = Nms(conf=0.001, iou=0.7, max_det=20)


@dataclass(frozen=True)
class Ladder:
    """One detector in all precisions, with dynamic batch."""

    module_of_head: str  # "/model.22/": used by the tests alone, never by the code
    num_levels: int
    nms_free: bool
    fp32: onnx.ModelProto
    source: Int8Source
    fp16: onnx.ModelProto
    int8: onnx.ModelProto


@pytest.fixture(scope="module", params=FAMILIES)
def ladder(request: pytest.FixtureRequest) -> Ladder:
    model = slim_detector(request.param)
    head = model.model[-1]
    num_levels, nms_free = head.nl, is_nms_free(model)
    fp32 = traced(model, dynamic_batch=True)
    source = Int8Source(fp32)
    limits = dict.fromkeys(source.tensors, 4.0)
    return Ladder(
        module_of_head=f"/model.{head.i}/",
        num_levels=num_levels,
        nms_free=nms_free,
        fp32=fp32,
        source=source,
        fp16=to_fp16(fp32, keep_fp32=source.head.decoding),
        int8=source.int8(limits, source.layers),
    )


def test_every_graph_is_valid_onnx_with_all_shapes_known(ladder: Ladder) -> None:
    graphs = [ladder.fp32, ladder.fp16, ladder.int8]
    if not ladder.nms_free:
        graphs += [add_nms(graph, NMS) for graph in graphs]
    for graph in graphs:
        read = onnx.load_from_string(graph.SerializeToString())
        assert {entry.domain: entry.version for entry in read.opset_import} == {"": 17}
        onnx.checker.check_model(read, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(read, strict_mode=True, data_prop=True)
        types = {info.name: info.type.tensor_type for info in inferred.graph.value_info}
        made = [name for node in read.graph.node for name in node.output]
        outputs = {output.name for output in read.graph.output}
        assert all(types[name].HasField("shape") for name in made if name not in outputs)
        for value in (*read.graph.input, *read.graph.output):
            assert value.type.tensor_type.elem_type == TensorProto.FLOAT
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_head_is_found_by_structure(ladder: Ladder) -> None:
    head = find_head(ladder.fp32.graph)
    assert len(head.predictions) == 2 * ladder.num_levels
    assert all(name.startswith(ladder.module_of_head) for name in head.predictions)
    assert all(name.startswith(ladder.module_of_head) for name in head.branches)
    nodes = Wiring(ladder.fp32.graph).nodes
    in_head = {name for name in nodes if name.startswith(ladder.module_of_head)}
    assert in_head <= head.predictions | head.branches | head.decoding
    classes = [n for n in head.predictions if _channels(ladder.fp32, nodes[n]) == NUM_CLASSES]
    assert len(classes) == ladder.num_levels


def test_boxes_are_decoded_in_fp32(ladder: Ladder) -> None:
    for graph in (ladder.fp16, ladder.int8):
        types = _types(graph)
        wiring = Wiring(graph.graph)
        for name in ladder.source.head.decoding:
            node = wiring.nodes[name]
            floats = [types[n] for n in (*node.input, *node.output) if types.get(n) in _FLOATS]
            assert set(floats) <= {TensorProto.FLOAT}, f"{name} computes in fp16"
        for name in ladder.source.head.predictions:
            assert types[wiring.nodes[name].output[0]] == TensorProto.FLOAT16


def test_int8_is_where_it_gains_and_nowhere_else(ladder: Ladder) -> None:
    wiring = Wiring(ladder.int8.graph)
    quantized = int8_layers(ladder.int8.graph)
    head = ladder.source.head
    assert quantized == set(ladder.source.layers)
    assert not quantized & (head.decoding | head.predictions)
    for node in ladder.int8.graph.node:
        if node.op_type == "Conv" and node.name not in head.decoding | head.predictions:
            assert node.name in quantized, f"{node.name} was left float"
        if node.op_type == "MatMul":  # products of two activations, in attention
            assert node.name not in quantized
        if node.op_type == DQ:
            for reader in wiring.consumers(node):
                assert reader.name not in head.predictions
                assert reader.op_type != "Cast", f"{reader.name} hides a pair from TensorRT"


def test_the_form_is_the_one_tensorrt_reads(ladder: Ladder) -> None:
    wiring = Wiring(ladder.int8.graph)
    constants = {name: numpy_helper.to_array(t) for name, t in wiring.initializers.items()}
    quantized = int8_layers(ladder.int8.graph)
    for node in ladder.int8.graph.node:
        if node.op_type in (Q, DQ):
            assert constants[node.input[1]].dtype == np.float32
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any(), "TensorRT refuses zero points"
        if node.op_type == Q:
            readers = {r.name for dq in wiring.consumers(node) for r in wiring.consumers(dq)}
            assert readers & quantized, "only what an int8 layer reads is quantised"
    for name in quantized:
        node = wiring.nodes[name]
        weight = wiring.producer(node.input[1])
        assert weight is not None
        assert constants[weight.input[1]].shape == (_channels(ladder.fp32, node),)
        if len(node.input) == 3:
            assert constants[node.input[2]].dtype == np.float32


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_gives_what_single_images_give(ladder: Ladder, batch: int) -> None:
    graph = ladder.int8 if ladder.nms_free else add_nms(ladder.int8, NMS)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    together = session.run(None, {"images": PICTURES[:batch]})[0]
    alone = [session.run(None, {"images": PICTURES[i : i + 1]})[0] for i in range(batch)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-3, atol=1e-3)


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def _types(graph: onnx.ModelProto) -> dict[str, int]:
    infos = (*graph.graph.value_info, *graph.graph.input, *graph.graph.output)
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    return {**types, **{tensor.name: tensor.data_type for tensor in graph.graph.initializer}}


def _channels(fp32: onnx.ModelProto, layer: onnx.NodeProto) -> int:
    """Output channels of a layer of the fp32 graph, by name."""
    wiring = Wiring(fp32.graph)
    return wiring.weight_shape(wiring.nodes[layer.name])[0]
