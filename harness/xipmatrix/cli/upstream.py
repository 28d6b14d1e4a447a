# SPDX-License-Identifier: GPL-2.0-only
"""upstream: a series as a branch and as mails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import chosen_series, load, matrix_option

if TYPE_CHECKING:
    from ..upstream import Check


@click.command(
    "upstream",
    epilog="""\b
Examples:
  xipmatrix upstream generic --kernel ~/linux@v7.3
  xipmatrix upstream arm --kernel ~/linux@v7.3 --signoff -o ~/outgoing/xip-arm
  xipmatrix upstream riscv --kernel ~/linux@v7.3 --version 2 --also ~/linux@next
\b
The mails are for 'git send-email DIR/*.patch', which is left to you; whom they go to
stands in them. An architecture's series names those of generic as prerequisite.
\b
Exit codes: 0 all checks hold, 1 one does not (branch and mails are there all the
same), 2 usage, 3 infrastructure.""",
)
@click.argument("name", metavar="SERIES")
@click.option("--kernel", required=True, metavar="PATH[@REF]", help="Your git tree, at a ref.")
@click.option("--branch", metavar="NAME", help="[default: xip/SERIES, with -vN from version 2 on]")
@click.option("--version", default=1, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--signoff", is_flag=True, help="Add your Signed-off-by, with git's identity.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="below ~/.local/state/xipmatrix/upstream",
    help="Folder of the mails; what is there is replaced.",
)
@click.option("--also", multiple=True, metavar="PATH@REF", help="Another tree to try 'git am' on.")
@matrix_option
def upstream_command(
    name: str,
    kernel: str,
    branch: str | None,
    version: int,
    signoff: bool,
    output: Path | None,
    also: Sequence[str],
    matrix_file: Path,
) -> int:
    """Make a branch and mails of SERIES (generic, or an architecture) on your own tree.

    A new branch of your repository, by your git identity; checkout, index and all other refs
    are left alone. Then the checks: each with what it found and what is to be done.
    """
    from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED, UsageError
    from ..core.files import cache_dir, state_dir
    from ..core.git import Repository
    from ..kernel import checkout, obtain
    from ..kernel.argument import from_argument, split_argument
    from ..kernel.local import find_repository
    from ..report.terminal import make_console
    from ..series.engine import GENERIC, State, apply_all
    from ..store import open_store
    from ..upstream import (
        Author,
        Cover,
        check_all,
        new_branch,
        people_for,
        put_branch,
        rewritten,
        tested,
        write_mails,
    )

    loaded, _ = load(matrix_file, ())
    found = chosen_series((name,))
    path, ref = split_argument(kernel)
    user = find_repository(path.resolve()) if path.is_dir() else None
    if user is None:
        raise UsageError("this is no git repository: a branch needs one", where=path)
    author = Author.of(user)
    branch = branch or f"xip/{name}" + (f"-v{version}" if version > 1 else "")
    new_branch(user, branch)

    def say(text: str) -> None:
        click.echo(text, err=True)

    _, spec = from_argument(f"{path}@{ref or 'HEAD'}", loaded.kernels)
    tree = obtain("upstream", spec, cache_dir(), say)
    states = apply_all(found, tree)
    console = make_console()
    for one in states.values():
        # Without generic's patches an architecture's have nothing to stand on.
        if one.state is State.CONFLICT or (one.name == name and one.state is not State.APPLIES):
            console.print(f"{one.name}: {one.state}: {one.detail}", markup=False)
            return EXIT_UNEXPECTED
    repository = Repository(tree.git_dir)
    commits = [commit for one in states.values() for commit in one.commits]
    date = datetime.now(UTC).replace(microsecond=0).isoformat()
    ours = rewritten(repository, tree.commit, commits, author, date, signoff=signoff)
    below = [tree.commit, *ours][len(commits) - len(states[name].commits)]
    tip = ours[-1]
    # The same files as at `tip`, which is another commit each time.
    source = checkout(tree.git_dir, states[name].tip, cache_dir(), say)
    # With generic's patches alone nobody builds: then what stands on them counts.
    built = apply_all(chosen_series(()), tree) if name == GENERIC else states
    results = tested(open_store(say), loaded.archs, repository, tree.commit, built)
    place = output or state_dir() / "upstream" / branch.replace("/", "-")
    mails = write_mails(
        repository,
        tree.commit,
        below,
        tip,
        Cover.of(found[name], results, tree.release),
        place,
        author,
        lambda patch: people_for(source, patch),
        version=version,
    )
    others = {
        text: obtain("upstream", from_argument(text, loaded.kernels)[1], cache_dir(), say)
        for text in also
    }
    checks = check_all(source, repository, tree.commit, below, tip, mails, results, others)
    _print(console.print, checks)
    undo = put_branch(user, repository, tree.commit, tip, branch)
    console.print(f"\n{len(mails)} mails in {place}", markup=False, soft_wrap=True)
    console.print(f"branch {branch} of {user.path}; to undo: {undo}", markup=False, soft_wrap=True)
    return EXIT_AS_EXPECTED if all(one.holds for one in checks) else EXIT_UNEXPECTED


def _print(say: Callable[..., None], checks: Sequence[Check]) -> None:
    for one in checks:
        first, *rest = one.found.splitlines()
        say(f"{'holds' if one.holds else 'FAILS'}  {one.name}: {first}", markup=False)
        for line in rest:
            say(f"         {line}", markup=False, soft_wrap=True)
        if not one.holds:
            say(f"         to do: {one.todo}", markup=False)
