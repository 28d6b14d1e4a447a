# SPDX-License-Identifier: GPL-2.0-only
"""A workflow as text. What differs between vendors is in their templates and in VENDORS."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import UsageError
from ..core.template import Templates

TEMPLATES = Path(__file__).parents[1] / "data" / "ci"
# What a file of ours says in its first line: only such a one is written over.
MARK = "written by: xipmatrix ci"
# What `merge` leaves beside its text.
REPORTS = " ".join(
    f"--{option} xip-ci/report/{name}"
    for option, name in (
        ("json", "run.json"),
        ("junit", "junit.xml"),
        ("markdown", "report.md"),
        ("kcidb", "kcidb.json"),
        ("badge", "badge.svg"),
        ("html", "html"),
    )
)
# What stands inside quotes of YAML, shell and Groovy without meaning anything there.
_HARMLESS = re.compile(r"[\w ./:@,*&|!()+~-]*")


@dataclass(frozen=True)
class Vendor:
    """A CI service: where it looks for its file, when and where a nightly runs by default."""

    file: str
    schedule: str
    runner: str


VENDORS: Mapping[str, Vendor] = {
    # Not on the hour: GitHub drops schedules when many begin at the same time.
    "github": Vendor(".github/workflows/xip-nightly.yml", "17 2 * * *", "ubuntu-24.04"),
    "gitlab": Vendor(".gitlab-ci.yml", "", ""),
    "jenkins": Vendor("Jenkinsfile", "H 2 * * *", "docker"),
}


@dataclass(frozen=True)
class Workflow:
    """What a nightly does.

    `filters` are the words that choose its cells, `limit` the minutes after which a shard's
    build is ended, `keep` how many runs the history holds. Without `image` the jobs run on
    the runner itself.
    """

    filters: tuple[str, ...]
    shards: int
    limit: int
    schedule: str
    runner: str
    image: str
    keep: int

    def command(self, vendor: str) -> str:
        """The command that writes the same file again."""
        words = ["xipmatrix", "ci", vendor, *self.filters]
        for name in ("shards", "limit", "schedule", "runner", "image", "keep"):
            value = getattr(self, name)
            if value != "" or name == "image":
                words += [f"--{name}", str(value)]
        return shlex.join(words)


def render(vendor: str, workflow: Workflow) -> str:
    """The file for `vendor`. Raises UsageError for a value that no quotes could hold."""
    for name in ("schedule", "runner", "image"):
        value = getattr(workflow, name)
        if not _HARMLESS.fullmatch(value):
            raise UsageError(f"'{value}' has characters that cannot be there", where=f"--{name}")
    for word in workflow.filters:
        if not _HARMLESS.fullmatch(word):
            raise UsageError(f"'{word}' cannot be in a workflow")
    values = {
        **asdict(workflow),
        "mark": f"{MARK.capitalize()}; not to be edited by hand. Once more:",
        "command": workflow.command(vendor),
        "filters": shlex.join(workflow.filters),
        "reports": REPORTS,
        # Caches are kept apart by what the stages' own keys cannot know.
        "place": re.sub(r"[^\w.-]+", "-", workflow.image or workflow.runner) or "runner",
        "ccache_mb": min(500, 4000 // workflow.shards),
    }
    templates = Templates([TEMPLATES], variable=("<{", "}>"))
    return templates.render_file(f"{vendor}.j2", values)
