"""What stands on an HTML page, read from its elements."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

#: Elements that have no end.
_VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """A page: its elements, its text, and the numbers in its tables."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text("utf-8")
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        #: Exact values by file and name of the number; "" for the file of the section.
        self.numbers: dict[tuple[str, str], str] = {}
        self._open: list[str] = []
        self._file = self._key = ""
        self.feed(self.source)
        self.close()
        assert not self._open, f"these elements do not end: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if tag == "tr":
            self._file = given.get("data-file", "")
        if tag in ("article", "tr", "td", "th"):
            self._key = given.get("data-key", self._key if tag != "tr" else "")
        if tag == "data" and self._key:
            self.numbers.setdefault((self._file, self._key), given["value"])
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag, f"</{tag}> at {self.getpos()} ends another element"

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text that is shown, with single spaces."""
        return " ".join(" ".join(self.words).split())
