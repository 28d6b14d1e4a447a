# SPDX-License-Identifier: GPL-2.0-only
"""How a run ends, for everyone who wants to know: one place for build and merge."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import F

if TYPE_CHECKING:
    from rich.console import Console

    from ..result import CellResult
    from ..store import Run


@dataclass(frozen=True)
class Reports:
    """What is told beside the terminal: a field for each of the options below."""

    json_file: str | None = None
    junit_file: Path | None = None
    markdown_file: Path | None = None
    kcidb_file: Path | None = None
    badge_file: Path | None = None
    html_folder: Path | None = None
    notify: str | None = None

    def console(self) -> Console:
        """The terminal; silent where the JSON goes there."""
        from ..report.terminal import make_console

        console = make_console()
        console.quiet = self.json_file == "-"
        return console


_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--json", "json_file", metavar="FILE", help="Results as JSON; - prints only them."
    ),
    click.option("--junit", "junit_file", type=_FILE, help="Results as JUnit XML."),
    click.option("--markdown", "markdown_file", type=_FILE, help="Markdown, for mail, chat."),
    click.option("--kcidb", "kcidb_file", type=_FILE, help="JSON for KernelCI's database."),
    click.option("--badge", "badge_file", type=_FILE, help="A badge: the run in one SVG."),
    click.option(
        "--html",
        "html_folder",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The run's page and the index, as xipmatrix report writes them.",
    ),
    click.option(
        "--notify",
        metavar="COMMAND",
        help="Run by the shell with the changes as JSON on its input, only if there are any.",
    ),
)


def report_options(command: F) -> F:
    """The options of reports; the command gets `reports` (Reports) instead."""

    @functools.wraps(command)
    def wrapper(**rest: Any) -> Any:
        mine = {one.name: rest.pop(one.name) for one in fields(Reports)}
        return command(reports=Reports(**mine), **rest)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def conclude(
    console: Console,
    run: Run,
    found: list[CellResult],
    thresholds: Mapping[str, float],
    reports: Reports,
) -> int:
    """Tell what `run`, which has ended, found and what changed by it; returns the exit code."""
    from ..core.files import write_atomic

    # What nobody asked for is not imported either.
    from ..history import changes_of
    from ..report.changes import print_changes
    from ..report.terminal import closing_line, closing_table
    from ..result import exit_code
    from ..store import Past

    current: Sequence[Past] = [Past.of(result, run.id, run.row.began) for result in found]
    changes = changes_of(run.store, current, run.id, thresholds)
    if found:
        closing_table(console, found, run.folder)
    print_changes(console, changes)
    closing_line(console, found, run.folder)
    if reports.json_file:
        from ..report.machine_readable import json_text

        text = json_text(found, run.id, run.folder)
        if reports.json_file == "-":
            click.echo(text, nl=False)
        else:
            write_atomic(Path(reports.json_file), text)
    if reports.junit_file:
        from ..report.machine_readable import write_junit

        write_junit(found, reports.junit_file)
    if reports.markdown_file:
        from ..report.markdown import markdown

        write_atomic(reports.markdown_file, markdown(found, run.id, run.folder, changes))
    if reports.kcidb_file:
        from ..report.kcidb import kcidb_text

        write_atomic(reports.kcidb_file, kcidb_text(found, run.id, run.row.began, changes))
    if reports.badge_file:
        from ..report.badge import badge

        write_atomic(reports.badge_file, badge(found))
    if reports.html_folder:
        from ..report.html import write_pages

        rows = [run.store.run(run.id)]
        (page,) = write_pages(run.store, rows, reports.html_folder, thresholds, console.print)
        console.print(f"page: {page}", markup=False, soft_wrap=True)
    with contextlib.suppress(OSError):
        _point_latest(run.folder)
    if reports.notify:
        from ..report.notify import tell

        tell(reports.notify, run.id, changes)
    return exit_code(found)


def _point_latest(folder: Path) -> None:
    """``runs/latest`` is a convenience for people; nothing reads it."""
    link = folder.parent / f".latest-{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")
