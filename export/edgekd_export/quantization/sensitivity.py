"""Which layers int8 hurts most, and how few of them must stay float to keep the mAP.

Each layer is judged alone: the same fp32 input goes through the layer as it is and through its int8
twin, and the ratio of signal to noise between both outputs ranks it. mAP is measured only for cuts
through this ranking, found by bisection: trying layers one by one would take a validation each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization.qdq_loss_debug import (
    compute_signal_to_quantization_noice_ratio as sqnr_db,
)

from edgekd_bench.manifest import LayerDecision
from edgekd_export.graph_wiring import Wiring
from edgekd_export.onnx_graph import checked
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.quantize_dequantize import DQ, Q
from edgekd_export.quantization.ranges import Batch, expose, run_all

_TWIN = "/int8_twin"
_GROUP = 24  # layers
_CLOSE_ENOUGH = 8  # stop once the cut is known to an eighth of the layers it returns to float


@dataclass(frozen=True)
class RankedLayer:
    """A layer and how well its int8 twin follows it."""

    name: str
    sqnr_db: float


def rank_layers(
    source: Int8Source,
    thresholds: Mapping[str, float],
    batches: Callable[[], Iterable[Batch]],
    on_layers: Callable[[int], None] = lambda _: None,
) -> list[RankedLayer]:
    """All layers that may be int8, most sensitive first.

    Args:
        source: the network.
        thresholds: ranges of its activations.
        batches: gives the same few images each time; layers are judged a group at a time, because
            all their outputs at once would not fit into memory.
        on_layers: called with the number of layers just judged, for progress.
    """
    quantized = source.with_pairs(thresholds, source.layers)
    ranked: list[RankedLayer] = []
    for start in range(0, len(source.layers), _GROUP):
        group = source.layers[start : start + _GROUP]
        ranked += _judge(source.fp32, quantized, group, batches())
        on_layers(len(group))
    return sorted(ranked, key=lambda layer: layer.sqnr_db)


def _judge(
    fp32: onnx.ModelProto,
    quantized: onnx.ModelProto,
    group: Sequence[str],
    batches: Iterable[Batch],
) -> Iterator[RankedLayer]:
    nodes = Wiring(fp32.graph).nodes
    outputs = {name: nodes[name].output[0] for name in group}
    twins = expose(checked(_with_twins(fp32, quantized, outputs)), list(outputs.values()))
    wanted = [name for output in outputs.values() for name in (output, output + _TWIN)]
    ratios: dict[str, list[float]] = {name: [] for name in group}
    for values, num_real in run_all(twins, wanted, batches):
        for layer, output in outputs.items():
            ours, twin = values[output][:num_real], values[output + _TWIN][:num_real]
            ratios[layer].append(sqnr_db(ours, twin))
    for layer, found in ratios.items():
        yield RankedLayer(layer, float(np.mean(found)))


@dataclass(frozen=True)
class SearchResult:
    """Where the ranking was cut and what that costs."""

    num_float: int  # of the ranking's head
    map_fp32: float
    map_int8: float
    budget: float
    num_evaluations: int

    @property
    def drop(self) -> float:
        """mAP50-95 lost to int8; negative where it gained."""
        return self.map_fp32 - self.map_int8

    @property
    def within_budget(self) -> bool:
        return self.drop <= self.budget

    def failure(self, num_layers: int) -> str:
        """Why the budget cannot be kept, in one line."""
        return (
            f"int8 loses {self.drop:.4f} mAP50-95 ({self.map_int8:.4f} against "
            f"{self.map_fp32:.4f} in fp32), more than the {self.budget:g} allowed, even with "
            f"{self.num_float} of {num_layers} layers float; allow more, or export fp16"
        )

    def decisions(self, ranking: Sequence[RankedLayer]) -> list[LayerDecision]:
        """One row a layer, most sensitive first."""
        verdict = f"mAP50-95 {self.map_int8:.4f} against {self.map_fp32:.4f} in fp32"
        reasons = (
            f"among the {self.num_float} most sensitive: {verdict}",
            f"less sensitive than what was returned to float: {verdict}"
            if self.num_float
            else f"nothing had to be returned to float: {verdict}",
        )
        return [
            LayerDecision(
                layer=layer.name,
                sqnr_db=layer.sqnr_db,
                precision="float" if rank < self.num_float else "int8",
                reason=reasons[0] if rank < self.num_float else reasons[1],
            )
            for rank, layer in enumerate(ranking)
        ]


def search(
    num_layers: int,
    map_fp32: float,
    map_with_float: Callable[[int], float],
    *,
    budget: float,
    max_float_share: float,
) -> SearchResult:
    """Find a small number of layers to return to float.

    Args:
        num_layers: in the ranking.
        map_fp32: mAP50-95 with all layers float.
        map_with_float: mAP50-95 with the n most sensitive layers float.
        budget: mAP50-95 that may be lost.
        max_float_share: of the layers.

    Returns:
        The smallest cut found within the budget; where even the largest allowed one is not, that.
    """
    measured: dict[int, float] = {}

    def result(cut: int) -> SearchResult:
        if cut not in measured:
            measured[cut] = map_with_float(cut)
        return SearchResult(cut, map_fp32, measured[cut], budget, len(measured) + 1)

    if result(0).within_budget:
        return result(0)
    too_few, enough = 0, int(num_layers * max_float_share)
    if not result(enough).within_budget:
        return result(enough)
    while enough - too_few > max(1, enough // _CLOSE_ENOUGH):
        # Few layers usually suffice, so the middle is taken on a scale of ratios.
        middle = min(max(round((max(too_few, 1) * enough) ** 0.5), too_few + 1), enough - 1)
        if result(middle).within_budget:
            enough = middle
        else:
            too_few = middle
    return result(enough)


def _with_twins(
    fp32: onnx.ModelProto, quantized: onnx.ModelProto, outputs: Mapping[str, str]
) -> onnx.ModelProto:
    """The fp32 graph, and beside some layers their int8 twins on the same fp32 inputs.

    Args:
        fp32: the network.
        quantized: the same with all layers int8.
        outputs: layer → the tensor it writes; its twin writes that name with a suffix.
    """
    both = onnx.ModelProto.FromString(fp32.SerializeToString())
    known = {tensor.name for tensor in both.graph.initializer}
    both.graph.initializer.extend(
        tensor for tensor in quantized.graph.initializer if tensor.name not in known
    )
    for node in quantized.graph.node:
        if node.op_type in (Q, DQ):  # those of other layers are dropped as unread
            both.graph.node.append(node)
        elif node.name in outputs:
            twin = onnx.NodeProto.FromString(node.SerializeToString())
            twin.name = node.name + _TWIN
            twin.output[0] = outputs[node.name] + _TWIN
            both.graph.node.append(twin)
    both.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name + _TWIN) for name in outputs.values()
    )
    return both
