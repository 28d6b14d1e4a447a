# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands share."""

from __future__ import annotations

import functools
import math
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.files import project_dir

if TYPE_CHECKING:
    from ..matrix.load import LoadedMatrix
    from ..matrix.model import Cell, Kernel
    from ..schedule import Shard
    from ..series.engine import Source

F = TypeVar("F", bound=Callable[..., Any])


class Names(click.ParamType[tuple[str, ...]]):
    """``a,b,c`` as a tuple."""

    name = "names"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Split at commas. An empty part is refused: it would ask for everything."""
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(","))
        if "" in parts:
            self.fail(f"no name is given at a place of {value!r}", param, ctx)
        return parts


class Seconds(click.FloatRange):
    """A limit of wall time. Neither zero nor "not a number" is one."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """A positive number, or a usage error."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number", param, ctx)
        return seconds


class ShardType(click.ParamType["Shard"]):
    """``I/N`` as a Shard."""

    name = "shard"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Refuse what is not one, with the reason."""
        from ..schedule import Shard

        if not isinstance(value, str):
            return value
        try:
            return Shard.parse(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def templates_dir() -> Path:
    """The checkout's templates."""
    return project_dir() / "templates"


def chosen_series(names: Sequence[str]) -> dict[str, Source]:
    """The checkout's series of `names`, by default all, with generic's before them, on which
    every other one stands. Raises UsageError with the nearest names for an unknown one."""
    from ..matrix.load import unknown
    from ..series.engine import GENERIC, sources

    found = sources(templates_dir())
    for name in names:
        if name not in found:
            raise unknown("series", name, found, templates_dir())
    return {one: found[one] for one in found if one in (GENERIC, *(names or found))}


def one_cell(loaded: LoadedMatrix, cell_id: str, matrix_file: Path, why: str) -> Cell:
    """The one cell that `cell_id` means. Raises UsageError, which says `why` it must be one."""
    from ..core.errors import UsageError
    from ..matrix.load import Wanted

    cells = loaded.select(Wanted(cells=(cell_id,)))
    if len(cells) != 1:
        raise UsageError(f"'{cell_id}' means {len(cells)} cells: {why}", where=matrix_file)
    return cells[0]


def flatten(values: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What several ``--arch a,b --arch c`` add up to."""
    return tuple(name for group in values for name in group)


matrix_option = click.option(
    "--matrix",
    "matrix_file",
    type=click.Path(path_type=Path),
    default=lambda: project_dir() / "matrix.yaml",
    show_default="matrix.yaml of this checkout",
    help="The matrix to use.",
)


jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="number of cores",
    help="Compilers at a time, over all builds.",
)


ccache_option = click.option(
    "--ccache/--no-ccache",
    default=False,
    show_default=True,
    help="Use ccache, if installed: pays where little of a kernel changes.",
)


def cell_filters(command: F) -> F:
    """--arch, --kernel, --board, --config, --toolchain, --cell, --profile, --matrix.

    The command gets `loaded` (LoadedMatrix), `wanted` (Wanted) and `arguments` (those
    that another command needs to mean the same cells) instead.
    """

    @functools.wraps(command)
    def wrapper(
        matrix_file: Path,
        arch: Sequence[Sequence[str]],
        kernel: Sequence[str],
        board: Sequence[Sequence[str]],
        config: Sequence[Sequence[str]],
        toolchain: Sequence[Sequence[str]],
        cell: Sequence[str],
        profile: str,
        **rest: Any,
    ) -> Any:
        from ..matrix.load import Wanted

        loaded, kernels = load(matrix_file, kernel)
        wanted = Wanted(
            arch=flatten(arch),
            kernel=kernels,
            board=flatten(board),
            config=flatten(config),
            toolchain=flatten(toolchain),
            cells=tuple(cell),
            profile=profile,
        )
        return command(
            loaded=loaded, wanted=wanted, arguments=arguments(matrix_file, kernel), **rest
        )

    many = functools.partial(click.option, type=Names(), multiple=True, metavar="NAME[,NAME…]")
    for option in reversed(
        [
            many("--arch", help="Architectures."),
            click.option(
                "--kernel",
                multiple=True,
                metavar="NAME|PATH[@REF]",
                help="Kernels of the matrix, or your own tree (only ever read), at a git ref.",
            ),
            many("--board", help="Boards."),
            many("--config", help="Configs."),
            many("--toolchain", help="Toolchains, e.g. gcc."),
            click.option("--cell", multiple=True, metavar="GLOB", help="Cell ids or globs."),
            click.option(
                "--profile",
                default="",
                metavar="NAME",
                help="Profile of the matrix: smoke (default), nightly, …",
            ),
            matrix_option,
        ]
    ):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def shard_options(command: F) -> F:
    """--shard and --durations."""
    for option in (
        click.option(
            "--durations",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="What cells cost, for --shard: 'xipmatrix durations'. The same for all shards.",
        ),
        click.option(
            "--shard",
            type=ShardType(),
            metavar="I/N",
            help="Only part I of N, which cost about the same; I from 1 to N.",
        ),
    ):
        command = option(command)
    return command


def shards_of(
    cells: Sequence[Cell], shard: Shard | None, durations: Path | None
) -> Sequence[Sequence[Cell]]:
    """`cells` cut into shards; all in one where no shard is asked for. Raises UsageError."""
    from ..schedule import cut, read_durations

    if durations and not shard:
        raise click.UsageError("--durations is for --shard I/N: it says how cells are shared out")
    if not shard:
        return [cells]
    return cut(cells, shard.count, read_durations(durations) if durations else {})


def arguments(matrix_file: Path, kernel: Sequence[str]) -> str:
    """Words that another command needs to mean the same cells."""
    own = [text for text in kernel if is_path(text)]
    words = shlex.join([word for text in own for word in ("--kernel", text)])
    return " ".join(filter(None, (words, matrix_arguments(matrix_file))))


def matrix_arguments(matrix_file: Path) -> str:
    """What chooses this matrix again; empty for this checkout's."""
    own = matrix_file.resolve() != project_dir() / "matrix.yaml"
    return shlex.join(["--matrix", str(matrix_file)]) if own else ""


def is_path(text: str) -> bool:
    """Whether a ``--kernel`` is a tree of the user's, not a name of the matrix."""
    return "/" in text or text.startswith((".", "~")) or Path(text.split("@")[0]).exists()


def load(matrix_file: Path, kernel: Sequence[str]) -> tuple[LoadedMatrix, tuple[str, ...]]:
    """The matrix, with kernels that the command line gives as PATH[@REF] added to it."""
    from ..matrix.load import load_matrix, unknown

    plain = load_matrix(matrix_file, templates_dir())
    names: list[str] = []
    extra: dict[str, Kernel] = {}
    for text in (part for group in kernel for part in _split_kernels(group)):
        if text in plain.matrix.kernels:
            names.append(text)
        elif is_path(text):
            from ..kernel import from_argument  # late: it takes a fifth of the time of 'list'

            name, spec = from_argument(text, {*plain.matrix.kernels, *extra})
            extra[name] = spec
            names.append(name)
        else:
            raise unknown("kernel", text, plain.matrix.kernels, matrix_file)
    if not extra:
        return plain, tuple(names)
    return load_matrix(matrix_file, templates_dir(), extra), tuple(names)


def _split_kernels(text: str) -> list[str]:
    # A path may hold a comma; a matrix name may not.
    parts = [text] if "/" in text else text.split(",")
    if "" in parts:
        raise click.BadParameter("no name is given", param_hint="'--kernel'")
    return parts
