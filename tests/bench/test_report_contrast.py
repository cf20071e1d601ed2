"""Every text of the page can be read: WCAG contrast of the style sheet's own colours."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import edgekd_bench.report
from edgekd_bench.record import SamplePredictions
from edgekd_bench.report_confusion import confusion_plots

_STYLE = Path(edgekd_bench.report.__file__).parent / "templates" / "report.css"
_TEXTS = (
    *("ink", "soft", "faint", "better", "worse", "undecided", "none", "warning"),
    *("baseline", "distilled", "other"),
)
_MARKS = ("baseline", "distilled", "other", "level1", "level2", "level3", "level4", "line")
_GROUNDS = ("paper", "card", "wash")


def colours(theme: str) -> dict[str, str]:
    """The variables of ``light`` or ``dark``; dark overrides light."""
    css = _STYLE.read_text(encoding="utf-8")
    light, dark = css.split("@media screen and (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    if theme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark.split("\n* {")[0]))
    return found


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_reach_four_and_a_half_to_one_and_marks_three(theme: str) -> None:
    known = colours(theme)
    for text, ground in itertools.product(_TEXTS, _GROUNDS):
        assert contrast(known[text], known[ground]) >= 4.5, (text, ground)
    for mark, ground in itertools.product(_MARKS, ("paper", "card")):
        assert contrast(known[mark], known[ground]) >= 3, (mark, ground)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["distilled", "worse"])
def test_counts_can_be_read_on_the_darkest_cell_of_a_confusion_matrix(
    theme: str, kind: str
) -> None:
    known = colours(theme)
    key = "m|onnxruntime"
    found = SamplePredictions(names={0: "cat"}, images=[], confusion={key: [[9, 0], [0, 0]]})
    ((_, drawing),) = confusion_plots(found, [("m", key)])
    share = max(map(float, re.findall(r'fill-opacity="([\d.]+)"', drawing.markup)))
    assert share > 0.3
    mixed = "#" + "".join(
        f"{round(share * int(known[kind][i : i + 2], 16) + (1 - share) * int(g, 16)):02x}"
        for i, g in ((1, known["paper"][1:3]), (3, known["paper"][3:5]), (5, known["paper"][5:7]))
    )
    assert contrast(known["ink"], mixed) >= 4.5


def test_no_text_has_a_colour_that_is_not_checked() -> None:
    css = _STYLE.read_text(encoding="utf-8")
    used = set(re.findall(r"(?<![-\w])color: var\(--([\w-]+)\)", css))
    rules = re.findall(r"\.plot (?:text|\.[\w-]+)[^{]*\{([^}]*)\}", css)
    used |= {name for rule in rules for name in re.findall(r"fill: var\(--([\w-]+)\)", rule)}
    # --o is the outcome's and --c the series' colour; both only ever stand for colours above.
    assert used - {"o", "c"} <= set(_TEXTS)
    aliases = set(re.findall(r"--[oc]: var\(--([\w-]+)\)", css))
    assert aliases <= {*_TEXTS, *_MARKS}


def test_names_on_the_tags_of_boxes_can_be_read() -> None:
    css = _STYLE.read_text(encoding="utf-8")
    ink = re.search(r"\.tag-text \{ fill: (#[0-9a-f]{6})", css)
    assert ink is not None
    for colour in re.findall(r"--b: (#[0-9a-f]{6})", css):
        assert contrast(ink[1], colour) >= 4.5
