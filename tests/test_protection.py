# SPDX-License-Identifier: GPL-2.0-only
"""A kernel with STRICT_KERNEL_RWX that does not keep what that promises is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_support import make_vmlinux, memory_cell
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.machine.pagetables import Mapping, View
from xipmatrix.machine.ramscan import Kernel
from xipmatrix.verdict.protection import protection

BASE = 0xBF000000
RODATA, RO_AFTER_INIT = 0xBF020000, 0xC0010000
SYMBOLS = {
    "mark_rodata_ro": 0xBF010004,
    "__start_rodata": RODATA,
    "__end_rodata": RODATA + 0x800,
    "__start_ro_after_init": RO_AFTER_INIT,
    "__end_ro_after_init": RO_AFTER_INIT + 0x1000,
}
CODE = Mapping(BASE, 0, 0x20000, writable=False, executable=True)
CONSTANTS = Mapping(RODATA, 0x20000, 0x1000, writable=False, executable=False)
SEALED = Mapping(RO_AFTER_INIT, 0x40010000, 0x1000, writable=False, executable=False)
DATA = Mapping(RO_AFTER_INIT + 0x1000, 0x40011000, 0x1000, writable=True, executable=False)
GOOD = (CODE, CONSTANTS, SEALED, DATA)


def seen(
    folder: Path,
    *mappings: Mapping,
    symbols: dict[str, int] = SYMBOLS,
    strict_modules: bool = False,
) -> list[Evidence]:
    vmlinux = make_vmlinux(folder, symbols=symbols).path
    cell = memory_cell()
    return protection(
        cell,
        "userspace",
        Kernel.read(vmlinux, cell.arch_spec),
        View("a test", mappings),
        strict_modules=strict_modules,
    )


def test_a_kernel_that_keeps_it(tmp_path: Path) -> None:
    (found,) = seen(tmp_path, *GOOD)
    assert found.holds
    assert found.name == "protection-userspace"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Mapping(0xC0020000, 0x40020000, 0x1000, True, True), "writable and executable"),
        (Mapping(RODATA, 0x20000, 0x1000, False, True), "read-only data can be executed"),
        (Mapping(0xC0F00000, 0x20000, 0x1000, False, True), "read-only data can be executed"),
        (Mapping(RO_AFTER_INIT, 0x40010000, 0x1000, True, False), "after init can be written"),
        # The linear mapping of the same memory.
        (Mapping(0xD0010000, 0x40010000, 0x1000, True, False), "after init can be written"),
    ],
)
def test_what_breaks_it(tmp_path: Path, wrong: Mapping, says: str) -> None:
    rest = [one for one in GOOD if one.virtual != wrong.virtual]
    (found,) = seen(tmp_path, *rest, wrong)
    assert (found.holds, found.breaks) == (False, Verdict.UNPROTECTED)
    assert says in found.summary


def test_what_cannot_be_seen_is_not_taken_for_granted(tmp_path: Path) -> None:
    (found,) = seen(tmp_path, CODE, SEALED, DATA)
    assert not found.holds
    assert "nothing is mapped at 0xbf020000" in found.summary


def test_without_the_symbols(tmp_path: Path) -> None:
    few = {"mark_rodata_ro": SYMBOLS["mark_rodata_ro"]}
    (found,) = seen(tmp_path, *GOOD, symbols=few)
    assert not found.holds
    assert "vmlinux does not say where it is" in found.summary


def test_user_programs_are_not_the_kernels(tmp_path: Path) -> None:
    (found,) = seen(tmp_path, *GOOD, Mapping(0x10000, 0x40020000, 0x1000, True, True))
    assert found.holds


def test_a_kernel_that_promises_nothing(tmp_path: Path) -> None:
    symbols = {name: at for name, at in SYMBOLS.items() if name != "mark_rodata_ro"}
    assert seen(tmp_path, *GOOD, symbols=symbols) == []


MODULES = SYMBOLS | {"load_module": 0xBF010008}
# Behind the data of make_vmlinux() is the end of it: the linker says so.
IMAGE = Mapping(0xC0008000, 0x40008000, 0x8000, writable=True, executable=False)
MODULE = Mapping(0xBF800000, 0x40080000, 0x1000, writable=True, executable=True)


@pytest.mark.parametrize("strict", [False, True])
def test_modules_are_protected_by_an_option_of_their_own(tmp_path: Path, strict: bool) -> None:
    (found,) = seen(tmp_path, *GOOD, IMAGE, MODULE, symbols=MODULES, strict_modules=strict)
    assert found.holds != strict


def test_memory_of_a_kernel_without_modules_is_its_own(tmp_path: Path) -> None:
    (found,) = seen(tmp_path, *GOOD, MODULE)
    assert not found.holds


@pytest.mark.parametrize(
    "wrong",
    [
        # The linear mapping of the kernel's data, flash, and what ends where the data begins.
        Mapping(0xD0009000, 0x40009000, 0x1000, True, True),
        Mapping(0xD8000000, 0x1000, 0x1000, True, True),
        Mapping(0xC0000000, 0x40000000, 0x10000, True, True),
    ],
)
def test_the_image_is_protected_without_strict_modules(tmp_path: Path, wrong: Mapping) -> None:
    (found,) = seen(tmp_path, *GOOD, IMAGE, wrong, symbols=MODULES)
    assert not found.holds
    assert "writable and executable" in found.summary


def test_where_the_image_ends_is_not_guessed(tmp_path: Path) -> None:
    """Nothing of it is mapped: then all of RAM may be."""
    (found,) = seen(tmp_path, *GOOD, MODULE, symbols=MODULES)
    assert not found.holds
