# SPDX-License-Identifier: GPL-2.0-only
"""What workers did in a run: kept in its folder, and told in lines at its end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.files import write_json
from .policy import EVERYTHING

FARM_FILE = "farm.json"


@dataclass
class Record:
    """Events in order: a worker joined or is avoided; a cell was begun, lost or finished there."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def note(self, worker: str, what: str, **more: Any) -> None:
        """Keep an event, with what else is known of it."""
        self.events.append({"worker": worker, "what": what, **more})

    def write(self, folder: Path, scheduler: str) -> None:
        """Put it into the run's folder."""
        write_json(folder / FARM_FILE, {"scheduler": scheduler, "events": self.events})


def shares(folder: Path) -> list[str]:
    """Lines for people about the run in `folder`: what each worker did, who was avoided and why."""
    events = json.loads((folder / FARM_FILE).read_text())["events"]
    lines = []
    for name in dict.fromkeys(one["worker"] for one in events):
        mine = [one for one in events if one["worker"] == name]
        done = sum(one["what"] == "finished" for one in mine)
        lost = sum(one["what"] == "lost" for one in mine)
        lines.append(f"worker {name}: cells {done}" + (f", lost {lost}" if lost else ""))
        for one in mine:
            if one["what"] == "avoided":
                scope = "" if one["tag"] == EVERYTHING else f" for {one['tag']}"
                lines.append(f"  avoided{scope}: {one['reason']}")
    return lines
