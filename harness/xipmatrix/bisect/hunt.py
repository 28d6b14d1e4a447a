# SPDX-License-Identifier: GPL-2.0-only
"""From a question to its answer: both ends, git's search, the parents of what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.errors import InfrastructureError
from ..core.evidence import Verdict
from ..core.files import Say
from ..result import CellResult
from .journal import Journal
from .marks import Mark, Step, step
from .question import Question
from .search import Candidate, NotReproducible, Search

# Commit → what its cell's result is. May raise KeyboardInterrupt.
Judge = Callable[[str], CellResult]


@dataclass
class Outcome:
    """What came out. `found` is one commit, or all that may be the first bad one.

    `steps` are in the order in which commits were looked at, `subjects` theirs.
    """

    question: Question
    found: tuple[Candidate, ...]
    steps: dict[str, Step]
    subjects: dict[str, str]
    log: str
    notes: list[str] = field(default_factory=list)

    @property
    def first_bad(self) -> Candidate | None:
        """The first bad commit, where there is one answer."""
        return self.found[0] if len(self.found) == 1 else None

    @property
    def bad_step(self) -> Step:
        """The evidence against: at the first bad commit, else at the bad end."""
        first = self.first_bad
        return self.steps[first.commit if first else self.question.bad.commit]

    @property
    def good_step(self) -> Step:
        """The evidence for: at a good parent of the first bad commit, else at a good end."""
        first = self.first_bad
        ends = tuple(end.commit for end in self.question.good)
        for commit in (*(first.parents if first else ()), *ends):
            if commit in self.steps and self.steps[commit].mark is Mark.GOOD:
                return self.steps[commit]
        raise AssertionError("the good ends were verified")


def hunt(question: Question, judge: Judge, journal: Journal, search: Search, say: Say) -> Outcome:
    """Answer `question`. Each result is in the journal before the next commit is looked at.

    Raises NotReproducible where an end is not as it was said to be, InfrastructureError
    where a step could not be judged through our own fault.
    """
    hunter = _Hunter(question, judge, journal, search, say)
    hunter.verify_ends()
    found = hunter.search()
    candidates = tuple(search.show(commit) for commit in found)
    notes = hunter.verify_parents(candidates[0]) if len(candidates) == 1 else []
    subjects = {commit: search.subject(commit) for commit in hunter.steps}
    return Outcome(question, candidates, hunter.steps, subjects, search.log, notes)


@dataclass
class _Hunter:
    question: Question
    judge: Judge
    journal: Journal
    git: Search
    say: Say
    steps: dict[str, Step] = field(default_factory=dict)

    def _result(self, commit: str, what: str) -> CellResult:
        known = self.journal.get(commit, self.say)
        if known is not None:
            self.say(f"{what} {commit[:12]}: known")
            return known
        self.say(f"{what} {commit[:12]} {self.git.subject(commit)}")
        result = self.judge(commit)
        if result.verdict is Verdict.INFRASTRUCTURE:
            hints = (result.hint, "the same command goes on from here")
            raise InfrastructureError(
                f"{commit[:12]} could not be judged: {result.reason}",
                hint="; ".join(filter(None, hints)),
            )
        self.journal.put(commit, result)
        return result

    def _take(self, one: Step) -> Step:
        self.steps[one.commit] = one
        why = one.why.splitlines()[0] if one.why else str(one.result.verdict)
        self.say(f"  {one.mark}: {why} ({one.result.seconds:.0f} s)")
        return one

    def verify_ends(self) -> None:
        end = self.question.bad
        bad = self._result(end.commit, "bad end")
        if bad.as_expected:
            raise NotReproducible(
                f"the bad end {end} is good: {bad.verdict}",
                where=bad.cell,
                hint="is it the right cell? xipmatrix list --profile nightly",
            )
        self._take(Step(end.commit, Mark.BAD, bad))
        for end in self.question.good:
            one = self._take(step(end.commit, self._result(end.commit, "good end"), bad))
            if one.mark is not Mark.GOOD:
                what = "bad" if one.mark is Mark.BAD else "neither good nor bad"
                raise NotReproducible(
                    f"the good end {end} is {what}: {one.result.verdict}\n  {one.result.reason}",
                    where=one.result.cell,
                    hint="name an older commit with --good",
                )

    @property
    def _bad(self) -> CellResult:
        return self.steps[self.question.bad.commit].result

    def search(self) -> tuple[str, ...]:
        self.say(self.git.start())
        while (commit := self.git.next) is not None:
            one = self._take(step(commit, self._result(commit, "looking at"), self._bad))
            self.say(self.git.mark(commit, one.mark).partition("\n")[0])
        return self.git.candidates

    def verify_parents(self, first: Candidate) -> list[str]:
        """Look at every parent: git only infers some. What is odd about them is returned."""
        notes = []
        for parent in first.parents:
            if parent not in self.steps:
                self._take(step(parent, self._result(parent, "its parent"), self._bad))
            one = self.steps[parent]
            if one.mark is Mark.BAD:
                notes.append(
                    f"Its parent {parent[:12]} is bad too: the culprit is older, and touches "
                    "none of the given paths, or it comes and goes."
                    if self.question.paths
                    else f"Its parent {parent[:12]} is bad too: the fault comes and goes."
                )
            elif one.mark is Mark.SKIP:
                notes.append(f"Its parent {parent[:12]} could not be judged: {one.why}")
        return notes
