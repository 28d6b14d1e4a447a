# SPDX-License-Identifier: GPL-2.0-only
"""upstream: a series as a branch and as mails."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import chosen_series, jobs_option, load, matrix_option, templates_dir

if TYPE_CHECKING:
    from ..kernel import KernelTree
    from ..kernel.local import UserRepository
    from ..matrix.load import LoadedMatrix
    from ..series.engine import Applied, Source
    from ..upstream import Check, Compiler, Plan, Wish


@click.command(
    "upstream",
    epilog="""\b
Examples:
  xipmatrix upstream generic --kernel ~/linux@v7.3
  xipmatrix upstream arm --kernel ~/linux@v7.3 --signoff -o ~/outgoing/xip-arm
  xipmatrix upstream riscv --kernel ~/linux@v7.3 --also ~/linux@next --compile
  xipmatrix upstream riscv --kernel ~/linux@v7.3 --reroll --changes 'Keep the clock (Jo)'
  xipmatrix upstream arm --kernel 6.12 --for downstream -o ~/xip-6.12
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
@click.option(
    "--kernel",
    required=True,
    metavar="PATH[@REF]",
    help="Your git tree, at a ref; with --for also a kernel of the matrix.",
)
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
    "--for",
    "purpose",
    type=click.Choice(["stable", "backport", "downstream"]),
    help="No branch and no mails, but patches to carry: the stable queue's layout; a quilt "
    "series; a quilt series, OpenWrt, Buildroot and Yocto, each with the options.",
)
@click.option(
    "--board",
    default="",
    metavar="NAME",
    help="Whose addresses the options of --for downstream have.  [default: the first]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="below ~/.local/state/xipmatrix/upstream",
    help="Folder of the mails; what is there is replaced.",
)
@click.option(
    "--compile",
    "compiling",
    is_flag=True,
    help="Also the checks that take minutes: W=1 and sparse on the files touched, allnoconfig, "
    "allmodconfig and random configurations, documentation, device tree bindings.",
)
@jobs_option
@click.option("--also", multiple=True, metavar="PATH@REF", help="Another tree to try 'git am' on.")
@matrix_option
def upstream_command(
    name: str,
    kernel: str,
    purpose: str | None,
    board: str,
    output: Path | None,
    also: Sequence[str],
    compiling: bool,
    jobs: int,
    matrix_file: Path,
    **wishes: Any,
) -> int:
    """Make a branch and mails of SERIES (generic, or an architecture) on your own tree.

    A new branch of your repository, by your git identity; checkout, index and all other refs
    are left alone. Then the checks: each with what it found and what is to be done.
    With --for, patches for those who carry them out of tree.
    """
    from ..core.errors import EXIT_UNEXPECTED, UsageError
    from ..core.files import cache_dir, state_dir
    from ..kernel import obtain
    from ..kernel.argument import from_argument, split_argument
    from ..kernel.local import find_repository
    from ..report.terminal import make_console
    from ..series.engine import GENERIC, State, apply_all
    from ..upstream import Plan, Wish

    if (wishes["changes"] or wishes["thread"]) and not wishes["reroll"]:
        raise UsageError("--changes and --thread are for --reroll: what changed since when?")
    if purpose is not None and (wishes["reroll"] or wishes["branch"] or compiling):
        raise UsageError("--for makes no branch: --reroll, --branch and --compile are not for it")
    loaded, _ = load(matrix_file, ())
    found = chosen_series((name,))
    path, ref = split_argument(kernel)
    user = find_repository(path.resolve()) if path.is_dir() else None
    wish = Wish(name, **wishes)
    if user is not None:
        _, spec = from_argument(f"{path}@{ref or 'HEAD'}", loaded.kernels)
    elif purpose is not None and kernel in loaded.kernels:
        spec = loaded.kernels[kernel]
    else:
        raise UsageError("this is no git repository: a branch needs one", where=path)
    if purpose == "downstream" and name == GENERIC:
        raise UsageError(
            "options and addresses are an architecture's",
            hint="name one: its patches come with those of generic",
        )
    plan = Plan.of(wish, user) if user is not None and purpose is None else None

    def say(text: str) -> None:
        click.echo(text, err=True)

    tree = obtain("upstream", spec, cache_dir(), say)
    states = apply_all(found, tree)
    console = make_console()
    tell = functools.partial(console.print, markup=False, soft_wrap=True)
    for one in states.values():
        # Without generic's patches an architecture's have nothing to stand on.
        if one.state is State.CONFLICT or (one.name == name and one.state is not State.APPLIES):
            tell(f"{one.name}: {one.state}: {one.detail}")
            return EXIT_UNEXPECTED
    place = output or state_dir() / "upstream" / (f"{name}-{purpose}" if purpose else name)
    ground = _Ground(loaded, tree, found[name], states, place, tell, say)
    if plan is None:
        return _carry(ground, wish, purpose or "", board, user)
    others = {
        text: obtain("upstream", from_argument(text, loaded.kernels)[1], cache_dir(), say)
        for text in also
    }
    return _mail(ground, plan, others, jobs if compiling else None)


@dataclass(frozen=True)
class _Ground:
    """What all ways to give a series away begin with."""

    loaded: LoadedMatrix
    tree: KernelTree
    source: Source
    states: dict[str, Applied]
    place: Path
    tell: Callable[[str], None]
    say: Callable[[str], None]


def _mail(ground: _Ground, plan: Plan, also: dict[str, KernelTree], jobs: int | None) -> int:
    from ..core.files import remove, state_dir
    from ..core.git import Repository
    from ..pipeline.each_patch import all_records
    from ..series.engine import GENERIC, apply_all
    from ..store import open_store
    from ..upstream import Compiling, Known, make, tested

    tree, source, states = ground.tree, ground.source, ground.states
    # With generic's patches alone nobody builds: then what stands on them counts.
    every = apply_all(chosen_series(()), tree)
    built = every if source.name == GENERIC else states
    results = tested(
        open_store(ground.say), ground.loaded.archs, Repository(tree.git_dir), tree.commit, built
    )
    alone = all_records(state_dir() / "each-patch")
    records = {
        name: [one for one in alone if one.series == name] for name in built if name != GENERIC
    }
    compiling = None
    if jobs is not None:
        logs = state_dir() / "upstream" / "logs" / source.name
        remove(logs)
        compiling = Compiling(_compilers(ground, list(records)), jobs, logs)
    known = Known(results, every, records, also)
    made = make(plan, tree, source, states, ground.place, known, compiling, ground.say)
    status = _told(ground.tell, made.checks)
    ground.tell(f"\n{len(made.mails)} mails in {ground.place}")
    ground.tell(f"branch {made.branch} of {plan.user.path}; to undo: {made.undo}")
    return status


def _compilers(ground: _Ground, archs: Sequence[str]) -> list[Compiler]:
    """A compiler for each of `archs`: that of its first cell."""
    from ..build import toolchain as toolchains
    from ..build.config import xip_fragment
    from ..core.host import ensure_packages, packages_for, upstream_packages
    from ..matrix.load import Wanted
    from ..upstream import Compiler

    cells = [ground.loaded.select(Wanted(arch=(arch,)))[0] for arch in archs]
    pairs = [(cell.arch_spec, cell.toolchain) for cell in cells]
    ensure_packages([*packages_for(pairs), *upstream_packages()], ground.say)
    found = []
    for cell in cells:
        srcarch = cell.arch_spec.kernel_arch
        words = dict(toolchains.of_cell(cell).make_vars) | {"ARCH": srcarch}
        make = tuple(f"{key}={value}" for key, value in words.items())
        xip = xip_fragment(cell, ground.tree.release, templates_dir())
        found.append(Compiler(cell.series, srcarch, make, xip))
    return found


def _carry(
    ground: _Ground, wish: Wish, purpose: str, board: str, user: UserRepository | None
) -> int:
    from ..build.config import xip_fragment
    from ..matrix.load import Wanted
    from ..series.engine import GENERIC
    from ..upstream import carry

    fragment = ""
    if wish.name != GENERIC:
        boards = (board,) if board else ()
        cell = ground.loaded.select(Wanted(arch=(wish.name,), board=boards))[0]
        board, fragment = cell.board, xip_fragment(cell, ground.tree.release, templates_dir())
    files, checks = carry(
        wish, purpose, ground.tree, ground.states, user, fragment, board, ground.place
    )
    status = _told(ground.tell, checks)
    ground.tell(f"{len(files)} files in {ground.place}")
    return status


def _told(tell: Callable[[str], None], checks: Sequence[Check]) -> int:
    """Print the checks; the exit code that they make."""
    from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED

    for one in checks:
        first, *rest = one.found.splitlines()
        tell(f"{'holds' if one.holds else 'FAILS'}  {one.name}: {first}")
        for line in rest:
            tell(f"         {line}")
        if not one.holds:
            tell(f"         to do: {one.todo}")
    return EXIT_AS_EXPECTED if all(one.holds for one in checks) else EXIT_UNEXPECTED
