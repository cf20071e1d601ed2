"""Scales, axes and marks for the report's plots, written as SVG by hand.

The report must be made on a Jetson and open from a mail attachment, so it can neither import a
plotting library nor load a script. Every mark is built as an XML element, never as a string, which
makes the output well-formed and escaped whatever a class or model is called. Colours are left to
the page's style sheet (classes ``s-baseline``, ``axis`` …), so a plot serves light, dark and paper.

What a mark says is shown on hover and on keyboard focus alike, by the style sheet alone, and every
plot ends as a ``Drawing``: the picture together with its figures as a table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

# Characters XML cannot carry, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """``text`` without the control characters and lone surrogates that XML forbids."""
    return _FORBIDDEN.sub("\ufffd", text)


def shortened(text: str, length: int) -> str:
    """``text``, cut to ``length`` characters with an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True)
class Scale:
    """Maps data in ``[low, high]`` to pixels in ``[start, end]``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixel position of ``value``."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values inside the scale, about ``wanted`` of them."""
        if self.log and len(found := _log_ticks(self.low, self.high)) > 3:
            return found
        step = _round_step((self.high - self.low) / wanted)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _round_step(rough: float) -> float:
    """The next 1, 2 or 5 times a power of ten at or above ``rough``."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    return [tick for tick in every if low <= tick <= high]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Tick texts with just the decimals that keep neighbours apart."""
    if not ticks:
        return []
    gaps = [ticks[i + 1] - ticks[i] for i in range(len(ticks) - 1)] or [abs(ticks[0]) or 1.0]
    digits = max(0, -math.floor(math.log10(min(gaps)) + 1e-9))
    return [f"{tick:.{digits}f}".replace("-", "−") for tick in ticks]


def padded(values: Iterable[float], share: float = 0.08) -> tuple[float, float]:
    """A range around ``values`` with air on both sides, never empty."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = (high - low) * share or max(abs(high) * 0.1, 0.01)
    return low - air, high + air


@dataclass(frozen=True)
class Drawing:
    """A picture and, for those who cannot see it, its figures: ``rows`` of texts under ``head``."""

    markup: Markup
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    num_tips: int = 0


class Canvas:
    """One SVG drawing; coordinates are its own pixels, y downward."""

    def __init__(self, name: str, width: float, height: float, title: str, description: str):
        """``name`` must be unique on the page: it prefixes the ids of title and description."""
        self.width, self.height = width, height
        self._tips: list[tuple[float, float, str]] = []
        self.root = ElementTree.Element(
            "svg",
            {
                "class": "plot",
                "viewBox": f"0 0 {width:g} {height:g}",
                "role": "img",
                "aria-labelledby": f"{name}-title {name}-desc",
            },
        )
        self.add("title", text=title, id=f"{name}-title")
        self.add("desc", text=description, id=f"{name}-desc")

    def add(
        self,
        tag: str,
        parent: ElementTree.Element | None = None,
        *,
        text: str | None = None,
        hover: str | None = None,
        **attributes: str | float,
    ) -> ElementTree.Element:
        """Append an element. ``class_`` becomes ``class``, ``text_anchor`` ``text-anchor``."""
        written = {
            key.rstrip("_").replace("_", "-"): printable(value)
            if isinstance(value, str)
            else f"{value:.2f}".rstrip("0").rstrip(".")
            for key, value in attributes.items()
        }
        element = ElementTree.SubElement(self.root if parent is None else parent, tag, written)
        if hover is not None:
            ElementTree.SubElement(element, "title").text = printable(hover)
        if text is not None:
            element.text = printable(text)
        return element

    def explain(self, element: ElementTree.Element, x: float, y: float, text: str) -> None:
        """Give a direct child of the drawing a text, shown above ``(x, y)`` on hover and focus.

        Args:
            text: lines; the first is the name of what is shown.
        """
        text = printable(text)
        element.set("tabindex", "0")
        element.set("role", "img")
        element.set("aria-label", text.replace("\n", "; "))
        element.set("class", f"{element.get('class', '')} m m{len(self._tips)}".strip())
        # An image's parts are hidden from screen readers; a group's are not.
        self.root.set("role", "group")
        self._tips.append((x, y, text))

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def label(self, x: float, y: float, text: str, class_: str = "", anchor: str = "start") -> None:
        """Text whose baseline is at ``y``."""
        self.add("text", text=text, x=x, y=y, class_=f"label {class_}".strip(), text_anchor=anchor)

    def markup(self) -> Markup:
        """The drawing, safe to place in the page as it is."""
        self._draw_tips()
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))

    def drawing(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Drawing:
        """The finished drawing with its figures as a table."""
        return Drawing(self.markup(), tuple(head), [tuple(row) for row in rows], len(self._tips))

    def _draw_tips(self) -> None:
        """The texts of all marks, on top of everything, in the order of the marks."""
        if not self._tips:
            return
        group = self.add("g", class_="tips", aria_hidden="true")
        for index, (x, y, text) in enumerate(self._tips):
            lines = [shortened(line, 90) for line in text.split("\n")]
            width = 20 + 6.9 * max(map(len, lines))
            height = 12 + 17 * len(lines)
            left = max(0.0, min(x - width / 2, self.width - width))
            top = y - height - 14
            if top < -40:  # The page leaves room above a plot, but not that much.
                top = y + 18
            tip = self.add("g", group, class_=f"tip t{index}")
            self.add("rect", tip, x=left, y=top, width=width, height=height, rx=4)
            for number, line in enumerate(lines):
                class_ = "label strong" if number == 0 else "label"
                self.add(
                    "text", tip, text=line, x=left + 10, y=top + 19 + 17 * number, class_=class_
                )


@dataclass(frozen=True)
class Frame:
    """The rectangle a plot's data lives in, in canvas pixels."""

    left: float
    top: float
    right: float
    bottom: float


def draw_axes(canvas: Canvas, frame: Frame, x: Scale, y: Scale, x_title: str, y_title: str) -> None:
    """Grid lines, ticks and axis titles; the y title stands above the axis, where it reads."""
    x_ticks, y_ticks = x.ticks(), y.ticks(5)
    for tick, text in zip(y_ticks, tick_labels(y_ticks), strict=True):
        canvas.line(frame.left, y(tick), frame.right, y(tick), "grid")
        canvas.label(frame.left - 8, y(tick) + 4, text, "tick", "end")
    draw_x_axis(canvas, frame, x, x_ticks, x_title)
    canvas.label(0, frame.top - 12, y_title, "axis-title")


def draw_x_axis(canvas: Canvas, frame: Frame, x: Scale, ticks: Sequence[float], title: str) -> None:
    """The horizontal axis with its ticks and title below."""
    canvas.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")
    # On a logarithmic scale with many decades the gaps differ, so each tick finds its own digits.
    texts = [f"{tick:g}" for tick in ticks] if x.log else tick_labels(ticks)
    for tick, text in zip(ticks, texts, strict=True):
        canvas.line(x(tick), frame.bottom, x(tick), frame.bottom + 5, "axis")
        canvas.label(x(tick), frame.bottom + 19, text, "tick", "middle")
    canvas.label((frame.left + frame.right) / 2, frame.bottom + 38, title, "axis-title", "middle")


def draw_vertical_grid(canvas: Canvas, frame: Frame, x: Scale, title: str) -> None:
    """Vertical grid lines over the horizontal axis, for plots whose rows are names."""
    ticks = x.ticks(8)
    for tick in ticks:
        canvas.line(x(tick), frame.top, x(tick), frame.bottom, "grid")
    draw_x_axis(canvas, frame, x, ticks, title)


def draw_mark(
    canvas: Canvas,
    shape: str,
    x: float,
    y: float,
    radius: float,
    class_: str,
    hover: str | None = None,
) -> ElementTree.Element:
    """A ``circle``, ``diamond`` or ``square`` of equal area around ``(x, y)``."""
    if shape == "circle":
        return canvas.add("circle", cx=x, cy=y, r=radius, class_=class_, hover=hover)
    half = radius * math.sqrt(math.pi) / 2
    if shape == "diamond":
        half *= math.sqrt(2)
        corners = [(x, y - half), (x + half, y), (x, y + half), (x - half, y)]
    else:
        corners = [(x - half, y - half), (x + half, y - half), (x + half, y + half)]
        corners.append((x - half, y + half))
    path = " ".join(f"{a:.2f},{b:.2f}" for a, b in corners)
    return canvas.add("polygon", points=path, class_=class_, hover=hover)


def draw_legend(
    canvas: Canvas, x: float, y: float, entries: Sequence[tuple[str, str, str]]
) -> float:
    """Marks with their names in one row; returns the x where the row ends.

    Args:
        entries: ``(shape, class, name)``; shape ``line`` draws a short stroke.
    """
    for shape, class_, name in entries:
        if shape == "line":
            canvas.line(x, y - 4, x + 18, y - 4, class_)
        else:
            draw_mark(canvas, shape, x + 9, y - 4, 5.5, class_)
        canvas.label(x + 25, y, name, "legend")
        x += 25 + 6.6 * len(name) + 20
    return x
