# SPDX-License-Identifier: GPL-2.0-only
"""Tables that rewrite text: harmless ones pass, every one that leads into flash is found."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from image_support import CONFIG, evidence, failing, link, patch_section
from xipmatrix.core.errors import UsageError
from xipmatrix.core.evidence import Verdict
from xipmatrix.core.yamlfile import parse
from xipmatrix.image.elf import Image, Section
from xipmatrix.image.patch_sites import Layout, PatchSites, Table, patch_sites

RISCV: dict[str, Any] = {"kernel_arch": "riscv"}
FAILS = {"patch-sites": Verdict.IMAGE_INVALID}


def table(section: str, start: str = "", stop: str = "") -> str:
    """An output section with its bounds, as linker scripts write it."""
    begin, end = (f"{name} = .; " if name else "" for name in (start, stop))
    return f"{section} : {{ {begin}KEEP(*({section})) {end} }}"


# patcher: arch, .config, entry as assembler (%s: what is to be patched), output section, bits
SITES: dict[str, tuple[str, list[str], str, str, int]] = {
    "jump-label": (
        "riscv",
        ["JUMP_LABEL", "HAVE_ARCH_JUMP_LABEL_RELATIVE"],
        '.section __jump_table,"aw"\n.long %s - ., late - .\n.quad in_ram - .',
        table("__jump_table", "__start___jump_table", "__stop___jump_table"),
        64,
    ),
    "jump-label-absolute": (
        "arm",
        ["JUMP_LABEL"],
        '.section __jump_table,"aw"\n.long %s, late, in_ram',
        table("__jump_table"),
        32,
    ),
    "alternative": (
        "riscv",
        ["RISCV_ALTERNATIVE"],
        '.section .alternative,"a"\n.long %s - ., late - .\n.short 0x489, 4\n.long 7',
        table(".alternative", "__alt_start", "__alt_end"),
        64,
    ),
    "alternative-absolute": (
        "riscv",
        ["RISCV_ERRATA_ALTERNATIVE"],
        '.section .alternative,"a"\n.quad %s, late, 0x489, 4\n.long 7',
        table(".alternative"),
        64,
    ),
    "altinstructions": (
        "arm64",
        [],
        '.section .altinstructions,"a"\n.long %s - ., late - .\n.short 3\n.byte 4, 4',
        table(".altinstructions", "__alt_instructions", "__alt_instructions_end"),
        64,
    ),
    "ftrace": (
        "riscv",
        ["DYNAMIC_FTRACE"],
        '.section __mcount_loc,"aw"\n.quad %s',
        # As in INIT_DATA: no section of its own.
        ".init.data : { __start_mcount_loc = .; *(__mcount_loc) __stop_mcount_loc = .; }",
        64,
    ),
    "ftrace-orphan": (
        "riscv",
        ["DYNAMIC_FTRACE"],
        '.section __patchable_function_entries,"aw"\n.quad %s',
        table("__patchable_function_entries"),
        64,
    ),
    "static-call-site": (
        "x86",
        ["HAVE_STATIC_CALL_INLINE"],
        '.section .static_call_sites,"aw"\n.long %s - ., in_ram - .',
        table(".static_call_sites", "__start_static_call_sites", "__stop_static_call_sites"),
        64,
    ),
    "static-call-trampoline": (
        "arm64",
        ["HAVE_STATIC_CALL"],
        ".globl __SCT__tick\n.set __SCT__tick, %s",
        "",
        64,
    ),
    "runtime-const": (
        "riscv",
        [],
        '.section runtime_ptr_x,"a"\n.long %s - .',
        table("runtime_ptr_x", "__start_runtime_ptr_x", "__stop_runtime_ptr_x"),
        64,
    ),
    "pv-table": (
        "arm",
        ["ARM_PATCH_PHYS_VIRT"],
        '.section .pv_table,"a"\n.long %s - .',
        ".init.pv_table : { __pv_table_begin = .; *(.pv_table) __pv_table_end = .; }",
        32,
    ),
    "smp-on-up": (
        "arm",
        ["SMP_ON_UP"],
        '.section .alt.smp.init,"a"\n.long %s - ., 0xe1a00000',
        ".init.smpalt : { __smpalt_begin = .; *(.alt.smp.init) __smpalt_end = .; }",
        32,
    ),
    "integer-division": (
        "arm",
        ["ARM_PATCH_IDIV"],
        ".globl __aeabi_idiv\n.set __aeabi_idiv, %s",
        "",
        32,
    ),
    "synthesized-handlers": ("mips", [], ".globl clear_page\n.set clear_page, %s", "", 32),
}


def lay(folder: Path, entry: str, script: str, bits: int = 64) -> None:
    """Link with a table that lies where its flags say: in flash, or among writable data."""
    where = "ram" if '"aw"' in entry else "rom"
    link(folder, source=entry + "\n", bits=bits, **{where: script})


def config(options: list[str]) -> dict[str, str]:
    return {**CONFIG, **dict.fromkeys(options, "y")}


@pytest.mark.parametrize("case", SITES)
def test_a_table_that_leads_into_flash(tmp_path: Path, case: str) -> None:
    arch, options, entry, script, bits = SITES[case]
    lay(tmp_path, entry % "late", script, bits)
    chosen = {"kernel_arch": arch, "elf_machine": "EM_X86_64" if bits == 64 else "EM_386"}
    assert failing(tmp_path, config(options), chosen) == FAILS
    found = evidence(tmp_path, config(options), chosen)["patch-sites"]
    title = next(name for name in patch_sites().patchers if case.startswith(name))
    assert found.summary.startswith(f"text in flash would be rewritten by {title}: 1 in ")
    # clear_page and the like are the place themselves: they take late's own name.
    assert "(late)" in found.summary or not script
    # The same table, and nothing that applies it.
    if options:
        assert failing(tmp_path, CONFIG, chosen) == {}
    assert failing(tmp_path, config(options), {**chosen, "kernel_arch": "sh"}) in ({}, FAILS)


@pytest.mark.parametrize("case", SITES)
def test_a_table_that_leads_into_ram(tmp_path: Path, case: str) -> None:
    arch, options, entry, script, bits = SITES[case]
    lay(tmp_path, entry % "in_ram", script, bits)
    chosen = {"kernel_arch": arch, "elf_machine": "EM_X86_64" if bits == 64 else "EM_386"}
    assert failing(tmp_path, config(options), chosen) == {}
    assert "1 entries" in evidence(tmp_path, config(options), chosen)["patch-sites"].summary


def test_every_patcher_has_a_case() -> None:
    covered = {name for name in patch_sites().patchers for case in SITES if case.startswith(name)}
    assert covered == set(patch_sites().patchers)


@pytest.mark.parametrize("size", [7, 16], ids=["of no whole entries", "that lead nowhere"])
def test_a_table_that_cannot_be_decoded(tmp_path: Path, size: int) -> None:
    source = f'.section .alternative,"a"\n.fill {size}, 1, 0x11\n'
    link(tmp_path, source=source, rom=table(".alternative"))
    options = config(["RISCV_ALTERNATIVE"])
    assert failing(tmp_path, options, RISCV) == FAILS
    summary = evidence(tmp_path, options, RISCV)["patch-sites"].summary
    assert f"{size} bytes that cannot be decoded" in summary


def test_an_entry_without_a_place(tmp_path: Path) -> None:
    # What ftrace has of a weak function that another one replaced.
    _, options, _, script, _ = SITES["ftrace"]
    link(tmp_path, source='.section __mcount_loc,"aw"\n.quad 0\n', ram=script)
    assert failing(tmp_path, config(options), RISCV) == {}


# --- relocations ------------------------------------------------------------------------

# section type, entries. The linker takes such sections for its own: their type comes later.
RELOCATIONS = {
    "rela": (4, ".quad {}, 8, 0"),
    "rel": (9, ".quad {}, 8"),
    "relr": (19, ".quad {}"),
    # A place in RAM, a bitmap of the words behind it, the place in question.
    "relr-bitmap": (19, ".quad in_ram, 3, {}, 5"),
}


def relocations(folder: Path, kind: int, entries: str) -> None:
    link(folder, source=f'.section .dyn,"a"\n{entries}\n', rom=table(".dyn"))
    patch_section(folder, ".dyn", kind=kind, entry={4: 24, 9: 16, 19: 8}[kind])


@pytest.mark.parametrize(
    ("kind", "count"), [("rela", 1), ("rel", 1), ("relr", 1), ("relr-bitmap", 4)]
)
def test_a_dynamic_relocation_in_flash(tmp_path: Path, kind: str, count: int) -> None:
    number, entries = RELOCATIONS[kind]
    relocations(tmp_path, number, entries.format("late"))
    assert failing(tmp_path) == {"dynamic-relocations": Verdict.IMAGE_INVALID}
    assert "late" in evidence(tmp_path)["dynamic-relocations"].summary
    relocations(tmp_path, number, entries.format("in_ram"))
    assert failing(tmp_path) == {}
    assert evidence(tmp_path)["dynamic-relocations"].figures["relocations"] == count


def test_where_relr_leads(tmp_path: Path) -> None:
    # A place, the word behind it, and the word behind the 63 of that bitmap.
    relocations(tmp_path, 19, ".quad late, 3, 3")
    summary = evidence(tmp_path)["dynamic-relocations"].summary
    assert summary.endswith(f": late, late+0x8, {0xBF011008 + 63 * 8:#x}")


def test_room_for_a_relocation_is_none(tmp_path: Path) -> None:
    relocations(tmp_path, 4, ".quad late, 0, 0")
    assert failing(tmp_path) == {}


# --- the exception table ----------------------------------------------------------------

EX_SCRIPT = table("__ex_table", "__start___ex_table", "__stop___ex_table")


def ex_table(folder: Path, first: str, second: str, *, flag: int, where: str = "rom") -> None:
    """An exception table as on arm: instruction and fixup, absolute."""
    flags = "aw" if where == "ram" else "a"
    source = (
        f'.section __ex_table,"{flags}"\n.long {first}, late, {second}, late\n'
        ".globl main_extable_sort_needed\n.data\n"
        f".type main_extable_sort_needed, @object\nmain_extable_sort_needed: .long {flag}\n"
    )
    link(folder, source=source, bits=32, **{where: EX_SCRIPT})


I386 = {"elf_machine": "EM_386"}
NOT_SORTED = {"exception-table": Verdict.IMAGE_INVALID}


def test_an_exception_table_sorted_at_build_time(tmp_path: Path) -> None:
    ex_table(tmp_path, "start", "late", flag=0)
    assert failing(tmp_path, arch=I386) == {}
    assert evidence(tmp_path, arch=I386)["exception-table"].figures["entries"] == 2


def test_an_exception_table_to_be_sorted_in_flash(tmp_path: Path) -> None:
    ex_table(tmp_path, "start", "late", flag=1)
    assert failing(tmp_path, arch=I386) == NOT_SORTED


def test_an_exception_table_to_be_sorted_in_ram(tmp_path: Path) -> None:
    ex_table(tmp_path, "late", "start", flag=1, where="ram")
    assert failing(tmp_path, arch=I386) == {}


def test_an_exception_table_that_nobody_sorts(tmp_path: Path) -> None:
    ex_table(tmp_path, "late", "start", flag=0)
    assert failing(tmp_path, arch=I386) == NOT_SORTED


def test_a_relative_exception_table_that_nobody_sorts(tmp_path: Path) -> None:
    rows = "\n".join(f".long {one} - ., late - .\n.long 0" for one in ("late", "start"))
    link(tmp_path, source=f'.section __ex_table,"a"\n{rows}\n', rom=EX_SCRIPT)
    assert failing(tmp_path, arch=RISCV) == NOT_SORTED


def test_an_exception_table_that_cannot_be_decoded(tmp_path: Path) -> None:
    link(tmp_path, source='.section __ex_table,"a"\n.fill 20, 1, 0\n', rom=EX_SCRIPT)
    assert failing(tmp_path, arch=RISCV) == NOT_SORTED


def test_an_exception_table_of_an_architecture_not_described(tmp_path: Path) -> None:
    link(tmp_path, source='.section __ex_table,"a"\n.fill 24, 1, 0\n', rom=EX_SCRIPT)
    arch = {"kernel_arch": "hexagon"}
    assert failing(tmp_path, arch=arch) == {}
    assert evidence(tmp_path, arch=arch)["exception-table"].summary.startswith("not known")


# --- tables that nobody has told us of ----------------------------------------------------


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ("__start_novelty", "__stop_novelty"),
        ("__start_novelty", "__end_novelty"),
        ("__novelty_start", "__novelty_end"),
        ("__novelty_begin", "__novelty_end"),
        ("__novelties", "__novelties_end"),
    ],
)
def test_an_unknown_table_is_shown(tmp_path: Path, start: str, stop: str) -> None:
    source = '.section novelty,"a"\n.long late - .\n'
    link(tmp_path, source=source, rom=table("novelty", start, stop))
    found = evidence(tmp_path)["unknown-tables"]
    assert not found.holds and found.advisory
    assert found.figures["unknown"] == {start: {"section": "novelty", "bytes": 4, "in_rom": True}}
    assert failing(tmp_path) == {}


def test_known_and_empty_tables_are_not_shown(tmp_path: Path) -> None:
    source = '.section __param,"a"\n.long 1\n'
    script = table("__param", "__start___param", "__stop___param") + (
        " __start_nothing = .; __stop_nothing = .;"
    )
    link(tmp_path, source=source, rom=script)
    assert evidence(tmp_path)["unknown-tables"].holds


def test_another_architectures_patcher_is_unknown_here(tmp_path: Path) -> None:
    _, _, entry, script, _ = SITES["alternative"]
    lay(tmp_path, entry % "late", script)
    assert not evidence(tmp_path)["unknown-tables"].holds  # arm has no .alternative
    assert evidence(tmp_path, arch=RISCV)["unknown-tables"].holds


# --- layouts and the data file ------------------------------------------------------------


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("pointer", [4, 8])
@pytest.mark.parametrize("address", ["absolute", "relative", "relative-pointer"])
def test_layouts(little: bool, pointer: int, address: str) -> None:
    base, wanted = 0x80002000, 0x80001000
    order, letter = "<" if little else ">", "I" if pointer == 4 else "Q"
    if address == "absolute":
        field = struct.pack(order + letter, wanted)
    else:
        width = "i" if address == "relative" or pointer == 4 else "q"
        field = struct.pack(order + width, wanted - (base + 4))
    data = b"\xee" * 4 + field + b"\xee" * (12 - len(field))
    section = Section("t", "SHT_PROGBITS", base, base, len(data), False, False, True, data)
    image = Image("EM_NONE", base, pointer, little, (section,), (), ())
    layout = Layout.model_validate({"bytes": 16, "at": 4, "address": address})
    assert layout.addresses(image, Table("t", base, 16)) == [wanted]
    assert layout.addresses(image, Table("t", base, 15)) is None
    assert layout.addresses(image, Table("t", base, 32)) is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("layouts: [{}]", "an entry has bytes or pointers"),
        ("layouts: [{pointers: 1, address: far}]", "relative-pointer"),
        ("sections: __jump_table", "valid tuple"),
        ("section: [__jump_table]", "did you mean sections"),
    ],
)
def test_a_broken_data_file(broken: str, message: str) -> None:
    text = f"patchers:\n  x:\n    what: y\n    {broken}\nexception_tables: []\nknown_tables: []\n"
    with pytest.raises(UsageError, match=message) as error:
        parse(text, Path("patch_sites.yaml"), PatchSites)
    assert "patch_sites.yaml:4" in str(error.value)
