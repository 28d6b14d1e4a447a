# SPDX-License-Identifier: GPL-2.0-only
"""upstream: a series as a branch and as mails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
  xipmatrix upstream riscv --kernel ~/linux@v7.3 --also ~/linux@next
  xipmatrix upstream riscv --kernel ~/linux@v7.3 --reroll --changes 'Keep the clock (Jo)'
\b
The mails are for 'git send-email DIR/*.patch', which is left to you; whom they go to
stands in them. An architecture's series names those of generic as prerequisite.
The branch's description holds the cover letter and b4's tracking: check the branch
out, and 'b4 prep' and 'b4 send' go on with it.
\b
Exit codes: 0 all checks hold, 1 one does not (branch and mails are there all the
same), 2 usage, 3 infrastructure.""",
)
@click.argument("name", metavar="SERIES")
@click.option("--kernel", required=True, metavar="PATH[@REF]", help="Your git tree, at a ref.")
@click.option("--branch", default="", metavar="NAME", help="[default: xip/SERIES, then -vN]")
@click.option("--signoff", is_flag=True, help="Add your Signed-off-by, with git's identity.")
@click.option(
    "--reroll",
    is_flag=True,
    help="The next version of the one that has a branch here: with a range-diff, what changed, "
    "and the Reviewed-by, Acked-by and Tested-by of patches that did not.",
)
@click.option(
    "--changes", default="", metavar="TEXT", help="What changed, a line each, for the cover letter."
)
@click.option(
    "--thread",
    default="",
    metavar="MBOX|MSGID",
    help="Where b4 collects others' tags from.  [default: lore, if b4 is installed]",
)
@click.option(
    "--in-reply-to",
    default="",
    metavar="MSGID|previous",
    help="Make the cover letter an answer. Long threads are not liked: by default it begins one.",
)
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
    output: Path | None,
    also: Sequence[str],
    matrix_file: Path,
    **wishes: Any,
) -> int:
    """Make a branch and mails of SERIES (generic, or an architecture) on your own tree.

    A new branch of your repository, by your git identity; checkout, index and all other refs
    are left alone. Then the checks: each with what it found and what is to be done.
    """
    from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED, UsageError
    from ..core.files import cache_dir, state_dir
    from ..core.git import Repository
    from ..kernel import obtain
    from ..kernel.argument import from_argument, split_argument
    from ..kernel.local import find_repository
    from ..report.terminal import make_console
    from ..series.engine import GENERIC, State, apply_all
    from ..store import open_store
    from ..upstream import Plan, Wish, make, tested

    if (wishes["changes"] or wishes["thread"]) and not wishes["reroll"]:
        raise UsageError("--changes and --thread are for --reroll: what changed since when?")
    loaded, _ = load(matrix_file, ())
    found = chosen_series((name,))
    path, ref = split_argument(kernel)
    user = find_repository(path.resolve()) if path.is_dir() else None
    if user is None:
        raise UsageError("this is no git repository: a branch needs one", where=path)
    plan = Plan.of(Wish(name, **wishes), user)

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
    # With generic's patches alone nobody builds: then what stands on them counts.
    built = apply_all(chosen_series(()), tree) if name == GENERIC else states
    results = tested(open_store(say), loaded.archs, Repository(tree.git_dir), tree.commit, built)
    others = {
        text: obtain("upstream", from_argument(text, loaded.kernels)[1], cache_dir(), say)
        for text in also
    }
    place = output or state_dir() / "upstream" / name
    made = make(plan, tree, found[name], states, place, results, others, say)
    _print(console.print, made.checks)
    for line in (
        f"\n{len(made.mails)} mails in {place}",
        f"branch {made.branch} of {user.path}; to undo: {made.undo}",
    ):
        console.print(line, markup=False, soft_wrap=True)
    return EXIT_AS_EXPECTED if all(one.holds for one in made.checks) else EXIT_UNEXPECTED


def _print(say: Callable[..., None], checks: Sequence[Check]) -> None:
    for one in checks:
        first, *rest = one.found.splitlines()
        say(f"{'holds' if one.holds else 'FAILS'}  {one.name}: {first}", markup=False)
        for line in rest:
            say(f"         {line}", markup=False, soft_wrap=True)
        if not one.holds:
            say(f"         to do: {one.todo}", markup=False)
