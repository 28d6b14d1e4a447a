# SPDX-License-Identifier: GPL-2.0-only
"""--notify: a command of the user's gets what changed, and is not started where nothing did."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ..core import run
from ..history import Change

_LIMIT = 300.0  # seconds of wall time: a mail server that hangs must not hang a nightly


def tell(command: str, run_id: str, changes: Sequence[Change]) -> bool:
    """Run `command` by the shell with the JSON digest on its input, if anything changed.

    Says on stderr when the command fails: a run's exit code is about kernels, not about mail.
    Returns whether it was started.
    """
    told = [one.as_dict() for one in changes if one.noteworthy]
    if not told:
        return False
    digest = json.dumps({"run": run_id, "changes": told}, indent=1, sort_keys=True) + "\n"
    done = run.run(["sh", "-c", command], input_bytes=digest.encode(), timeout=_LIMIT)
    if not done.ok:
        why = f"took over {_LIMIT:.0f} s" if done.timed_out else f"exit status {done.returncode}"
        print(f"xipmatrix: --notify: {why}: {command}\n{done.output}", file=sys.stderr, end="")
    return True
