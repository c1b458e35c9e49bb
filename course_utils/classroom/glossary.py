"""The course's words in English and Chinese, from data/glossary.json."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import DATA_FOLDER, read_json, restore

GLOSSARY = DATA_FOLDER / "glossary.json"


@dataclass(frozen=True)
class Term:
    """A word of the course.

    ``also``: other names; ``field``: the field of Config that it is; ``claims``: the ids of the
    claims it is the subject of; ``notebooks``: the numbers of those that explain it.
    """

    english: str
    chinese: str
    definition: str
    definition_zh: str
    also: tuple[str, ...] = ()
    field: str | None = None
    claims: tuple[str, ...] = ()
    notebooks: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """All English names, without what stands in brackets to tell two meanings apart."""
        return re.sub(r" \(.*\)", "", self.english), *self.also

    def stands_in(self, text: str) -> bool:
        """Whether one of the names occurs in ``text`` as whole words, in whatever case."""
        return any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
            for name in self.names()
        )


class Glossary(tuple[Term, ...]):
    """Terms in alphabetical order; shows itself as a table in a notebook."""

    def find(self, text: str) -> Glossary:
        """The terms in whose names or definitions ``text`` occurs, in either language."""
        wanted = text.casefold()
        return Glossary(
            term
            for term in self
            if any(
                wanted in part.casefold()
                for part in (
                    *term.names(),
                    term.chinese,
                    term.definition,
                    term.definition_zh,
                    term.field or "",
                )
            )
        )

    def __getitem__(self, key):
        """The term of that name. Raises KeyError with those that come near."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        for term in self:
            if key.casefold() in (
                name.casefold() for name in (term.english, term.chinese, *term.names())
            ):
                return term
        near = ", ".join(term.english for term in self.find(key)[:5])
        raise KeyError(f"{key!r} is not in the glossary" + (f"; near it: {near}" if near else ""))

    def to_html(self, pages: dict[str, str] | None = None) -> str:
        """An HTML table; ``pages`` gives the address of a notebook by its number, to link it."""
        rows = "\n".join(_row(term, pages or {}) for term in self)
        return (
            "<table class='glossary table'>\n<thead><tr><th scope='col'>Term</th>"
            "<th scope='col' lang='zh'>术语</th>"
            "<th scope='col'>Meaning · <span lang='zh'>释义</span></th>"
            "<th scope='col'>Notebook</th></tr></thead>\n"
            f"<tbody>\n{rows}\n</tbody></table>"
        )

    def _repr_html_(self) -> str:
        # A box that scrolls, and that the keyboard can reach: a hundred rows would push the lesson
        # off the page.
        style = "text-align: left !important; vertical-align: top"
        box = "max-height: 24em; overflow: auto"
        return (
            f"<style>.glossary th, .glossary td {{{style}}}</style>"
            f"<div style='{box}' tabindex='0' role='region' aria-label='Glossary'>"
            f"{self.to_html()}</div>"
        )

    def __repr__(self) -> str:
        return "\n".join(f"{term.english} ({term.chinese}): {term.definition}" for term in self)


def _row(term: Term, pages: dict[str, str]) -> str:
    anchor = re.sub(r"\W+", "-", term.english.lower()).strip("-")
    also = f"<br><small>{html.escape(', '.join(term.also))}</small>" if term.also else ""
    field = f"<br><code>{html.escape(term.field)}</code>" if term.field else ""
    linked = ", ".join(
        f"<a href='{pages[number]}'>{number}</a>" if number in pages else number
        for number in term.notebooks
    )
    return (
        f"<tr id='term-{anchor}'><th scope='row'>{html.escape(term.english)}{field}{also}</th>"
        f"<td lang='zh'>{html.escape(term.chinese)}</td><td>{html.escape(term.definition)}<br>"
        f"<span lang='zh'>{html.escape(term.definition_zh)}</span></td><td>{linked}</td></tr>"
    )


def load_glossary(path: Path | str = GLOSSARY) -> Glossary:
    """The glossary, in alphabetical order.

    Raises FileNotFoundError or ValueError for a file that is missing, damaged, or gives one name to
    two terms.
    """
    try:
        entries: list[dict[str, Any]] = [
            {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
            for entry in read_json(Path(path))
        ]
        terms = [Term(**entry) for entry in entries]
    except (TypeError, AttributeError) as error:
        told = f"{Path(path).name} is damaged: {error}. {restore(Path(path))}"
        raise ValueError(told) from error
    _refuse_doubles(name for term in terms for name in {term.english, *term.also})
    return Glossary(sorted(terms, key=lambda term: term.english.casefold()))


def _refuse_doubles(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"glossary: {name!r} names two terms, takes one")
        seen.add(name.casefold())
