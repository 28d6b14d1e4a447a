# SPDX-License-Identifier: GPL-2.0-only
"""Which commit of the user's tree broke a cell: git's own search, each step judged as a cell.

The user's tree is only read. Every step's verdict is kept as soon as it is there; the
search itself is done again from those verdicts, so that a kill at any moment costs
nothing but the step that was under way.
"""

from .hunt import Outcome, hunt
from .journal import Journal
from .judge import CellJudge
from .marks import Mark, Step
from .question import Question, ask
from .search import Candidate, NotReproducible, Search, read_log

__all__ = [
    "Candidate",
    "CellJudge",
    "Journal",
    "Mark",
    "NotReproducible",
    "Outcome",
    "Question",
    "Search",
    "Step",
    "ask",
    "hunt",
    "read_log",
]
