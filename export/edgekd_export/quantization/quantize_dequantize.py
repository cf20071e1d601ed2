"""Write an int8 graph: explicit pairs of QuantizeLinear and DequantizeLinear around chosen layers.

The form is the one TensorRT reads (10.3 to 11, RTX), and its parser refuses others:

- symmetric int8 everywhere, so every zero point is 0; weights one scale an output channel;
- biases float: TensorRT quantises them itself and refuses Q/DQ on int32;
- only *inputs* of layers are quantised, never what leaves a convolution. Conv, SiLU and the next
  layer's Q then fuse into one kernel that writes int8. A pair after the convolution or after
  the sigmoid would split it, and costs accuracy where the SiLU needs it;
- other readers of a quantised tensor, such as a residual Add, a Concat, a Slice, read what was
  dequantised: they move a quarter of the bytes, and TensorRT pulls Q through them;
- float layers alone read the float tensor itself, or backing a layer off would not help it.

Another target is another `Scheme`; `cpu_schemes` has those of ONNX Runtime and OpenVINO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgekd_export.graph_wiring import WEIGHTED, Wiring
from edgekd_export.onnx_graph import checked
from edgekd_export.quantization.int8_regions import region

Q, DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Scheme:
    """How numbers become int8 for one kind of target."""

    activation_type: QuantType
    symmetric_activations: bool
    quantized_bias: bool
    quantized_outputs: bool  # also of weighted layers
    half_float_layers: bool  # layers that stay float compute in fp16
    operators: frozenset[str] = frozenset()  # that compute in int8 between the layers


TENSORRT = Scheme(
    activation_type=QuantType.QInt8,
    symmetric_activations=True,
    quantized_bias=False,
    quantized_outputs=False,
    half_float_layers=True,
)


def quantize(
    graph: onnx.ModelProto,
    layers: Sequence[str],
    thresholds: Mapping[str, float],
    scheme: Scheme = TENSORRT,
    extremes: Mapping[str, tuple[float, float]] | None = None,
) -> onnx.ModelProto:
    """Quantise some layers of an fp32 graph with ONNX Runtime's own quantiser.

    Args:
        graph: with all types inferred and all nodes named; not changed.
        layers: names of the nodes to quantise.
        thresholds: tensor → largest |x| that is represented; larger ones are clipped.
        scheme: number types and places.
        extremes: tensor → lowest and highest value ever seen, which asymmetric ranges end at.

    Returns:
        A checked graph that is fp32 between the pairs.
    """
    seen = {} if scheme.symmetric_activations or extremes is None else extremes
    ranges = {name: _range(limit, seen.get(name)) for name, limit in thresholds.items()}
    weighted = sorted(WEIGHTED)
    quantizer = QDQQuantizer(
        onnx.ModelProto.FromString(graph.SerializeToString()),
        True,  # one scale an output channel
        False,  # all of int8's range
        QuantType.QInt8,
        scheme.activation_type,
        TensorsData(CalibrationMethod.MinMax, ranges),
        list(region(graph.graph, layers, scheme.operators)),
        [],
        sorted(WEIGHTED | scheme.operators),
        {
            "ActivationSymmetric": scheme.symmetric_activations,
            "WeightSymmetric": True,
            "QuantizeBias": scheme.quantized_bias,
            "OpTypesToExcludeOutputQuantization": [] if scheme.quantized_outputs else weighted,
        },
    )
    quantizer.quantize_model()
    quantized = quantizer.model.model
    if not scheme.quantized_outputs:  # else what a float layer reads was int8 where it was made
        _feed_float_layers(quantized.graph, set(layers))
    return checked(quantized)


def int8_layers(graph: onnx.GraphProto) -> frozenset[str]:
    """Names of the weighted layers whose weights are int8."""
    wiring = Wiring(graph)
    return frozenset(
        node.name
        for node in graph.node
        if node.op_type in WEIGHTED and _op_type(wiring.producer(node.input[1])) == DQ
    )


def _range(limit: float, seen: tuple[float, float] | None) -> TensorData:
    lowest, highest = (-limit, limit) if seen is None else seen
    return TensorData(
        lowest=np.float32(max(lowest, -limit)), highest=np.float32(min(highest, limit))
    )


def _feed_float_layers(graph: onnx.GraphProto, quantized: set[str]) -> None:
    """Let weighted layers that stay float read tensors from before their Q/DQ pair."""
    wiring = Wiring(graph)
    for node in graph.node:
        if node.op_type not in WEIGHTED or node.name in quantized:
            continue
        for index, name in enumerate(node.input):
            dequantize = wiring.producer(name)
            if dequantize is not None and dequantize.op_type == DQ:
                source = wiring.producer(dequantize.input[0])
                if source is not None and source.op_type == Q:
                    node.input[index] = source.input[0]


def _op_type(node: onnx.NodeProto | None) -> str | None:
    return node.op_type if node is not None else None
