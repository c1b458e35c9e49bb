"""Text for the screen, and text for the speaker: a slide has few words, the notes have them all."""

from __future__ import annotations

import re

NOTES = re.compile(
    r"<!--\s*notes\s*-->", re.IGNORECASE
)  # what follows it in a cell is for the speaker
MOST_WORDS = 48  # of a cell on the screen, without headings: with those, a slide has 60 at most
# A sentence's end, with what closes it; the next begins with a capital letter, a digit or a mark.
SENTENCE_END = re.compile(r"""[.!?](?:\*\*|["”)])*\s+(?=[A-Z*"“(`\d\ue000])""")
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|al|vs|cf|p|pp|Fig|No|approx)|\b[A-Z])\.$")
ITEM = re.compile(r"^(?:[-*+]|\d+\.) ", re.MULTILINE)


def count_words(markdown: str) -> int:
    """Words as a reader counts them: no marks, and a formula or a piece of code is one."""
    text = re.sub(
        r"`[^`]*`|!?\[([^\]]*)\]\([^)]*\)", lambda match: match.group(1) or "code", markdown
    )
    return len(re.findall(r"[\w\ue000]+(?:['’.,-]\w+)*", text))


def split_notes(markdown: str, most: int = MOST_WORDS) -> tuple[str, str]:
    """(what a slide shows of a text cell, what goes to the speaker's notes).

    An author can mark where the notes begin, with ``<!-- notes -->``. Else the slide has the first
    sentences, paragraphs and items that come to at most ``most`` words, headings and tables not
    counted; a paragraph or a list that is cut stands in the notes in full.
    """
    marked, *rest = NOTES.split(markdown, maxsplit=1)
    notes = [rest[0].strip()] if rest else []
    shown, used, cut = [], 0, []
    for block in re.split(r"\n\s*\n", marked.strip()):
        if block.startswith("#") or is_table(block):
            (cut if cut else shown).append(block)
            continue
        words = count_words(block)
        if not cut and used + words <= most:
            shown.append(block)
            used += words
            continue
        head = "" if cut else beginning(block, most - used, whatever=used == 0)
        if head:
            shown.append(head)
        elif not cut and shown and ITEM.match(block):  # what announced the list goes with it
            shown[-1] = whole_sentences(shown[-1])
        cut.append(block)
    return "\n\n".join(shown), "\n\n".join([*cut, *notes])


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
