"""Scales, numbers and the measurement's plots: positions follow the data, extremes hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.report_fixture import build_record

from edgekd_bench.record import Comparison, Row
from edgekd_bench.report_bars import MAX_CLASSES, class_plot
from edgekd_bench.report_curve_plots import distillation_plots
from edgekd_bench.report_curves import History
from edgekd_bench.report_figures import key_figures, lead_comparison
from edgekd_bench.report_forest import difference_plot
from edgekd_bench.report_numbers import counted, fixed, mean, milliseconds, signed
from edgekd_bench.report_pareto import pareto_plot
from edgekd_bench.report_provenance import flattened
from edgekd_bench.report_rows import series_of
from edgekd_bench.report_runs import Run
from edgekd_bench.report_svg import Scale, padded, tick_labels
from edgekd_bench.report_tables import TableGroup, results_table


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-0.013, 0.021), (3.2e-7, 9e-7), (0.99, 1.01), (12, 90_000)]
)
def test_ticks_are_inside_evenly_spaced_and_told_apart(low: float, high: float) -> None:
    scale = Scale(low, high, 0, 100)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(-1e-6 <= scale(tick) <= 100 + 1e-6 for tick in ticks)
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    assert max(gaps) == pytest.approx(min(gaps))
    assert len(set(tick_labels(ticks))) == len(ticks)


def test_log_scale_spaces_equal_ratios_equally() -> None:
    scale = Scale(1, 100, 0, 200, log=True)
    assert [scale(1), scale(10), scale(100)] == pytest.approx([0, 100, 200])
    assert scale.ticks() == pytest.approx([1, 2, 5, 10, 20, 50, 100])


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [math.nan], [-3.0, 2.0]])
def test_padded_is_never_empty(values: list[float]) -> None:
    low, high = padded(values)
    assert low < high
    assert all(low < value < high for value in values if math.isfinite(value))


def test_numbers_as_written() -> None:
    assert fixed(-0.0001) == "0.000"
    assert fixed(-0.5, 1) == "−0.5"
    assert signed(0.0214) == "+0.021"
    assert signed(0.0) == "0.000"
    assert fixed(math.nan) == signed(None) == milliseconds(math.inf) == "–"
    assert [milliseconds(v) for v in (1.234, 12.34, 123.4)] == ["1.23", "12.3", "123"]
    assert [counted(n, "seed") for n in (0, 1, 3, 40)] == [
        "no seeds",
        "one seed",
        "three seeds",
        "40 seeds",
    ]
    assert math.isnan(mean([math.nan]))


def pareto(rows: Sequence[Row], comparisons: Sequence[Comparison] = ()) -> str:
    drawing = pareto_plot(rows, comparisons)
    assert drawing is not None
    return str(drawing.markup)


def table_groups(rows: Sequence[Row]) -> list[TableGroup]:
    record = build_record().model_copy(update={"rows": list(rows)})
    return results_table([Run("run", Path("results.json"), record, "machine", "")]).groups


def test_faster_is_left_and_better_is_up() -> None:
    record = build_record(num_seeds=1)
    slow, fast = record.rows[0], record.rows[1]
    slow = slow.model_copy(update={"latency_p50_ms": 20.0, "map50_95": 0.3})
    fast = fast.model_copy(update={"latency_p50_ms": 2.0, "map50_95": 0.6})
    plot = pareto([slow, fast]).split("</desc>")[1].split("largest point")[0]
    circle = plot.split("<circle")[1]
    diamond = plot.split("<polygon")[1]
    cx = float(circle.split('cx="')[1].split('"')[0])
    cy = float(circle.split('cy="')[1].split('"')[0])
    x, y = map(float, diamond.split('points="')[1].split('"')[0].split()[0].split(","))
    assert x < cx
    assert y < cy
    assert "logarithmic" in plot


def test_failed_parity_is_not_plotted() -> None:
    record = build_record()
    rows = [row.model_copy(update={"parity": "fail"}) for row in record.rows]
    assert pareto_plot(rows) is None
    assert class_plot(series_of(lead_comparison(record), rows)) is None
    assert key_figures([])[0].value == "–"


def test_forest_draws_every_interval() -> None:
    comparisons = build_record("better").verdict.comparisons
    drawing = difference_plot(comparisons)
    assert drawing is not None
    assert str(drawing.markup).count('class="estimate o-better') == len(comparisons)
    assert len(drawing.rows) == drawing.num_tips == len(comparisons)
    assert difference_plot([]) is None


def test_many_classes_are_cut_to_the_most_different_and_the_table_holds_all() -> None:
    base = build_record(num_seeds=1).rows
    names = [f"class {index}" for index in range(80)]
    baseline = base[0].model_copy(update={"map50_95_per_class": dict.fromkeys(names, 0.5)})
    moved = {name: 0.5 + 0.005 * index for index, name in enumerate(names)}
    distilled = base[1].model_copy(update={"map50_95_per_class": moved})
    built = class_plot(series_of(None, [baseline, distilled]))
    assert built is not None
    assert (built.num_shown, built.num_classes) == (MAX_CLASSES, 80)
    assert "class 79" in built.drawing.markup
    assert ">class 3<" not in built.drawing.markup
    assert [row[0] for row in built.drawing.rows] == names


def test_table_puts_a_seed_pair_side_by_side() -> None:
    for group in table_groups(list(reversed(build_record().rows))):
        pairs = [(line.seed, line.init) for line in group.rows]
        assert pairs == [(s, i) for s in "012" for i in ("baseline", "distilled")]


def test_best_needs_two_rows_that_differ() -> None:
    row: Row = build_record().rows[0]
    (alone,) = table_groups([row])
    (twins,) = table_groups([row, row.model_copy(update={"init": "distilled"})])
    assert not any(cell.best for line in (*alone.rows, *twins.rows) for cell in line.cells)


def test_tiles_speak_of_the_comparison_that_leads() -> None:
    record = build_record("better")
    comparisons = record.verdict.comparisons[::-1]
    verdict = record.verdict.model_copy(update={"comparisons": comparisons})
    record = record.model_copy(update={"verdict": verdict})
    assert lead_comparison(record) == comparisons[0]
    baseline, distilled = series_of(lead_comparison(record), record.rows)
    rows = [*baseline.rows, *distilled.rows]
    assert {(row.backend, row.parity) for row in rows} == {("pytorch", "n/a")}
    assert len(rows) == 5  # the sixth failed parity
    tiles = {tile.label: tile for tile in key_figures([baseline, distilled])}
    assert tiles["mAP50-95"].value == fixed(mean([row.map50_95 for row in distilled.rows]))
    assert tiles["params"].change == "no change"


def test_several_loss_terms_are_drawn_by_their_first() -> None:
    names = [f"loss/{level}/{term}" for level in ("p3", "p4") for term in ("cosine", "smooth_l1")]
    history = History({name: [(1.0, 1.0), (2.0, 0.5)] for name in [*names, "loss"]})
    (plot,) = distillation_plots(history)
    assert "p4 cosine" in plot.markup
    assert "smooth_l1" not in plot.markup


def test_names_of_neighbouring_points_do_not_collide() -> None:
    first = build_record(num_seeds=1).rows[0]
    rows = [first.model_copy(update={"backend": f"backend{index}"}) for index in range(6)]
    plot = ElementTree.fromstring(pareto(rows))
    names = [text for text in plot.iter("text") if "cluster" in text.attrib["class"]]
    heights = sorted(float(text.attrib["y"]) for text in names)
    assert len(heights) == 6
    assert all(b - a >= 14 for a, b in itertools.pairwise(heights))


def test_nested_environment_becomes_dotted_lines() -> None:
    tree = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": [{"f": True}]}
    assert flattened(tree) == [("a.b", "1"), ("a.c", "1, 2"), ("d", "–"), ("e[0].f", "True")]
