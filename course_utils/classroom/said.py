"""Something that is said to a learner, in a page and in plain text."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """A sentence, for a page and for plain text."""

    markup: str

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        breaks = re.sub(r"</(p|li|tr|td|caption)>", " ", self.markup)
        return html.unescape(re.sub(r"<[^>]+>", "", breaks)).strip()
