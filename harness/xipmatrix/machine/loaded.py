# SPDX-License-Identifier: GPL-2.0-only
"""Code that a kernel loads at run time and rightly executes from RAM: modules, BPF programs.

The kernel itself says where it put such code (``Userspace.sections``, ``.jited``), and is
believed only so far:

* only where the config asks for such work: elsewhere nobody loads anything;
* it must lie in one of the architecture's areas for such code (``Arch.loaded_code``);
* a module's section is as long as in the file that was built with the kernel. What was
  executed must equal the file's bytes, but for those that a relocation may have changed;
* what was executed of a BPF program must equal the machine code that the kernel shows, which
  must not occur in the kernel's own text, nor be longer than our one small program can get.

A copy of kernel text therefore cannot pass for either, wherever it lies.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from ..core.errors import InfrastructureError
from ..image import symtab
from ..matrix.model import Arch, CodeArea, Work
from .protocol import Userspace
from .residency import Run, Symbols

SUFFIX = ".ko"
MODULE, BPF = "module", "BPF"
# No relocation of code changes more bytes than this; the most is riscv's auipc and jalr.
_RELOCATED = {"EM_ARM": 4}
_MOST_RELOCATED = 8
# workload.c's program has three instructions: what a JIT makes of them is a few dozen bytes.
MOST_JITED = 512
_EXECUTED = 0x6  # SHF_ALLOC | SHF_EXECINSTR


def module_files(vmlinux: Path) -> dict[str, Path]:
    """The modules that were built with a vmlinux and lie in ``modules`` beside it, by name."""
    files = (vmlinux.parent / "modules").glob(f"*{SUFFIX}")
    return {path.name.removesuffix(SUFFIX): path for path in sorted(files)}


@dataclass(frozen=True)
class Code:
    """Code of `owner` from `base` (virtual) on: `data` as it was before relocation.

    `relocated`: offsets in `data` that relocations begin at, each of which changes up to
    `changed` bytes. `names`: functions by offset, sorted.
    """

    kind: str
    owner: str
    base: int
    data: bytes
    relocated: frozenset[int] = frozenset()
    changed: int = _MOST_RELOCATED
    names: tuple[tuple[int, str], ...] = ()

    def holds(self, run: Run) -> bool:
        """Whether `run` lies in this code, and is it as far as can be known."""
        first = run.vaddr - self.base
        if first < 0 or first + run.size > len(self.data):
            return False
        return run.code is None or all(
            got == self.data[at] or any(at - back in self.relocated for back in range(self.changed))
            for at, got in enumerate(run.code, first)
        )

    def name(self, vaddr: int) -> str:
        """``owner:function``; `owner` alone where no function is known."""
        at = bisect_right(self.names, vaddr - self.base, key=lambda one: one[0]) - 1
        return f"{self.owner}:{self.names[at][1]}" if at >= 0 else self.owner


def loaded(
    said: Userspace,
    arch: Arch,
    workload: Collection[Work],
    modules: dict[str, Path],
    symbols: Symbols | None,
) -> list[Code]:
    """What the kernel said it loaded, where that can be believed.

    `workload` is what the config asks for; `modules` are the files by name; `symbols` are
    the kernel's own. Raises InfrastructureError where a module's file cannot be read.
    """
    codes: list[Code] = []
    for module, section, base in said.sections if "modules" in workload else ():
        if module in modules:
            codes += _of_module(modules[module], module, section, base)
    jited = said.jited if "bpf" in workload else []
    if sum(len(data) for _program, _base, data in jited) <= MOST_JITED:
        for program, base, data in jited:
            if not (symbols and symbols.contain(data)):
                codes.append(Code(BPF, program, base, data))
    return [code for code in codes if _allowed(code, arch.loaded_code)]


def _allowed(code: Code, areas: Iterable[CodeArea]) -> bool:
    end = code.base + len(code.data)
    return any(
        area.virtual_base <= code.base and end <= area.virtual_base + area.size for area in areas
    )


def _of_module(path: Path, module: str, section: str, base: int) -> list[Code]:
    try:
        with path.open("rb") as stream:
            return _sections(ELFFile(stream), module, section, base)
    except (ELFError, OSError) as error:
        raise InfrastructureError(f"cannot be read: {error}", where=path) from error


def _sections(elf: ELFFile, module: str, name: str, base: int) -> list[Code]:
    """The executed section `name` of a module's file; empty where it has none."""
    number = elf.get_section_index(name)
    if number is None:
        return []
    section = elf.get_section(number)
    if section["sh_flags"] & _EXECUTED != _EXECUTED:
        return []
    relocated = [
        one["r_offset"]
        for table in elf.iter_sections()
        if isinstance(table, RelocationSection) and table["sh_info"] == number
        for one in table.iter_relocations()
    ]
    thumb = 1 if elf["e_machine"] == "EM_ARM" else 0
    names: dict[int, str] = {}
    for symbol in symtab.entries(elf):
        if symbol.kind == symtab.FUNCTION and symbol.section == number:
            # A module's own name of its first function comes before the alias init_module.
            names.setdefault(symbol.value & ~thumb, symbol.name)
    return [
        Code(
            MODULE,
            module,
            base,
            section.data(),
            frozenset(relocated),
            _RELOCATED.get(elf["e_machine"], _MOST_RELOCATED),
            tuple(sorted(names.items())),
        )
    ]
