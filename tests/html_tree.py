"""A strict reading of the pages that the project writes: every element is closed, in order."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "input", "link", "br", "hr"}


@dataclass
class Element:
    tag: str
    attrs: dict[str, str | None]
    parent: Element | None
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    def every(self, tag: str, css_class: str | None = None) -> list[Element]:
        found = []
        for child in self.children:
            if isinstance(child, Element):
                classes = (child.attrs.get("class") or "").split()
                if child.tag == tag and (css_class is None or css_class in classes):
                    found.append(child)
                found += child.every(tag, css_class)
        return found


class Tree(HTMLParser):
    """A strict parser: every element is closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.here = Element("root", {}, None)
        self.feed(html)
        self.close()
        assert self.here is self.root, f"<{self.here.tag}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of <{tag}> is given twice"
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.children.append(Element(tag, dict(attrs), self.here))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.here.tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.children.append(data)


def jpeg(color: str = "gray") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(buffer, "JPEG")
    return buffer.getvalue()
