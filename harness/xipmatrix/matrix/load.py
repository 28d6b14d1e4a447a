# SPDX-License-Identifier: GPL-2.0-only
"""matrix.yaml and templates/<arch>/arch.yaml → cells."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

from ..core import yamlfile
from ..core.errors import UsageError
from ..core.evidence import FIGURES, Verdict
from ..core.files import find_inside
from ..core.host import installed_version
from ..core.yamlfile import place
from .model import Arch, Board, Cell, Kernel, KnownFailure, Matrix, Rule

DEFAULT_PROFILE = "smoke"
_MOST_NAMES = 12


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; an empty tuple asks for everything.

    Names are exact, `cells` are ids or globs. The default profile counts unless cells,
    boards, configs or toolchains are named; named kernels take the place of its own.
    """

    arch: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    board: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    toolchain: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    profile: str = ""


@dataclass(frozen=True)
class LoadedMatrix:
    """A matrix.yaml that holds together: every name in it means something.

    `today` (UTC) says which declared failures have expired.
    """

    path: Path
    matrix: Matrix
    archs: dict[str, Arch]
    extra_kernels: dict[str, Kernel] = field(default_factory=dict)
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """The matrix's kernels and those given on the command line."""
        return {**self.matrix.kernels, **self.extra_kernels}

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in the order of matrix.yaml; own kernels take the newest kernel's rules."""
        found: dict[str, Cell] = {}
        newest = next(iter(self.matrix.kernels))
        for rule in self.matrix.cells:
            names = list(rule.kernel)
            if newest in names:
                names += self.extra_kernels
            for cell in self._product(rule, names):
                found.setdefault(cell.id, cell)
        return tuple(found.values())

    def _product(self, rule: Rule, kernels: Sequence[str]) -> Iterable[Cell]:
        arch = self.archs[rule.arch]
        boards = self.matrix.boards[rule.arch]
        for kernel in kernels:
            for board in rule.board:
                arch_spec = arch.on(boards[board])
                for config in rule.config:
                    for toolchain in rule.toolchain:
                        cell = Cell(
                            kernel=kernel,
                            arch=rule.arch,
                            board=board,
                            config=config,
                            toolchain=toolchain,
                            kernel_spec=self.kernels[kernel],
                            arch_spec=arch_spec,
                            board_spec=boards[board],
                            config_spec=self.matrix.configs[config],
                        )
                        known = self._known(cell.id)
                        yield cell.model_copy(update=self._expectation(known)) if known else cell

    def _known(self, cell_id: str) -> KnownFailure | None:
        for known in self.matrix.known_failures:
            if fnmatch.fnmatchcase(cell_id, known.cell):
                return known
        return None

    def _expectation(self, known: KnownFailure) -> dict[str, object]:
        """What a declaration does to its cell: nothing any more once it has expired."""
        if self.today > known.expires:
            reason = f"(the declaration expired on {known.expires}) {known.reason}"
            return {"known_reason": reason}
        return {"expected": known.verdict, "known_reason": known.reason}

    def of_kernel(self, cell: Cell, kernel: str) -> Cell:
        """`cell`, but of another kernel, with what is known of it there."""
        data: dict[str, object] = {"kernel": kernel, "kernel_spec": self.kernels[kernel]}
        moved = cell.model_copy(update={**data, "expected": ["pass"], "known_reason": ""})
        known = self._known(moved.id)
        return moved.model_copy(update=self._expectation(known)) if known else moved

    def select(self, wanted: Wanted) -> list[Cell]:
        """The cells asked for, in order.

        Raises UsageError with the nearest names for an unknown name, and where
        nothing is left.
        """
        for what, given, known in (
            ("architecture", wanted.arch, self.archs),
            ("kernel", wanted.kernel, self.kernels),
            ("board", wanted.board, {b for all_ in self.matrix.boards.values() for b in all_}),
            ("config", wanted.config, self.matrix.configs),
            ("toolchain", wanted.toolchain, {c.toolchain for c in self.cells}),
        ):
            for name in given:
                if name not in known:
                    raise unknown(what, name, known, self.path)
        chosen = [
            cell
            for cell in self.cells
            if all(
                not given or value in given
                for given, value in (
                    (wanted.arch, cell.arch),
                    (wanted.kernel, cell.kernel),
                    (wanted.board, cell.board),
                    (wanted.config, cell.config),
                    (wanted.toolchain, cell.toolchain),
                )
            )
        ]
        for pattern in wanted.cells:
            if not any(fnmatch.fnmatchcase(cell.id, pattern) for cell in self.cells):
                raise unknown("cell", pattern, [cell.id for cell in self.cells], self.path)
        if wanted.cells:
            chosen = [c for c in chosen if any(fnmatch.fnmatchcase(c.id, p) for p in wanted.cells)]
        profile = wanted.profile
        if not profile and not (wanted.cells or wanted.board or wanted.config or wanted.toolchain):
            profile = DEFAULT_PROFILE
        if profile:
            if profile not in self.matrix.profiles:
                raise unknown("profile", profile, self.matrix.profiles, self.path)
            globs = self.matrix.profiles[profile]
            chosen = [c for c in chosen if self._in_profile(c, globs, bool(wanted.kernel))]
        elif not wanted.kernel and not wanted.cells:
            chosen = [c for c in chosen if c.kernel not in self.extra_kernels]
        if not chosen:
            raise UsageError(
                "no cell is left by these filters" + (f" in profile {profile}" if profile else ""),
                where=self.path,
                hint="xipmatrix list --profile nightly shows every cell",
            )
        return chosen

    def _in_profile(self, cell: Cell, globs: Sequence[str], any_kernel: bool) -> bool:
        # Where the user names kernels, they take the place of the profile's own.
        kernels = self.matrix.kernels if any_kernel else (cell.kernel,)
        rest = cell.id.removeprefix(cell.kernel)
        return any(fnmatch.fnmatchcase(k + rest, glob) for k in kernels for glob in globs)


def unknown(what: str, name: str, known: Iterable[str], where: Path | str) -> UsageError:
    """A UsageError that offers the nearest of the `known` names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    hint = f"known: {', '.join(names[:_MOST_NAMES])}{rest}"
    if near:
        hint = f"did you mean {', '.join(near)}?"
    return UsageError(f"unknown {what} '{name}'", where=where, hint=hint)


def load_matrix(
    path: Path,
    templates: Path,
    extra_kernels: dict[str, Kernel] | None = None,
    version_of: Callable[[str], str | None] = installed_version,
) -> LoadedMatrix:
    """Read and cross-check `path` and the architectures it names.

    Boards are as the QEMU that is installed has them: `version_of` its binary, None where there
    is none. Raises UsageError that names file, line and key.
    """
    matrix = _fitted(yamlfile.load(path, Matrix), version_of)
    archs = {}
    for name in matrix.boards:
        arch_file = templates / name / "arch.yaml"
        if not arch_file.is_file():
            known = [p.parent.name for p in templates.glob("*/arch.yaml")]
            raise unknown("architecture", name, known, place(path, "boards", name))
        archs[name] = yamlfile.load(arch_file, Arch)
    loaded = LoadedMatrix(path, matrix, archs, extra_kernels or {})
    _cross_check(loaded, templates)
    return loaded


def _fitted(matrix: Matrix, version_of: Callable[[str], str | None]) -> Matrix:
    def fitted(board: Board) -> Board:
        version = version_of(board.qemu.binary) if board.since_qemu else None
        return board.fitted(version) if version else board

    boards = {
        arch: {name: fitted(board) for name, board in boards.items()}
        for arch, boards in matrix.boards.items()
    }
    return matrix.model_copy(update={"boards": boards})


def _cross_check(loaded: LoadedMatrix, templates: Path) -> None:
    matrix, path = loaded.matrix, loaded.path
    for number, rule in enumerate(matrix.cells):
        at = ("cells", number)
        if rule.arch not in loaded.archs:
            raise unknown("architecture", rule.arch, loaded.archs, place(path, *at, "arch"))
        for what, given, known in (
            ("kernel", rule.kernel, matrix.kernels),
            ("board", rule.board, matrix.boards[rule.arch]),
            ("config", rule.config, matrix.configs),
            ("toolchain", rule.toolchain, loaded.archs[rule.arch].toolchains),
        ):
            for name in given:
                if name not in known:
                    raise unknown(what, name, known, place(path, *at, what))
        compared = [name for name in rule.config if matrix.configs[name].compare is not None]
        if compared and not loaded.archs[rule.arch].normal_image:
            raise UsageError(
                f"config '{compared[0]}' compares with a normal kernel, and none of {rule.arch} "
                "is known",
                where=place(path, *at, "config"),
                hint=f"say its normal_image in templates/{rule.arch}/arch.yaml",
            )
        for name in rule.config:
            asked = matrix.configs[name].instructions
            _check_instructions(loaded, rule.arch, asked, "configs", name)
        for name in rule.board:
            asked = matrix.boards[rule.arch][name].instructions
            _check_instructions(loaded, rule.arch, asked, "boards", rule.arch, name)
    for name in matrix.thresholds:
        if name not in FIGURES:
            raise unknown("figure", name, FIGURES, place(path, "thresholds", name))
    _check_globs(loaded)
    _check_known_failures(loaded)
    _check_workloads(loaded)
    _check_templates(loaded, templates)


def _check_instructions(loaded: LoadedMatrix, arch: str, asked: Sequence[str], *where: str) -> None:
    spec = loaded.archs[arch].instructions
    known = spec.encodings if spec else {}
    for one in asked:
        if one not in known:
            raise unknown("instruction", one, known, place(loaded.path, *where, "instructions"))


def _check_globs(loaded: LoadedMatrix) -> None:
    globs: list[tuple[str, tuple[str | int, ...]]] = [
        (glob, ("profiles", name, number))
        for name, profile in loaded.matrix.profiles.items()
        for number, glob in enumerate(profile)
    ]
    for number, known in enumerate(loaded.matrix.known_failures):
        globs.append((known.cell, ("known_failures", number, "cell")))
    ids = [cell.id for cell in loaded.cells]
    for glob, keys in globs:
        if not any(fnmatch.fnmatchcase(one, glob) for one in ids):
            near = difflib.get_close_matches(glob, ids, 3, 0.5) or ids[:3]
            raise UsageError(
                f"'{glob}' matches no cell",
                where=place(loaded.path, *keys),
                hint=f"cells are called {', '.join(near)}",
            )


def _check_known_failures(loaded: LoadedMatrix) -> None:
    # A pass is no failure, and a fault of our side is none of the kernel's.
    allowed = [str(one) for one in Verdict if one not in (Verdict.PASS, Verdict.INFRASTRUCTURE)]
    matrix, path = loaded.matrix, loaded.path
    for number, known in enumerate(matrix.known_failures):
        for verdict in known.verdict:
            if verdict not in allowed:
                where = place(path, "known_failures", number, "verdict")
                raise unknown("verdict", verdict, allowed, where)
    for cell in loaded.cells:
        said = [
            (number, known.verdict)
            for number, known in enumerate(matrix.known_failures)
            if fnmatch.fnmatchcase(cell.id, known.cell)
        ]
        for number, verdicts in said[1:]:
            if set(verdicts) != set(said[0][1]):
                raise UsageError(
                    f"{cell.id} is declared twice: as {' or '.join(said[0][1])} "
                    f"and as {' or '.join(verdicts)}",
                    where=place(path, "known_failures", number, "cell"),
                )


def _check_workloads(loaded: LoadedMatrix) -> None:
    for cell in loaded.cells:
        if "cramfs" in cell.config_spec.workload and cell.board_spec.flash.filesystem is None:
            raise UsageError(
                f"{cell.id}: config '{cell.config}' wants a cramfs in flash, and the board has "
                "no place for it",
                where=place(loaded.path, "boards", cell.arch, cell.board, "flash"),
                hint="say its offset, behind xipImage, in flash.filesystem",
            )


def _check_templates(loaded: LoadedMatrix, templates: Path) -> None:
    """Fragments and reset stubs that the cells name are there, and inside their folders."""
    named: dict[tuple[str | int, ...], tuple[str, list[Path]]] = {}
    for cell in loaded.cells:
        folders = [templates / name for name in cell.template_folders]
        for number, name in enumerate(cell.config_spec.fragments):
            # By architecture: each may have a fragment of that name, or the generic one.
            at = ("configs", cell.config, "fragments", number, cell.arch)
            named[at] = (f"{name}.config.j2", folders)
        if cell.board_spec.reset_stub:
            stub = ("boards", cell.arch, cell.board, "reset_stub")
            named[stub] = (cell.board_spec.reset_stub, folders)
    for keys, (name, folders) in named.items():
        try:
            find_inside(folders, name)
        except UsageError as error:
            where = place(loaded.path, *keys[:4])
            raise UsageError(
                f"{error.where}: {error.what}", where=where, hint=error.hint
            ) from error
