"""Reads a report page strictly: every tag is closed, nothing is fetched, nothing runs."""

from __future__ import annotations

import html.parser
from dataclasses import dataclass, field

_KNOWN = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "code", "div", "span", "table", "tr", "th", "td",
    "figure", "figcaption", "details", "summary", "svg", "line", "circle", "polyline", "rect", "text",
}  # fmt: skip


@dataclass
class ReadPage:
    """The tags in order, and all text outside the style, white space as single spaces."""

    tags: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found = ReadPage()

    def handle_starttag(self, tag, attrs):
        assert tag in _KNOWN, f"<{tag}> has no place in a report"
        for name, _ in attrs:
            assert name not in ("src", "href", "action", "data", "srcset") and not name.startswith("on"), name
        self.found.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.found.pieces.append(data)


def read_page(page: str) -> ReadPage:
    """What is on a page, once it is known to stand alone."""
    assert page.startswith("<!doctype html>\n")
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert "nan" not in {word for piece in reader.found.pieces for word in piece.split()}
    return reader.found
