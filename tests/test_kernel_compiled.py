# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's own build has to say against a series: a sound one, and a broken one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import JOBS, TEMPLATES
from xipmatrix.build import toolchain as toolchains
from xipmatrix.build.config import xip_fragment
from xipmatrix.core.files import cache_dir
from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree, checkout, obtain
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.upstream import Check, Compiler
from xipmatrix.upstream.compiled import Sources, compiled_checks, warning_checks

# Minutes, most of them for the documentation: with the mutants.
pytestmark = pytest.mark.mutants

KCONFIG = """
config XIP_TEST_NEEDED
	bool
	depends on XIP_KERNEL && !XIP_KERNEL

config XIP_TEST
	def_bool y
	select XIP_TEST_NEEDED
"""
BINDING = "Documentation/devicetree/bindings/rng/xip-test.yaml"
TEXTS = {
    "init/main.c": "int xip_test(void);\nint xip_test(void) { return 0; }\n",
    "init/Kconfig": "\nconfig XIP_TEST\n\tdef_bool y\n",
    "Documentation/admin-guide/bug-hunting.rst": "\nNothing\n-------\n\nAt all.\n",
    BINDING: """\
# SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
%YAML 1.2
---
$id: http://devicetree.org/schemas/rng/xip-test.yaml#
$schema: http://devicetree.org/meta-schemas/core.yaml#

title: Nothing

description: It is only here to be looked at.

maintainers:
  - A Developer <dev@example.com>

properties:
  compatible:
    const: linux,xip-test

required:
  - compatible

additionalProperties: false
""",
}
BROKEN = {
    "init/main.c": "int xip_test(void) { return 0; }\n",
    "init/Kconfig": KCONFIG,
    "Documentation/admin-guide/bug-hunting.rst": "\nNothing at all\n------\n\nWhatever.\n",
    BINDING: TEXTS[BINDING].replace("const: linux,xip-test", "const: [linux,xip-test"),
}


def sources_of(texts: dict[str, str], linux: KernelTree, folder: Path) -> Sources:
    """A commit that appends `texts` to its files, and the one below it."""
    repository = Repository(linux.git_dir)
    files = {
        path: ("100644", (repository.text(f"{linux.commit}:{path}") or "") + text)
        for path, text in texts.items()
    }
    change = Change("A commit\n", "2026-01-01T00:00:00Z", files)
    (tip,) = repository.commit_changes(linux.commit, [change])
    sources = Sources(
        checkout(linux.git_dir, tip, cache_dir(), print),
        lambda: checkout(linux.git_dir, linux.commit, cache_dir(), print),
        list(texts),
        folder / "work",
        folder / "logs",
        JOBS,
    )
    sources.work.mkdir(parents=True)
    return sources


def compiler(loaded: LoadedMatrix, linux: KernelTree) -> Compiler:
    (cell,) = loaded.select(Wanted(cells=("7.3/arm/virt/tiny/gcc",)))
    make = tuple(toolchains.of_cell(cell).make_args)
    return Compiler("arm", "arm", make, xip_fragment(cell, linux.release, TEMPLATES))


def checks_of(
    texts: dict[str, str], loaded: LoadedMatrix, linux: KernelTree, folder: Path
) -> dict[str, Check]:
    sources = sources_of(texts, linux, folder)
    found = compiled_checks(sources, [compiler(loaded, linux)], print)
    return {one.name: one for one in found}


def test_a_sound_series_is_let_through(
    loaded: LoadedMatrix, linux: KernelTree, tmp_path: Path
) -> None:
    found = checks_of(TEXTS, loaded, linux, tmp_path)
    sparse = found.pop("sparse for arm")
    # Whether the kernel takes it depends on the machine; either way it is said.
    assert sparse.found.startswith("ran with W=1" if sparse.holds else "this kernel does not take")
    assert {one.name: one.found for one in found.values() if not one.holds} == {}
    assert found["W=1 for arm"].found == "1 files, nothing new"
    assert found["device tree bindings"].found == "1 are valid"


def test_each_fault_is_named(loaded: LoadedMatrix, linux: KernelTree, tmp_path: Path) -> None:
    found = checks_of(BROKEN, loaded, linux, tmp_path)
    del found["sparse for arm"]
    assert [one.name for one in found.values() if one.holds] == []
    assert "allnoconfig: WARNING: unmet direct" in found["Kconfig of arm"].found
    assert "XIP_TEST_NEEDED" in found["Kconfig of arm"].found
    assert "randconfig, seed 1, with XIP: " in found["Kconfig of arm"].found
    warnings = found["W=1 for arm"].found.splitlines()
    assert [one.partition(":")[0] for one in warnings] == ["allmodconfig", "XIP"]
    # allmodconfig has WERROR.
    named = r"init/main\.c: (warning|error): no previous prototype"
    assert all(re.search(named, one) for one in warnings)
    assert "bug-hunting.rst" in found["documentation"].found
    assert "underline too short" in found["documentation"].found
    assert BINDING in found["device tree bindings"].found


SPARSE = """\
static int xip_read(int __user *p)
{
	return *p;
}
int xip_test(int __user *p);
int xip_test(int __user *p) { return xip_read(p); }
"""


def test_what_only_sparse_sees(loaded: LoadedMatrix, tmp_path: Path) -> None:
    """On 6.12, which takes the sparse of older systems, too."""
    linux = obtain("6.12", loaded.kernels["6.12"], cache_dir(), print)
    sources = sources_of({"init/main.c": SPARSE}, linux, tmp_path)
    warnings, sparse = warning_checks(sources, compiler(loaded, linux), print)
    assert sparse.holds and sparse.found.startswith("ran with W=1")
    assert warnings.found.splitlines() == [
        f"{kind}: init/main.c: warning: dereference of noderef expression"
        for kind in ("allmodconfig", "XIP")
    ]
