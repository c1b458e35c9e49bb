"""Text for the screen, and text for the speaker: a slide has few words, the notes have them all."""

from __future__ import annotations

import re

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

NOTES = re.compile(
    r"<!--\s*notes\s*-->", re.IGNORECASE
)  # what follows it in a cell is for the speaker
MOST_WORDS = 60  # on a slide
READING = "**What you should see"  # of a figure, if its author gave it to the speaker's notes
READING_WORDS = 40  # of it stand below the figure all the same
RUNNING_TITLE = 12  # words of it: what a slide without a heading of its own repeats above its text
# A sentence's end, with what closes it; the next begins with a capital letter, a digit or a mark.
SENTENCE_END = re.compile(r"""[.!?](?:\*\*|["”)])*\s+(?=[A-Z*"“(`\d\ue000])""")
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|al|vs|cf|p|pp|Fig|No|approx)|\b[A-Z])\.$")
ITEM = re.compile(r"^(?:[-*+]|\d+\.) ", re.MULTILINE)


def count_words(markdown: str) -> int:
    """What has a letter between spaces on the screen, as deck.js counts; a formula is one word."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"^\s*(?:#+|>|[-*+]|\d+\.) ", "", text, flags=re.MULTILINE)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def split_notes(markdown: str, most: int | None = None) -> tuple[str, str]:
    """(what a slide shows of a text cell, what goes to the speaker's notes).

    An author can mark where the notes begin, with ``<!-- notes -->``. Else the slide has the first
    sentences, paragraphs and items that come to at most ``most`` words, without headings and
    tables: as many as a slide has room for. What is cut stands in the notes in full.
    """
    marked, *rest = NOTES.split(markdown, maxsplit=1)
    shown: list[str] = []
    notes: list[str] = []
    room, begun, cutting = most or MOST_WORDS - RUNNING_TITLE, False, False
    for block in re.split(r"\n\s*\n", marked.strip()):
        if block.startswith("#"):  # a new slide may begin here
            room, begun, cutting = most or MOST_WORDS - count_words(block), False, False
        words = 0 if block.startswith("#") or is_table(block) else count_words(block)
        if not cutting and words <= room:
            shown.append(block)
            room, begun = room - words, begun or words > 0
            continue
        head = "" if cutting else beginning(block, room, whatever=not begun)
        if head:
            shown.append(head)
        elif not cutting and shown and ITEM.match(block):  # what announced the list goes with it
            shown[-1] = whole_sentences(shown[-1])
        notes.append(block)
        cutting = True
    return "\n\n".join(shown), "\n\n".join([*notes, *(text.strip() for text in rest)])


def markdown_cell(text: str, slide: str) -> NotebookNode:
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": slide}})


def part_sections(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Sections that begin in the speaker's notes begin a slide; the next cells belong to it."""
    parted: list[NotebookNode] = []
    for cell in cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if cell.cell_type != "markdown" or kind != "notes":
            if kind == "slide" and parted and parted[-1].source.startswith("##"):
                cell.metadata["slideshow"]["slide_type"] = "subslide"
            parted.append(cell)
            continue
        for text in re.split(r"\n(?=###? )", "\n" + cell.source):
            level = "slide" if text.startswith("## ") else "subslide"
            if text.strip():
                parted.append(
                    markdown_cell(text.strip(), level if text.startswith("#") else "notes")
                )
    return parted


def reading_of(notes: str) -> str:
    """What stands on the slide of what a class should see, which the notes tell in full."""
    paragraphs = (part for part in re.split(r"\n\s*\n", notes) if part.startswith(READING))
    seen, _ = split_notes(next(paragraphs, ""), READING_WORDS)
    return "" if re.fullmatch(r"\*\*[^*]+\*\*", seen) else seen


def is_table(block: str) -> bool:
    return all(line.lstrip().startswith("|") for line in block.splitlines())


def beginning(block: str, most: int, whatever: bool = False) -> str:
    """The first sentences of a paragraph, or items of a list, of at most ``most`` words;
    ``whatever``: at least one. A title in bold without a sentence after it is nothing."""
    ends = [match.start() for match in ITEM.finditer(block)][1:] if ITEM.match(block) else [
        match.end() for match in SENTENCE_END.finditer(block) if is_end(block[: match.end()])
    ]  # fmt: skip
    parts = [block[:end].rstrip() for end in ends]
    parts = [part for part in parts if not re.fullmatch(r"\*\*[^*]+\*\*", part)]
    fitting = [part for part in parts if count_words(part) <= most]
    if fitting:
        return fitting[-1]
    return (parts or [block])[0] if whatever else ""


def whole_sentences(block: str) -> str:
    """A paragraph up to the end of its last whole sentence."""
    ends = [match.end() for match in SENTENCE_END.finditer(block) if is_end(block[: match.end()])]
    return block if re.search(r"[.!?]\W*$", block) else block[: ends[-1]].rstrip() if ends else ""


def is_end(text: str) -> bool:
    """Whether a text can end there: no abbreviation; no bold, code or bracket that is open."""
    bare = text.rstrip().rstrip('*"”)')
    closed = (
        text.count("**") % 2 == 0
        and text.count("`") % 2 == 0
        and text.count("(") == text.count(")")
    )
    return closed and not ABBREVIATION.search(bare)
