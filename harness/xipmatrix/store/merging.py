# SPDX-License-Identifier: GPL-2.0-only
"""The runs of shards, joined into one: nothing is lost silently, nothing foreign gets in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from ..core.evidence import Verdict
from ..core.files import Say, quiet
from ..result import CellResult, exit_code
from .index import RunRow
from .runs import RESULT_FILE, RUN_FILE, Plan, Run, Store, read_plan, read_run, results_in

# Shards that began further apart are of different nights.
_ONE_NIGHT = timedelta(days=1)


@dataclass(frozen=True)
class Part:
    """A shard's run as it was found in `folder`; `was` is where that lay when it ran.

    `results` by cell id, each with the folder of its logs.
    """

    folder: Path
    row: RunRow
    plan: Plan
    was: str
    results: Mapping[str, tuple[Path, CellResult]]

    @property
    def number(self) -> int:
        """Which shard it is."""
        return int(self.row.shard.split("/")[0])

    @property
    def count(self) -> int:
        """Of how many."""
        return int(self.row.shard.split("/")[1])


def find_parts(places: Sequence[Path], say: Say = quiet) -> list[Part]:
    """The newest complete run of every shard below `places`, by number.

    Run folders, state folders, downloaded artefacts: each run.json below them counts. An
    older run of the same shard is said and passed over, and so is what began a day before the
    newest; one that was interrupted serves only where there is no other. Raises UsageError
    where there is none, or a place is missing.
    """
    found: dict[str, Part] = {}
    whole = 0
    for folder in sorted({folder for place in places for folder in _folders(place)}):
        row = read_run(folder)
        if not row.shard:
            whole += 1
            continue
        plan, was = read_plan(folder)
        part = Part(
            folder, row, plan, was, {one.cell: (path, one) for path, one in results_in(folder, say)}
        )
        other = found.get(row.shard)
        if other is not None:
            older, part = sorted((other, part), key=_worth)
            say(f"{older.folder}: another run of shard {row.shard} counts, {part.row.id}")
        found[row.shard] = part
    if not found:
        raise UsageError(
            f"no run of a shard lies here, and {whole} whole runs",
            where=", ".join(map(str, places)),
            hint="xipmatrix build --shard 1/2 leaves one in its state folder (XIPMATRIX_STATE)",
        )
    newest = max(datetime.fromisoformat(part.row.began) for part in found.values())
    for shard, part in list(found.items()):
        if newest - datetime.fromisoformat(part.row.began) > _ONE_NIGHT:
            say(f"{part.folder}: shard {shard} of another night, {part.row.began}; passed over")
            del found[shard]
    return sorted(found.values(), key=lambda part: (part.count, part.number))


def _worth(part: Part) -> tuple[bool, str]:
    return not part.row.interrupted, part.row.began


def _folders(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        raise UsageError("no such folder", where=place)
    for folder, inner, files in os.walk(place):
        if RUN_FILE in files:
            inner.clear()  # what lies in a run is its own
            yield Path(folder).resolve()


def check(parts: Sequence[Part]) -> None:
    """That `parts` are of one run. Raises UsageError that names two files and what differs."""
    first = parts[0]
    for other in parts[1:]:
        for key, ours, theirs in (
            ("number of shards", first.count, other.count),
            ("matrix (SHA-256 of matrix.yaml)", first.row.matrix, other.row.matrix),
            ("xipmatrix", first.row.xipmatrix, other.row.xipmatrix),
        ):
            if ours != theirs:
                raise _differ(first.folder / RUN_FILE, other.folder / RUN_FILE, key, ours, theirs)
        if first.plan != other.plan:
            raise _other_plan(first, other)
    seen: dict[tuple[str, str], tuple[Path, str]] = {}
    for part in parts:
        for folder, result in part.results.values():
            kernel, arch = result.cell.split("/")[:2]
            for name, of in (("base", kernel), ("commit", f"{kernel}/{arch}")):
                value = result.versions.get(name)
                if value is None:
                    continue  # it failed before that was known
                where, known = seen.setdefault((name, of), (folder, value))
                if known != value:
                    raise _differ(
                        where / RESULT_FILE,
                        folder / RESULT_FILE,
                        f"versions.{name} of {of}",
                        known,
                        value,
                    )


def _differ(first: Path, other: Path, key: str, ours: object, theirs: object) -> UsageError:
    return UsageError(
        f"the shards do not belong together: {key} is\n  {ours} in {first}, but\n"
        f"  {theirs} in {other}",
        hint="merge shards of one night only, all from the same checkout and kernels",
    )


def _other_plan(first: Part, other: Part) -> UsageError:
    files = f"{first.folder / RUN_FILE} and {other.folder / RUN_FILE}"
    only = {cell for cell, _ in first.plan} ^ {cell for cell, _ in other.plan}
    if only:
        return UsageError(
            f"the shards do not belong together: 'plan' of {files} has other cells: "
            f"{', '.join(sorted(only)[:4])}",
            hint="give every shard the same filters",
        )
    return UsageError(
        f"the shards do not belong together: 'plan' of {files} cuts the same cells in another way",
        hint="give every shard the same --durations, or none",
    )


def merge(store: Store, parts: Sequence[Part], command: str = "") -> tuple[Run, list[CellResult]]:
    """One run in `store` from the shards `parts`, and its results in the order of the matrix.

    It begins with the earliest of them. Logs and raw data are copied, and paths that led into
    a shard's folder lead into the new one. A cell without a result becomes `infrastructure`,
    with what its shard left. Raises UsageError, InfrastructureError, OSError.
    """
    check(parts)
    first = parts[0]
    run = store.new_run(
        command,
        matrix=first.row.matrix,
        plan=first.plan,
        began=min(part.row.began for part in parts),
    )
    by_number = {part.number: part for part in parts}
    arguments = next((one.arguments for part in parts for _, one in part.results.values()), "")
    found = []
    for cell, number in first.plan:
        part = by_number.get(number)
        if part is not None and cell in part.results:
            found.append(_taken(run, part, *part.results[cell]))
        else:
            lost = CellResult(cell, ["pass"], arguments=arguments, verdict=Verdict.INFRASTRUCTURE)
            lost.reason = _why(part, f"{number}/{first.count}")
            lost.hint = "look at that job's log, run it again, and merge again"
            folder = run.folder / "cells" / cell.replace("/", "__")
            folder.mkdir(parents=True)
            run.put(folder, lost)
            found.append(lost)
    run.finish(exit_code(found))
    return run, found


def _why(part: Part | None, shard: str) -> str:
    if part is None:
        return f"shard {shard} left no result"
    if part.row.interrupted:
        return f"shard {shard} was interrupted before this cell had a result ({part.folder})"
    return f"shard {shard} ended without a result of this cell ({part.folder})"


def _taken(run: Run, part: Part, folder: Path, result: CellResult) -> CellResult:
    """A copy of a cell's folder and result in `run`."""
    target = run.folder / "cells" / folder.name
    shutil.copytree(folder, target, symlinks=True)
    here = CellResult.from_dict(moved(result.as_dict(), part.was, str(run.folder)))
    run.put(target, here)
    return here


def moved(value: Any, old: str, new: str) -> Any:
    """`value`, JSON-able, with every path below the folder `old` below `new`."""
    if isinstance(value, str) and old:
        return new if value == old else value.replace(f"{old}/", f"{new}/")
    if isinstance(value, dict):
        return {key: moved(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [moved(one, old, new) for one in value]
    return value
