# SPDX-License-Identifier: GPL-2.0-only
"""Jinja2 for pages: everything is escaped, everything odd is made visible, nothing is loaded.

A page carries its style and its script, and a policy that names both by their hashes: were
something to slip through, a browser would run and fetch none of it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ... import __version__
from .text import anchor, link, visible

FOLDER = Path(__file__).parents[2] / "data" / "html"


def _shown(value: Any) -> Any:
    # What templates make themselves is Markup; plain text comes from elsewhere.
    return visible(value) if type(value) is str else value


def _source(text: str) -> str:
    """For a policy: the hash that allows exactly this inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def environment() -> Environment:
    """The one environment of all pages."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = ((FOLDER / name).read_text() for name in ("style.css", "script.js"))
    made.globals.update(
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)};"
        " base-uri 'none'; form-action 'none'",
        version=__version__,
        anchor=anchor,
        link=link,
    )
    return made


def render(name: str, **values: Any) -> str:
    """The template `name` of data/html, as a whole page. The same values give the same page."""
    return environment().get_template(name).render(values)
