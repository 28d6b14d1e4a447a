# SPDX-License-Identifier: GPL-2.0-only
"""Linker scripts: what is read from them, what the XIP one lacks, and how they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.build.linker_script import keep_linker_scripts, linker_scripts
from xipmatrix.core.evidence import Evidence
from xipmatrix.image.drift import Input, drift, inputs

NORMAL = """
OUTPUT_ARCH(arm) ENTRY(stext) jiffies = jiffies_64;
SECTIONS
{
 /DISCARD/ : { *(.ARM.exidx.exit.text) *(.discard) *(.discard.*) }
 . = ((0xC0000000)) + 0x00008000;
 .text : AT(ADDR(.text) - 0) ALIGN(4) { /* code *(.not) */
  _stext = .; *(.text.hot .text.hot.*) *(EXCLUDE_FILE(*crt.o *b.o) .text.cold)
  . = ALIGN(8) * (1); *head.o(.text.head) KEEP(*(.text.kept))
 }
 . = ALIGN(4); __ex_table : AT(ADDR(__ex_table) - 0) { KEEP(*(__ex_table)) }
 .init.data : { KEEP (*(SORT(___ksymtab+*))) KEEP(*(SORT_BY_INIT_PRIORITY(.init_array.*)
  .init_array)) PROVIDE(x = .); }
 .pv : { *(.pv_table) }
 .bss (NOLOAD) : { *(COMMON) }
}
ASSERT((__proc_info_end - __proc_info_begin), "missing CPU support")
"""


def test_what_a_script_places() -> None:
    assert inputs(NORMAL) == [
        Input(".ARM.exidx.exit.text", "/DISCARD/", False),
        Input(".discard", "/DISCARD/", False),
        Input(".discard.*", "/DISCARD/", False),
        Input(".text.hot", ".text", False),
        Input(".text.hot.*", ".text", False),
        Input(".text.cold", ".text", False),
        Input(".text.head", ".text", False),
        Input(".text.kept", ".text", True),
        Input("__ex_table", "__ex_table", True),
        Input("___ksymtab+*", ".init.data", True),
        Input(".init_array.*", ".init.data", True),
        Input(".init_array", ".init.data", True),
        Input(".pv_table", ".pv", False),
        Input("COMMON", ".bss", False),
    ]


def compared(folder: Path, xip: str, declared: dict[str, str] | None = None) -> Evidence:
    paths = folder / "xip.lds", folder / "normal.lds"
    paths[0].write_text(xip)
    paths[1].write_text(NORMAL)
    arch = make_cell(arch={"linker_script_drift": declared or {}}).arch_spec
    found = drift(arch, paths)
    assert found.advisory  # no sound kernel fails by it
    return found


def test_the_same_sections(tmp_path: Path) -> None:
    assert compared(tmp_path, NORMAL).holds


@pytest.mark.parametrize(
    ("change", "to", "key", "what"),
    [
        ("KEEP(*(__ex_table))", "", "not_placed", {"__ex_table": "__ex_table"}),
        ("KEEP(*(__ex_table))", "*(__ex_table)", "not_kept", {"__ex_table": "__ex_table"}),
        (" .text.hot.*", "", "not_placed", {".text.hot.*": ".text"}),
        # Thrown away is not placed.
        (".pv : {", "/DISCARD/ : {", "not_placed", {".pv_table": ".pv"}),
    ],
)
def test_what_the_xip_script_lacks(
    tmp_path: Path, change: str, to: str, key: str, what: dict[str, str]
) -> None:
    assert change in NORMAL
    found = compared(tmp_path, NORMAL.replace(change, to))
    assert not found.holds
    assert found.figures[key] == what
    assert next(iter(what)) in found.summary


def test_a_wider_pattern_will_do(tmp_path: Path) -> None:
    xip = NORMAL.replace(".text.hot .text.hot.*", ".text.*").replace(".pv_table", ".pv_t*")
    assert compared(tmp_path, xip).holds
    narrower = NORMAL.replace(".text.hot.*", ".text.hot.x")
    assert compared(tmp_path, narrower).figures["not_placed"] == {".text.hot.*": ".text"}


def test_what_is_declared(tmp_path: Path) -> None:
    xip = NORMAL.replace("*(.pv_table)", "")
    found = compared(tmp_path, xip, {".pv*": "patches text"})
    assert found.holds
    assert found.figures["declared"] == {".pv_table": "patches text"}


def test_no_scripts() -> None:
    found = drift(make_cell().arch_spec, None)
    assert not found.holds and found.advisory
    assert found.summary.startswith("not known")


# --- how they are made --------------------------------------------------------------------

SCRIPT = """
#ifdef CONFIG_XIP_KERNEL
SECTIONS { .x : { *(.only_xip) } }
#elif IS_ENABLED(CONFIG_XIP_KERNEL)
#error "half of it"
#else
SECTIONS { .x : { *(.only_normal VALUE) } }
#endif
"""


def objects(folder: Path, command: str = "") -> Path:
    """An object tree with a linker script, preprocessed as kbuild does."""
    kernel = folder / "arch" / "arm" / "kernel"
    include = folder / "include" / "generated"
    kernel.mkdir(parents=True)
    include.mkdir(parents=True)
    (include / "autoconf.h").write_text("#define CONFIG_XIP_KERNEL 1\n")
    (folder / "kconfig.h").write_text("#include <generated/autoconf.h>\n#define IS_ENABLED(x) x\n")
    (folder / "vmlinux.lds.S").write_text(SCRIPT)
    command = command or (
        "gcc -E -Wp,-MMD,arch/arm/kernel/.vmlinux.lds.d -nostdinc -I./include"
        " -include ./kconfig.h -P -DVALUE='a$$b c' -D__ASSEMBLY__"
        " -o arch/arm/kernel/vmlinux.lds ./vmlinux.lds.S"
    )
    (kernel / ".vmlinux.lds.cmd").write_text(
        f"savedcmd_arch/arm/kernel/vmlinux.lds := {command}\n\n"
        "source_arch/arm/kernel/vmlinux.lds := vmlinux.lds.S\n"
    )
    (kernel / "vmlinux.lds").write_text("SECTIONS { .x : { *(.only_xip) } }\n")
    return folder


def kept(folder: Path, tree: Path) -> tuple[Path, Path] | None:
    folder.mkdir()
    keep_linker_scripts(tree, "arm", folder)
    return linker_scripts(folder)


def test_the_script_without_xip(tmp_path: Path) -> None:
    found = kept(tmp_path / "kept", objects(tmp_path / "objects"))
    assert found is not None
    built, normal = (inputs(path.read_text()) for path in found)
    assert [one.pattern for one in built] == [".only_xip"]
    assert [one.pattern for one in normal] == [".only_normal", "a$b", "c"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "vmlinux-normal.lds",
        "vmlinux.lds",
    ]
    # kbuild's own files are as they were.
    assert not (tmp_path / "objects/arch/arm/kernel/.vmlinux.lds.d").exists()


@pytest.mark.parametrize(
    "command", ["false -o x", "no-such-cc -o x", "gcc -E", "gcc -E 'unbalanced -o x", "true -o"]
)
def test_a_script_that_cannot_be_made(tmp_path: Path, command: str) -> None:
    assert kept(tmp_path / "kept", objects(tmp_path / "objects", command)) is None
    assert not list((tmp_path / "kept").iterdir())


def test_no_command(tmp_path: Path) -> None:
    tree = objects(tmp_path / "objects")
    (tree / "arch/arm/kernel/.vmlinux.lds.cmd").unlink()
    assert kept(tmp_path / "kept", tree) is None
