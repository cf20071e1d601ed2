"""Take a report apart with the standard library: what a browser would see, without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

_VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; ``open_tags`` is empty where all tags are closed."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open_tags: list[str] = []
        self.misnested: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the tag."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the tag, which closes itself."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost open tag, which must be of this name."""
        if not self.open_tags or self.open_tags.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data: str) -> None:
        """Record text outside the style sheet."""
        if self.open_tags and self.open_tags[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All visible text, white space collapsed."""
        return " ".join(" ".join(self.texts).split())

    def values(self, attribute: str) -> list[str]:
        """Every value ``attribute`` has on the page."""
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]

    def count(self, tag: str, class_: str = "") -> int:
        """How many ``tag`` there are, of ``class_`` if given."""
        return sum(
            name == tag and (not class_ or class_ in attributes.get("class", "").split())
            for name, attributes in self.tags
        )

    def drawings(self) -> list[ElementTree.Element]:
        """Every SVG, parsed as XML."""
        return [ElementTree.fromstring(svg) for svg in self.svg_texts()]

    def svg_texts(self) -> list[str]:
        """Every SVG as it stands in the page."""
        return re.findall(r"<svg.*?</svg>", self.html, flags=re.DOTALL)


def plots(page: Page) -> dict[str, ElementTree.Element]:
    """The drawings that have a title, by the name their ids begin with."""
    found = {}
    for drawing in page.drawings():
        title = drawing.find("title")
        if title is not None:
            found[title.attrib["id"].removesuffix("-title")] = drawing
    return found
