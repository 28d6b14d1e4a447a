# SPDX-License-Identifier: GPL-2.0-only
"""Text from kernels and from logs, made safe to look at: nothing acts, nothing hides.

Escaping for HTML is Jinja's work; here it is about what a page would swallow or obey
all the same: control characters, changes of writing direction, invisible characters.
"""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

_LINE_ENDS = re.compile("\r+\n")
# C0 but tab and newline, DEL and C1; marks of direction; what has no width; surrogates,
# which UTF-8 cannot write; tags.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# The C0 characters by their names, which every font can show.
_C0 = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI"
    " DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
)
_NAMES = _C0.split()
# The most bytes that one character takes on a page: a tag as ⟨U+E0001⟩.
_WIDEST = len("⟨U+E0001⟩".encode())


def visible(text: str) -> str:
    """`text` with every character that acts or hides as one that can be seen."""
    return _ODD.sub(_seen, _LINE_ENDS.sub("\n", text))


def _seen(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"⟨{_NAMES[code] if code < len(_NAMES) else f'U+{code:04X}'}⟩"


def tail(text: str, limit: int) -> tuple[str, bool]:
    """The last whole lines of `text` that take at most `limit` bytes on a page.

    And whether something was cut. Of a single line that is longer its end is taken.
    """
    kept: list[str] = []
    room = limit
    for line in reversed(text.splitlines(keepends=True)):
        room -= len(escape(visible(line)).encode("utf-8"))
        if room < 0:
            if not kept:
                kept = [line[-max(1, limit // _WIDEST) :]]
            return "".join(reversed(kept)), True
        kept.append(line)
    return text, False


def anchor(cell: str) -> str:
    """A cell's id as the id of an element: any text without white space."""
    return "_".join(visible(cell).split())


def link(page: str, cell: str = "") -> str:
    """A relative address: the file `page` beside this one, this page if empty, a cell in it."""
    return quote(page) + (f"#{quote(anchor(cell))}" if cell else "")
