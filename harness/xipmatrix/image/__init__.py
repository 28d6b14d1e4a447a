# SPDX-License-Identifier: GPL-2.0-only
"""Static evidence: what .config, vmlinux and xipImage say before anything is booted.

One rule serves every architecture. The image in flash is the ELF file's loadable
content in the order of load addresses (LMA), the lowest at the board's xip_phys_addr.
What is executed or read in place keeps one displacement between virtual address and
place in flash: that of the first byte. What is writable lies elsewhere in virtual
memory, and only its load image in flash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from ..core.evidence import Evidence, Verdict
from ..matrix.model import Arch, Board, Cell

_WRITE, _ALLOC, _EXEC = 0x1, 0x2, 0x4


@dataclass(frozen=True)
class Section:
    """A section that takes memory: `vma` virtual, `lma` load address, `size` in bytes.

    `stored`: it has content in the file, and so in flash.
    """

    name: str
    vma: int
    lma: int
    size: int
    writable: bool
    executable: bool
    stored: bool
    data: bytes


@dataclass(frozen=True)
class Image:
    """A vmlinux: machine, entry point (virtual), sections by load address."""

    machine: str
    entry: int
    sections: tuple[Section, ...]

    @property
    def lma(self) -> int:
        """Load address of the first byte in flash."""
        return min(section.lma for section in self.sections if section.stored)

    @property
    def vma(self) -> int:
        """Virtual address of the first byte in flash: where the XIP mapping begins."""
        return next(
            section.vma for section in self.sections if section.stored and section.lma == self.lma
        )

    @property
    def size(self) -> int:
        """Bytes from the first stored byte to the last."""
        return max(s.lma + s.size for s in self.sections if s.stored) - self.lma


def read_image(vmlinux: Path) -> Image:
    """Read a vmlinux. Raises InfrastructureError where it is no ELF file with content."""
    try:
        with vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            image = Image(elf["e_machine"], elf["e_entry"], tuple(_sections(elf)))
    except (ELFError, OSError) as error:
        raise InfrastructureError(f"cannot be read: {error}", where=vmlinux) from error
    if not any(section.stored for section in image.sections):
        raise InfrastructureError("holds nothing loadable", where=vmlinux)
    return image


def _sections(elf: ELFFile) -> Iterator[Section]:
    segments = [one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD"]
    for section in elf.iter_sections():
        flags, size, vma = section["sh_flags"], section["sh_size"], section["sh_addr"]
        if not flags & _ALLOC or not size:
            continue
        stored = section["sh_type"] != "SHT_NOBITS"
        lma = vma
        for segment in segments:
            # By file offset where there is content: overlays share virtual addresses.
            at = section["sh_offset"] - segment["p_offset"] if stored else vma - segment["p_vaddr"]
            if at >= 0 and at + size <= segment["p_filesz" if stored else "p_memsz"]:
                lma = segment["p_paddr"] + at
                break
        writable, executable = bool(flags & _WRITE), bool(flags & _EXEC)
        data = section.data() if stored else b""
        yield Section(section.name, vma, lma, size, writable, executable, stored, data)


def static_evidence(
    cell: Cell, config: Mapping[str, str], vmlinux: Path, xip_image: Path
) -> list[Evidence]:
    """All static evidence for `cell`. `config` is the final .config, names without CONFIG_.

    Raises InfrastructureError where vmlinux cannot be read.
    """
    board, arch = cell.board_spec, cell.arch_spec
    image = read_image(vmlinux)
    return [
        _configured(board, config),
        _machine(arch, image),
        _fits(board, xip_image),
        _entry(board, image),
        _in_flash(arch, image),
        _writable(arch, image),
        _content(arch, image, xip_image, config),
    ]


def _configured(board: Board, config: Mapping[str, str]) -> Evidence:
    name, wanted = "config", board.xip_phys_addr
    if config.get("XIP_KERNEL") != "y":
        summary = "CONFIG_XIP_KERNEL is not set in the final .config"
        return Evidence(name, False, summary, Verdict.CONFIG_DROPPED)
    address = config.get("XIP_PHYS_ADDR", "")
    holds = address.startswith("0x") and int(address, 16) == wanted
    summary = f"XIP_KERNEL=y, XIP_PHYS_ADDR={address or 'missing'}"
    if not holds:
        summary += f", but the board's is {wanted:#x}"
    return Evidence(name, holds, summary, Verdict.IMAGE_INVALID, {"XIP_PHYS_ADDR": address})


def _machine(arch: Arch, image: Image) -> Evidence:
    holds = image.machine == arch.elf_machine
    summary = f"vmlinux is for {image.machine}" + ("" if holds else f", not {arch.elf_machine}")
    return Evidence("elf-machine", holds, summary, Verdict.IMAGE_INVALID)


def _fits(board: Board, xip_image: Path) -> Evidence:
    size = xip_image.stat().st_size
    room = board.flash.base + board.flash.size - board.xip_phys_addr
    summary = f"xipImage is {size} bytes, the flash has {room} from xip_phys_addr on"
    if size > room:
        summary += f": {size - room} bytes too many"
    figures = {"image_bytes": size, "flash_bytes": board.flash.size, "room_bytes": room}
    return Evidence("image-fits", 0 < size <= room, summary, Verdict.IMAGE_INVALID, figures)


def _entry(board: Board, image: Image) -> Evidence:
    physical = image.entry - image.vma + board.xip_phys_addr
    holds = image.entry == image.vma
    summary = f"entry point {image.entry:#x} is flash address {physical:#x}"
    if not holds:
        summary += f", but the board starts at {board.xip_phys_addr:#x}"
    figures = {"entry_virtual": image.entry, "entry_physical": physical}
    return Evidence("entry", holds, summary, Verdict.IMAGE_INVALID, figures)


def _in_flash(arch: Arch, image: Image) -> Evidence:
    """Code and read-only data are linked to where they lie in flash."""
    moved = {text.section for text in arch.ram_text}
    kept = [s for s in image.sections if _read_only(arch, s) and s.name not in moved]
    wrong = [s for s in kept if not s.stored or not _placed(image, s)]
    size = sum(section.size for section in kept)
    if wrong:
        summary = "not linked to run from flash: " + ", ".join(
            f"{s.name} at {s.vma:#x}" for s in wrong
        )
    else:
        end = image.vma + image.size
        summary = f"{size} bytes of code and read-only data in {image.vma:#x}-{end:#x}, in flash"
    figures = {
        "bytes": size,
        "code_bytes": sum(s.size for s in kept if s.executable),
        "base_virtual": image.vma,
        "sections": {s.name: s.size for s in kept},
        "copied_to_ram": {s.name: s.size for s in image.sections if s.name in moved},
    }
    return Evidence("text-in-flash", not wrong, summary, Verdict.IMAGE_INVALID, figures)


def _writable(arch: Arch, image: Image) -> Evidence:
    """Nothing writable is linked to where it is stored, or among what is executed there."""
    sections = [s for s in image.sections if not _read_only(arch, s)]
    # Where stored data ends up in the mapping of flash, if anywhere, is no matter: behind
    # the last read-only byte the same virtual addresses may be RAM (riscv before 7.1).
    end = max(s.vma + s.size for s in image.sections if _read_only(arch, s) and _placed(image, s))
    mapping = range(image.vma, end)
    wrong = [
        s
        for s in sections
        if s.vma in mapping or s.vma + s.size - 1 in mapping or (s.stored and _placed(image, s))
    ]
    data = sum(s.size for s in sections if s.stored)
    bss = sum(s.size for s in sections if not s.stored)
    summary = f"{data} bytes of data (stored in flash) and {bss} of bss are linked to RAM"
    if wrong:
        summary = "writable, but in the flash's mapping: " + ", ".join(
            f"{s.name} at {s.vma:#x}" for s in wrong
        )
    figures = {"data_bytes": data, "bss_bytes": bss, "sections": {s.name: s.size for s in sections}}
    return Evidence("no-writable-in-flash", not wrong, summary, Verdict.IMAGE_INVALID, figures)


def _placed(image: Image, section: Section) -> bool:
    """Whether a section's virtual address is that of its place in flash."""
    return section.vma - image.vma == section.lma - image.lma


def _read_only(arch: Arch, section: Section) -> bool:
    return not section.writable or section.name in arch.rom_sections


def _content(arch: Arch, image: Image, xip_image: Path, config: Mapping[str, str]) -> Evidence:
    """xipImage is vmlinux: byte by byte, where it is not compressed data."""
    raw = xip_image.read_bytes()
    deflated = config.get("XIP_DEFLATED_DATA") == "y"
    compared, wrong = 0, []
    for section in image.sections:
        if not section.stored or (deflated and not _read_only(arch, section)):
            continue
        at = section.lma - image.lma
        if raw[at : at + section.size] != section.data:
            wrong.append(section.name)
        compared += section.size
    summary = f"{compared} bytes of xipImage are vmlinux's"
    if wrong:
        summary = f"xipImage differs from vmlinux in {', '.join(wrong)}"
    elif deflated:
        summary += "; data is deflated"
    figures = {"compared_bytes": compared}
    return Evidence("image-is-vmlinux", not wrong, summary, Verdict.IMAGE_INVALID, figures)
