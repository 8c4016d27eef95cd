"""The plain-text alternative of an HTML e-mail.

Python's own ``HTMLParser`` takes quadratic time over broken markup, which a sender could use to
keep a worker busy for hours; this reader passes over each character once.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final, NamedTuple

_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "div", "dl", "dt", "dd", "fieldset", "footer"}
    | {"form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"}
    | {"pre", "section", "table", "tr", "ul"}
)
_UNSEEN: Final = frozenset({"script", "style", "template", "textarea", "title"})
_IN_HEAD: Final = _UNSEEN | {"base", "head", "link", "meta", "noscript"}

_tag = re.compile(r"""<(/?)([a-zA-Z][^\s/<>]*+)((?:[^<>"']|"[^"]*"|'[^']*')*+)>""").match
_attributes = re.compile(
    r"""([^\s=>"'/]++)\s*+(?:=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'>]++)))?+"""
).findall


class Tag(NamedTuple):
    name: str
    closing: bool
    attributes: str


def plain_text(html: str) -> str:
    """The text a reader would see: one line for each block, links with their address."""
    page = _Page()
    for piece in _pieces(html):
        if isinstance(piece, Tag):
            page.read_tag(piece)
        else:
            page.read_text(piece)
    lines = (" ".join(line.split()) for line in "".join(page.written).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _pieces(html: str) -> Iterator[Tag | str]:
    """Tags and texts in turn, without comments, declarations, scripts and the like."""
    lowered = html.lower() if html.isascii() else "".join(map(_lower, html))
    at = 0
    while at < len(html):
        opening = html.find("<", at)
        if opening < 0:
            yield html[at:]
            return
        if opening > at:
            yield html[at:opening]
        at = opening
        if html.startswith(("<!", "<?"), at):
            end = "-->" if html.startswith("<!--", at) else ">"
            at = _after(html, end, at)
        elif found := _tag(html, at):
            tag = Tag(found[2].lower(), bool(found[1]), found[3])
            yield tag
            at = found.end()
            if tag.name in _UNSEEN and not tag.closing:
                at = _after(lowered, f"</{tag.name}", at)
                at = _after(html, ">", at)
        else:
            yield "<"
            at += 1


def _lower(character: str) -> str:
    """In lower case, and still one character."""
    lowered = character.lower()
    return lowered if len(lowered) == 1 else character


def _after(text: str, end: str, start: int) -> int:
    """Behind the next ``end``; what is never ended reaches to the end of the text."""
    found = text.find(end, start)
    return len(text) if found < 0 else found + len(end)


class _Page:
    def __init__(self) -> None:
        self.written: list[str] = []
        self._in_head = False
        self._link: tuple[str, int] | None = None  # links do not nest

    def read_text(self, text: str) -> None:
        if not self._in_head:
            self.written.append(re.sub(r"\s+", " ", unescape(text)))

    def read_tag(self, tag: Tag) -> None:
        if tag.name not in _IN_HEAD or (tag.name == "head" and tag.closing):
            self._in_head = False
        elif tag.name == "head":
            self._in_head = True
        if tag.name == "br" or tag.name in _BLOCKS:
            self.written.append("\n- " if tag.name == "li" and not tag.closing else "\n")
        elif tag.name in {"td", "th"}:
            self.written.append(" ")
        elif tag.name == "img":
            self.written.append(_attribute(tag, "alt"))
        elif tag.name == "a":
            self._read_link(tag)

    def _read_link(self, tag: Tag) -> None:
        if not tag.closing:
            self._link = (_attribute(tag, "href"), len(self.written))
        elif self._link:
            address, start = self._link
            self._link = None
            if address and address != "".join(self.written[start:]).strip():
                self.written.append(f" ({address})")


def _attribute(tag: Tag, wanted: str) -> str:
    for name, *values in _attributes(tag.attributes):
        if name.lower() == wanted:
            return unescape("".join(values))
    return ""
