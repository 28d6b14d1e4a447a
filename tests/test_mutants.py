# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that are broken on purpose, and sound ones that look odd: mutants/mutants.yaml.

The short ones take no build and run with the other tests of kernels; all of them with
``tox -e mutants``. A table of what was expected and got comes at the end.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import JOBS, TEMPLATES, tell
from conftest import built as build_cell
from mutants import Bench, Mutant, load_suite, try_mutant
from xipmatrix.build import toolchain
from xipmatrix.build.compile import Built
from xipmatrix.core.files import cache_dir
from xipmatrix.machine.console import Limits
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Options, Pipeline
from xipmatrix.result import Stage
from xipmatrix.store import Store

SUITE = load_suite()


def cases() -> list[object]:
    found = []
    for mutant in SUITE.mutants:
        marks = [pytest.mark.mutants, *([pytest.mark.kernel] if mutant.short else [])]
        for arch in mutant.arch:
            reason = mutant.pending.get(arch)
            waits = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            name = f"{mutant.name}-{arch}"
            found.append(pytest.param(mutant, arch, id=name, marks=[*marks, *waits]))
    return found


def bench(mutant: Mutant, arch: str, request: pytest.FixtureRequest, folder: Path) -> Bench:
    """The sound cell of `arch` that `mutant` is made of, and what it is made with."""
    pipeline: Pipeline = request.getfixturevalue("pipeline")
    pair: tuple[Cell, Built]
    if mutant.cell:
        pair = build_cell(pipeline, f"7.3/{arch}/{mutant.cell}/gcc")
    else:
        pair = request.getfixturevalue(f"{arch.replace('-', '_')}_cell")
    cell, built = pair
    prepared = pipeline.prepared(cell.kernel)

    def until_verdict(limits: Limits) -> Pipeline:
        options = Options(
            jobs=JOBS,
            until=Stage.VERDICT,
            again=True,
            ccache=False,
            silence_seconds=limits.silence,
            boot_seconds=limits.total,
        )
        run = Store(folder / "run").new_run()
        return replace(pipeline, run=run, options=options, tell=tell)

    return Bench(
        cell=cell,
        built=built,
        toolchain=toolchain.of_cell(cell),
        source=pipeline.source(cell, prepared),
        commit=prepared.tip(cell.series),
        templates=TEMPLATES,
        cache=cache_dir(),
        pipeline=until_verdict,
    )


@pytest.mark.parametrize(("mutant", "arch"), cases())
def test_mutant(
    mutant: Mutant,
    arch: str,
    request: pytest.FixtureRequest,
    record_property: pytest.Function,
    tmp_path: Path,
) -> None:
    outcome = try_mutant(SUITE, mutant, arch, bench(mutant, arch, request, tmp_path), tmp_path)
    evidence = f"{outcome.reason.splitlines()[0]}" if outcome.reason else ""
    if mutant.names:
        evidence = f"in RAM: {', '.join(outcome.declared)}"
    wrong = outcome.wrong(SUITE, mutant)
    row = [mutant.name, arch, str(mutant.expect), str(outcome.verdict), evidence, "; ".join(wrong)]
    record_property("mutant", row)
    assert not wrong, f"{'; '.join(wrong)}\nreason: {outcome.reason}\nfailed: {outcome.failed}"
