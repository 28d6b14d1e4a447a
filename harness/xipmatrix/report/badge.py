# SPDX-License-Identifier: GPL-2.0-only
"""A badge: the run in one line, as a small SVG file that needs nothing from elsewhere.

White text on these colours has a contrast of 4.5 : 1 or more (WCAG 2.1, AA), and the text
says by itself what the colour says.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from ..core.evidence import Verdict
from ..result import CellResult

LABEL, GREEN, RED, AMBER, GREY = "#444444", "#1a7f37", "#b42318", "#8a5a00", "#5f6368"
_NAME = "XIP"
# A sans serif font of 11 px is about that wide; textLength makes it fit where it is not.
_CHARACTER, _PADDING, _HEIGHT = 6.6, 8.0, 20


def badge(found: Sequence[CellResult]) -> str:
    """The SVG document."""
    text, colour = said(found)
    left, right = (round(len(one) * _CHARACTER + 2 * _PADDING) for one in (_NAME, text))
    whole = f"{_NAME}: {text}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(whole)}">\n'
        f"<title>{escape(whole)}</title>\n"
        f'<rect width="{left}" height="{_HEIGHT}" fill="{LABEL}"/>\n'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{colour}"/>\n'
        '<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">\n'
        f"{_text(_NAME, 0, left)}{_text(text, left, right)}</g>\n</svg>\n"
    )


def said(found: Sequence[CellResult]) -> tuple[str, str]:
    """What a run comes to, ``14 pass, 1 broken``, and its colour."""
    ours = sum(1 for one in found if one.verdict is Verdict.INFRASTRUCTURE)
    surprises = sum(1 for one in found if one.verdict is Verdict.PASS and not one.as_expected)
    sound = (Verdict.PASS, Verdict.INFRASTRUCTURE)
    broken = sum(1 for one in found if not one.as_expected and one.verdict not in sound)
    known = sum(1 for one in found if one.known_failure and one.as_expected)
    passed = sum(1 for one in found if one.verdict is Verdict.PASS)
    early = sum(1 for one in found if one.verdict is None)
    words = [
        f"{passed} pass" + (f" ({surprises} unexpected)" if surprises else ""),
        *([f"{broken} broken"] if broken else []),
        *([f"{known} known"] if known else []),
        *([f"{ours} not measured"] if ours else []),
        *([f"{early} stopped early"] if early else []),
    ]
    if not found:
        return "no cells", GREY
    if broken:
        return ", ".join(words), RED
    if ours or surprises:
        return ", ".join(words), AMBER
    return ", ".join(words), GREEN if passed else GREY


def _text(text: str, left: float, width: float) -> str:
    length = width - 2 * _PADDING
    return (
        f'<text x="{left + width / 2:g}" y="14" textLength="{length:g}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>\n'
    )
