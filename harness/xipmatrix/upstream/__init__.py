# SPDX-License-Identifier: GPL-2.0-only
"""From a series that applies to what a maintainer expects in the inbox."""

from .branch import Author, new_branch, put_branch, rewritten
from .checks import Check, check_all
from .evidence import Results, tested
from .mails import Cover, write_mails
from .people import People, people_for

__all__ = [
    "Author",
    "Check",
    "Cover",
    "People",
    "Results",
    "check_all",
    "new_branch",
    "people_for",
    "put_branch",
    "rewritten",
    "tested",
    "write_mails",
]
