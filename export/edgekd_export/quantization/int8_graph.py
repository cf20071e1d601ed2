"""The fp32 graph of a detector, and any int8 version of it: some layers int8, the others float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import onnx

from edgekd_export.fp16 import to_fp16
from edgekd_export.head_structure import HeadStructure, find_head
from edgekd_export.onnx_graph import content_hash
from edgekd_export.quantization.float_layers import fp32_nodes
from edgekd_export.quantization.int8_regions import region, tensors_around
from edgekd_export.quantization.layers import input_tensors, quantisable_layers
from edgekd_export.quantization.quantize_dequantize import TENSORRT, Scheme, quantize


@dataclass(frozen=True)
class Int8Source:
    """What int8 graphs are made from."""

    fp32: onnx.ModelProto
    scheme: Scheme = TENSORRT
    extremes: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # see `quantize`

    @cached_property
    def head(self) -> HeadStructure:
        return find_head(self.fp32.graph)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """All layers that may be int8."""
        return quantisable_layers(self.fp32.graph, self.head)

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The activations whose ranges have to be known."""
        if not self.scheme.quantized_outputs:
            return input_tensors(self.fp32.graph, self.layers)
        inside = region(self.fp32.graph, self.layers, self.scheme.operators)
        return tensors_around(self.fp32.graph, inside)

    @cached_property
    def sha256(self) -> str:
        """Of the fp32 graph; ranges measured on another do not fit."""
        return content_hash(self.fp32)

    def int8(self, thresholds: Mapping[str, float], layers: Sequence[str]) -> onnx.ModelProto:
        """The graph with these layers in int8 and the others float."""
        graph = self.with_pairs(thresholds, layers)
        if not self.scheme.half_float_layers:
            return graph
        return to_fp16(graph, keep_fp32=fp32_nodes(graph.graph, self.head))

    def with_pairs(self, thresholds: Mapping[str, float], layers: Sequence[str]) -> onnx.ModelProto:
        """The same with all that is not int8 in fp32."""
        return quantize(self.fp32, layers, thresholds, self.scheme, self.extremes)
