"""Tables of stored outputs, made fit for a page: aligned heads, no empty ones, no mere counting."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

LONG = 60  # letters in a cell from which on it is wrapped
NUMBER = re.compile(r"[-+−±]?\d[\d,. ]*([eE][-+]?\d+)?( ?%| points?| s| ms)?( \[.*\])?|nan|–|-|")


def tidy_tables(html: str) -> str:
    """The HTML of an output with its tables put in order.

    pandas counts the rows in a first column without a head, aligns heads to the right and cells to
    the left, and leaves heads empty. Links to notebooks become links to their pages.
    """
    if "<table" not in html and ".ipynb" not in html:
        return html
    page = BeautifulSoup(html, "html.parser")
    for style in page.find_all("style", attrs={"scoped": True}):
        style.decompose()
    for table in page.find_all("table"):
        table.attrs.pop("border", None)
        for row in table.find_all("tr"):
            row.attrs.pop("style", None)
        _join_heads(table)
        _drop_counting_column(table)
        _align(table)
        for head in table.find_all("th"):
            if not head.get_text(strip=True) and not head.find("img"):
                head.name = "td"  # an empty head says nothing to whoever hears it
                head.attrs.pop("scope", None)
        table.wrap(page.new_tag("div", attrs={"class": "table"}))
    for link in page.find_all("a", href=True):
        link["href"] = re.sub(r"^((?![a-z]+:)[^#]*)\.ipynb", r"\1.html", str(link["href"]))
    return str(page)


def _rows(table: Tag) -> list[list[Tag]]:
    return [row.find_all(["th", "td"], recursive=False) for row in table.find_all("tr")]


def _join_heads(table: Tag) -> None:
    """The names of an index stand in a row below the columns' names: make one row of both."""
    head = table.find("thead")
    rows = head.find_all("tr") if head else []
    if len(rows) != 2:
        return
    upper, lower = (row.find_all("th") for row in rows)
    texts = [[cell.get_text(strip=True) for cell in cells] for cells in (upper, lower)]
    if len(upper) == len(lower) and all(
        not (above and below) for above, below in zip(*texts, strict=True)
    ):
        for above, below in zip(upper, lower, strict=True):
            if below.get_text(strip=True):
                above.replace_with(below.extract())
        rows[1].decompose()


def _drop_counting_column(table: Tag) -> None:
    """A first column that only counts, under an empty head, tells nothing."""
    rows = [row for row in _rows(table) if row]
    if len(rows) < 2 or rows[0][0].get_text(strip=True) or table.find(rowspan=True):
        return
    first = [row[0].get_text(strip=True) for row in rows[1:]]
    begin = int(first[0]) if first[0].isdecimal() else 0
    if first == [str(begin + number) for number in range(len(first))]:
        for row in rows:
            row[0].decompose()


def _align(table: Tag) -> None:
    """Columns of numbers to the right, with their heads; long texts may wrap."""
    rows = _rows(table)
    if table.find(rowspan=True) or table.find(colspan=True):
        return
    for column in range(max(map(len, rows), default=0)):
        cells = [row[column] for row in rows if len(row) > column]
        body = [cell for cell in cells if cell.find_parent("thead") is None]
        texts = [cell.get_text(" ", strip=True) for cell in body]
        kind = "number" if any(texts) and all(map(NUMBER.fullmatch, texts)) else None
        kind = kind or ("long" if any(len(text) > LONG for text in texts) else None)
        for cell in cells if kind else []:
            cell["class"] = " ".join([*filter(None, cell.get_attribute_list("class")), str(kind)])
