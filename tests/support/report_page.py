"""The page of the report as a browser would read it, and the facts that it is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

from pipeline.publish.warehouse import open_warehouse
from pipeline.report.queries import Facts, read

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Page(HTMLParser):
    """What a browser would make of the page: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._is_style = False
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._is_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._is_style:
            self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def facts_of(path: Path, moment: datetime = NOON) -> Facts:
    with open_warehouse(path) as connection:
        return read(connection, moment)
