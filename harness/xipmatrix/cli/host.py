# SPDX-License-Identifier: GPL-2.0-only
"""doctor, clean, completion: the machine around us."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.errors import EXIT_AS_EXPECTED, EXIT_INFRASTRUCTURE
from ..core.files import cache_dir, project_dir, remove, state_dir
from .common import load


@click.command(
    "doctor",
    epilog="""\b
Example:
  xipmatrix doctor
\b
Exit code 3: something that the matrix needs is missing.""",
)
def doctor_command() -> int:
    """Check this machine: tools, versions, disk, network. Changes nothing."""
    from rich.text import Text

    from ..core.host import doctor
    from ..kernel import source_checks
    from ..report.terminal import make_console

    loaded, _ = load(project_dir() / "matrix.yaml", ())
    console = make_console()
    good = True
    boards = [board for found in loaded.matrix.boards.values() for board in found.values()]
    binaries = [board.qemu.binary for board in boards]
    checks = doctor(loaded.archs.values(), cache_dir(), binaries)
    for check in [*checks, *source_checks(loaded.kernels, cache_dir())]:
        mark = Text("ok   ", style="green") if check.ok else Text("FAIL ", style="bold red")
        console.print(mark + Text(f"{check.name}: {check.detail}", style="default"))
        if not check.ok and check.fix:
            console.print(Text(f"       fix: {check.fix}"))
        good = good and check.ok
    return EXIT_AS_EXPECTED if good else EXIT_INFRASTRUCTURE


@click.command(
    "clean",
    epilog="""\b
Examples:
  xipmatrix clean          stages, source folders, what is half-made
  xipmatrix clean --all    kernels, stages and runs
  xipmatrix clean --known  look for newer kernel packages at the next build
\b
Old runs alone: xipmatrix prune.""",
)
@click.option("--all", "everything", is_flag=True, help="The whole cache and all runs.")
@click.option(
    "--known", is_flag=True, help="Only which package versions were found; the kernels stay."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def clean_command(everything: bool, known: bool, dry_run: bool) -> None:
    """Remove caches.

    Without options: built stages, source folders (they are made again in seconds), what
    bisecting builds in, and half-made folders go; kernels' repositories and runs stay.
    """
    cache = cache_dir()
    gone: list[Path] = []
    if known:
        gone = [cache / "kernels" / "known"]
    elif everything:
        gone = [cache, state_dir()]
    else:
        half_made = [*cache.glob("*/.partial-*"), *cache.glob("kernels/*/.partial-*")]
        gone = [cache / "stages", cache / "sources", cache / "bisect", *half_made]
    for path in gone:
        if path.exists():
            click.echo(f"{'would remove' if dry_run else 'removing'} {path}")
            if not dry_run:
                remove(path)


@click.command(
    "completion",
    epilog="""\b
Examples:
  xipmatrix completion bash >> ~/.bashrc
  xipmatrix completion fish > ~/.config/fish/completions/xipmatrix.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the shell completion script for SHELL."""
    from click.shell_completion import get_completion_class

    from . import xipmatrix

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(xipmatrix, {}, "xipmatrix", "_XIPMATRIX_COMPLETE").source())
