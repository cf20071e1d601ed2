"""The ranking finds the layer that suffers, and the search stops early and keeps its budget."""

from __future__ import annotations

import numpy as np
import pytest
from export.slim_families import SIDE, slim_detector, traced
from onnx import numpy_helper
from onnxruntime.quantization.qdq_loss_debug import compute_signal_to_quantization_noice_ratio

from edgekd_export.graph_wiring import Wiring
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.ranges import expose, measure, run_all
from edgekd_export.quantization.sensitivity import RankedLayer, SearchResult, rank_layers, search

IMAGES = [
    (np.random.default_rng(seed).random((1, 3, SIDE, SIDE), np.float32), 1) for seed in (1, 2)
]


@pytest.fixture(scope="module")
def source() -> Int8Source:
    return Int8Source(traced(slim_detector("yolov8n")))


@pytest.fixture(scope="module")
def limits(source: Int8Source) -> dict[str, float]:
    histograms = measure(source.fp32, source.tensors, IMAGES)
    return {name: histogram.largest for name, histogram in histograms.items()}


def test_the_layer_that_int8_ruins_is_ranked_first(
    source: Int8Source, limits: dict[str, float]
) -> None:
    victim = source.layers[len(source.layers) // 2]
    tensor = Wiring(source.fp32.graph).nodes[victim].input[0]
    ruined = rank_layers(source, {**limits, tensor: 1000 * limits[tensor]}, lambda: IMAGES)
    readers = {n.name for n in Wiring(source.fp32.graph).readers(tensor)} & set(source.layers)
    assert {layer.name for layer in ruined[: len(readers)]} == readers
    sound = rank_layers(source, limits, lambda: IMAGES)
    assert {layer.name for layer in sound} == set(source.layers)
    before = {layer.name: layer.sqnr_db for layer in sound}
    after = {layer.name: layer.sqnr_db for layer in ruined}
    # Each layer is judged on its own fp32 input: what is ruined before it does not count.
    assert all(after[n] == pytest.approx(before[n]) for n in before.keys() - readers)
    assert after[victim] < before[victim] - 20


def test_the_ratio_is_that_of_the_first_layer_quantised_alone(
    source: Int8Source, limits: dict[str, float]
) -> None:
    first = source.layers[0]
    output = Wiring(source.fp32.graph).nodes[first].output[0]
    alone = source.int8(limits, [first])
    values = [
        [v[output].astype(np.float32) for v, _ in run_all(expose(g, [output]), [output], IMAGES)]
        for g in (source.fp32, alone)
    ]
    per_image = [
        compute_signal_to_quantization_noice_ratio(ours, theirs)
        for ours, theirs in zip(*values, strict=True)
    ]
    ranked = {layer.name: layer.sqnr_db for layer in rank_layers(source, limits, lambda: IMAGES)}
    assert ranked[first] == pytest.approx(float(np.mean(per_image)), abs=0.1)


def test_a_layer_backed_off_computes_on_float(source: Int8Source, limits: dict[str, float]) -> None:
    victim = source.layers[3]
    graph = source.int8(limits, [name for name in source.layers if name != victim])
    wiring = Wiring(graph.graph)
    node = wiring.nodes[victim]
    weight = numpy_helper.to_array(wiring.initializers[node.input[1]])
    assert weight.dtype == np.float16
    reached = wiring.producer(node.input[0])
    while reached is not None and reached.op_type == "Cast":
        reached = wiring.producer(reached.input[0])
    assert reached is None or reached.op_type != "DequantizeLinear"


def run_search(maps: dict[int, float], num_layers: int = 80, **limits: float) -> SearchResult:
    asked: list[int] = []

    def map_with_float(count: int) -> float:
        asked.append(count)
        return max((value for cut, value in maps.items() if cut <= count), default=0.0)

    options = {"budget": 0.01, "max_float_share": 0.5, **limits}
    result = search(num_layers, 0.5, map_with_float, **options)
    assert len(asked) == len(set(asked)), "nothing is measured twice"
    assert result.num_evaluations == len(asked) + 1  # and fp32
    return result


def test_int8_that_is_good_enough_is_measured_once() -> None:
    result = run_search({0: 0.495})
    assert (result.num_float, result.num_evaluations) == (0, 2)
    assert result.within_budget
    assert result.drop == pytest.approx(0.005)


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 16, 30, 40])
def test_few_measurements_find_nearly_the_fewest_layers(needed: int) -> None:
    result = run_search({0: 0.4, needed: 0.495})
    assert result.within_budget
    assert needed <= result.num_float <= needed + max(1, needed // 4)
    assert result.num_evaluations <= 9


def test_a_budget_that_cannot_be_kept_is_reported_with_figures() -> None:
    result = run_search({0: 0.3, 41: 0.5})
    assert not result.within_budget
    assert (result.num_float, result.num_evaluations) == (40, 3)
    message = result.failure(80)
    assert "\n" not in message
    for figure in ("0.2000", "0.3000", "0.5000", "0.01", "40 of 80"):
        assert figure in message
    assert run_search({0: 0.3, 41: 0.5}, max_float_share=0.6).within_budget


def test_the_table_says_what_became_of_each_layer() -> None:
    ranking = [RankedLayer(f"layer{rank}", 10.0 + rank) for rank in range(4)]
    decisions = SearchResult(2, 0.5, 0.495, 0.01, 5).decisions(ranking)
    assert [d.layer for d in decisions] == [layer.name for layer in ranking]
    assert [d.precision for d in decisions] == ["float", "float", "int8", "int8"]
    assert all("0.4950" in d.reason and "0.5000" in d.reason for d in decisions)
