"""Where a detector's head begins and ends, found by following tensors back from the output.

Every family ends alike: per pyramid level a pair of convolutions predicts box sides and classes,
and arithmetic turns them into boxes and scores. How long the branches before that pair are, how the
sides are encoded (DFL or plain), whether boxes are ranked, and at which layer all this starts,
differ; so none of it is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgekd_bench.errors import InputError
from edgekd_export.graph_wiring import Wiring

# What may lie between a softmax over box sides and the convolution that takes its expectation.
_REARRANGING = frozenset({"Reshape", "Transpose", "Slice", "Concat", "Split"})


@dataclass(frozen=True)
class HeadStructure:
    """Names of nodes, from the output backwards."""

    decoding: frozenset[str]  # from the predictions' outputs to the graph's output
    predictions: frozenset[str]  # the last convolutions: box sides and class logits of a level
    branches: frozenset[str]  # what leads to one prediction and to nothing else


def find_head(graph: onnx.GraphProto) -> HeadStructure:
    """Find the parts of a detection head.

    Raises:
        InputError: the output does not come from convolutions.
    """
    wiring = Wiring(graph)
    decoding, predictions = _walk_back(wiring)
    if not predictions:
        raise InputError("the traced graph has no convolutions before its output; not a detector")
    branches: set[str] = set()
    for name in predictions:
        branches |= _branch(wiring, wiring.nodes[name])
    return HeadStructure(frozenset(decoding), frozenset(predictions), frozenset(branches))


def _walk_back(wiring: Wiring) -> tuple[set[str], set[str]]:
    """Nodes between the outputs and the first convolutions met, and those convolutions."""
    decoding: set[str] = set()
    predictions: set[str] = set()
    waiting = [wiring.producer(name) for name in wiring.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node.name in decoding or node.name in predictions:
            continue
        if node.op_type == "Conv" and not _takes_expectation(wiring, node):
            predictions.add(node.name)
            continue
        decoding.add(node.name)
        if node.op_type != "Shape":  # the shape of a feature map is none of its values
            waiting += wiring.producers(node)
    return decoding, predictions


def _takes_expectation(wiring: Wiring, conv: onnx.NodeProto) -> bool:
    """Whether a convolution sums over a distribution (DFL): it reads a softmax."""
    node = wiring.producer(conv.input[0])
    while node is not None and node.op_type in _REARRANGING:
        node = wiring.producer(node.input[0])
    return node is not None and node.op_type == "Softmax"


def _branch(wiring: Wiring, prediction: onnx.NodeProto) -> set[str]:
    """Nodes before a prediction whose results go nowhere else."""
    inside = {prediction.name}
    waiting = list(wiring.producers(prediction))
    while waiting:
        node = waiting.pop()
        readers = wiring.consumers(node)
        if node.name in inside or not all(reader.name in inside for reader in readers):
            continue  # met again by the other way round an activation, or shared with others
        inside.add(node.name)
        waiting += wiring.producers(node)
    return inside - {prediction.name}
