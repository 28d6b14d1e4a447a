# SPDX-License-Identifier: GPL-2.0-only
"""One mutant on trial: made, and judged as the product judges a cell."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xipmatrix.build.compile import Built
from xipmatrix.build.kconfig import parse_config
from xipmatrix.build.toolchain import Toolchain
from xipmatrix.core.evidence import CellFailure, Evidence, Verdict
from xipmatrix.core.files import key_of
from xipmatrix.image import static_evidence
from xipmatrix.machine.console import Limits
from xipmatrix.machine.init import PROGRAMS
from xipmatrix.matrix.model import Board, Cell
from xipmatrix.pipeline import Pipeline, boot_once
from xipmatrix.stagecache import StageCache
from xipmatrix.verdict import decide, judge

from .binary import Program
from .model import HERE, Mutant, Suite
from .workshop import Workshop

# A broken kernel is given up soon; what must pass gets the time a busy machine may need.
IMPATIENT, PATIENT = Limits(silence=5, total=60), Limits()


@dataclass(frozen=True)
class Bench:
    """A sound cell, what its build left, and what mutants of it are made with.

    `pipeline` makes a pipeline of the product with the limits given, for cells that are to
    go all its way.
    """

    cell: Cell
    built: Built
    toolchain: Toolchain
    source: Path
    commit: str
    templates: Path
    cache: Path
    pipeline: Callable[[Limits], Pipeline]


@dataclass(frozen=True)
class Outcome:
    """What the judge said: `failed` evidence by name, the one that decided first."""

    verdict: Verdict
    reason: str
    failed: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def decided(self) -> str:
        """The name of the evidence that decided; empty where all holds."""
        return self.failed[0] if self.failed else ""

    @property
    def declared(self) -> list[str]:
        """What was executed from RAM as declared."""
        for one in self.evidence:
            if one.name == "in-place":
                return list(one.figures["declared_symbols"])
        return []

    def wrong(self, suite: Suite, mutant: Mutant) -> list[str]:
        """What is not as the suite wants it, in words; empty where all is."""
        wanted, may = suite.expand(mutant.fails), set(suite.expand(mutant.may))
        found = []
        if self.verdict is not mutant.expect:
            found.append(f"verdict {self.verdict}, not {mutant.expect}")
        if wanted and self.decided != wanted[0]:
            found.append(f"decided by {self.decided or 'nothing'}, not {wanted[0]}")
        if missing := set(wanted) - set(self.failed):
            found.append(f"holds, but should not: {', '.join(sorted(missing))}")
        if surplus := set(self.failed) - set(wanted) - may:
            found.append(f"fails, but should not: {', '.join(sorted(surplus))}")
        if not re.search(mutant.says, self.reason):
            found.append(f"the reason does not say {mutant.says!r}")
        for name in mutant.names:
            if not any(re.search(name, one) for one in self.declared):
                found.append(f"{name!r} is not named among what ran in RAM: {self.declared}")
        return found


def try_mutant(suite: Suite, mutant: Mutant, arch: str, bench: Bench, folder: Path) -> Outcome:
    """Make `mutant` of the bench's cell and judge it; logs and images go to `folder`."""
    cell = _on_board(bench.cell, mutant, arch, bench.built)
    limits = PATIENT if mutant.expect is Verdict.PASS else IMPATIENT
    if mutant.kind == "config":
        return _by_pipeline(_configured(cell, mutant, arch), bench.pipeline(limits))
    try:
        built = _built(suite, mutant, arch, replace(bench, cell=cell), folder)
        return _judged(cell, built, folder, limits, bench.templates, mutant.bootargs)
    except CellFailure as failure:
        return Outcome(failure.verdict, failure.reason, ("stage build",))


def _judged(
    cell: Cell, built: Built, folder: Path, limits: Limits, templates: Path, bootargs: str
) -> Outcome:
    """The stages image, boot and verdict, as the pipeline has them."""
    options = parse_config((built.folder / "config").read_text())
    static = static_evidence(cell, options, built.vmlinux, built.image)
    judged = decide(static)
    if judged.verdict is Verdict.PASS:
        try:
            seen = boot_once(cell, built, folder, limits, templates, extra_args=bootargs)
        except CellFailure as failure:
            return Outcome(failure.verdict, failure.reason, ("stage boot",))
        judged = judge(cell, seen, built.vmlinux, static)
    return _outcome(judged.verdict, judged.reason, judged.evidence)


def _outcome(verdict: Verdict, reason: str, evidence: tuple[Evidence, ...]) -> Outcome:
    failed = [one.name for one in evidence if not one.holds and not one.advisory]
    decided = reason.split(":")[0]
    failed.sort(key=lambda name: name != decided)
    return Outcome(verdict, reason, tuple(failed), evidence)


# --- by the product's own pipeline ----------------------------------------------------------


def _configured(cell: Cell, mutant: Mutant, arch: str) -> Cell:
    """The cell with more configuration, and with an init that is compiled with a header."""
    lines = [*cell.board_spec.config, *(mutant.of(mutant.config, arch) or ())]
    board = cell.board_spec.model_copy(update={"config": lines})
    update: dict[str, Any] = {"board_spec": board, "board": mutant.name}
    if mutant.include:
        init = cell.arch_spec.init
        flags = [*init.cflags, "-include", str(HERE / mutant.include)]
        own = init.model_copy(update={"cflags": flags})
        update["arch_spec"] = cell.arch_spec.model_copy(update={"init": own})
    return cell.model_copy(update=update)


def _by_pipeline(cell: Cell, pipeline: Pipeline) -> Outcome:
    result = pipeline.run_cell(cell)
    verdict = result.verdict or Verdict.PASS
    evidence = tuple(result.evidence)
    if verdict is not Verdict.PASS and all(one.holds for one in evidence):
        return Outcome(verdict, result.reason, (f"stage {result.stages[-1].stage}",))
    return _outcome(verdict, result.reason, evidence)


# --- made here ------------------------------------------------------------------------------


def _on_board(cell: Cell, mutant: Mutant, arch: str, built: Built) -> Cell:
    changes = mutant.of(mutant.board, arch) or {}
    old = cell.board_spec
    if mutant.room is not None:
        used = old.xip_phys_addr - old.flash.base + built.image.stat().st_size
        changes = {**changes, "flash": {"size": used + mutant.room}}
    if not changes:
        return cell
    board = Board.model_validate(_merged(old.model_dump(), changes))
    return cell.model_copy(update={"board_spec": board})


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(old)
    for key, value in new.items():
        both[key] = _merged(both[key], value) if isinstance(value, Mapping) else value
    return both


def _built(suite: Suite, mutant: Mutant, arch: str, bench: Bench, folder: Path) -> Built:
    built = bench.built
    if mutant.kind == "patch":
        built = _rebuilt(mutant, arch, bench)
    if mutant.kind in ("binary", "board"):
        built = _changed(suite, mutant, arch, bench, built, folder)
    return built


def _changed(
    suite: Suite, mutant: Mutant, arch: str, bench: Bench, built: Built, folder: Path
) -> Built:
    """Copies of a build's files, changed."""
    if (built.folder / PROGRAMS).is_dir():
        shutil.copytree(built.folder / PROGRAMS, folder / PROGRAMS)
    own = replace(built, folder=folder, image=folder / "xipImage", vmlinux=folder / "vmlinux")
    for name in ("xipImage", "vmlinux", "config"):
        shutil.copyfile(built.folder / name, folder / name)
    board = bench.cell.board_spec
    edits = mutant.of(mutant.edits, arch) or ()
    if edits or mutant.flip:
        assembler = suite.assemblers[arch]
        program = Program(own.vmlinux, own.image, board, assembler, bench.toolchain.prefix)
        for edit in edits:
            program.apply(edit)
        if mutant.flip:
            program.flip_in_image(mutant.flip)
    if mutant.cut:
        own.image.write_bytes(own.image.read_bytes()[: -mutant.cut])
    return own


def _rebuilt(mutant: Mutant, arch: str, bench: Bench) -> Built:
    """A build of the cell with patches and other configuration, kept like any stage."""
    patches = [HERE / name for name in mutant.of(mutant.patches, arch) or ()]
    lines = mutant.of(mutant.config, arch) or []
    config = bench.built.folder / "config"
    tools = [bench.toolchain.make_args, bench.toolchain.version]
    place = bench.cache / "stages" / "mutant-workshop" / f"{arch}-{key_of(bench.commit, *tools)}"
    workshop = Workshop(place, bench.source, bench.cell, bench.toolchain)

    def make(work: Path) -> None:
        workshop.build(config, patches, lines, work)
        if (bench.built.folder / PROGRAMS).is_dir():
            shutil.copytree(bench.built.folder / PROGRAMS, work / PROGRAMS)

    kept = StageCache(bench.cache / "stages").get(
        "mutant",
        {
            "commit": bench.commit,
            "config": config.read_text(),
            "tools": tools,
            "patches": [patch.read_text() for patch in patches],
            "lines": lines,
        },
        make,
    )
    folder = kept.folder
    return replace(
        bench.built, folder=folder, image=folder / "xipImage", vmlinux=folder / "vmlinux"
    )
