# SPDX-License-Identifier: GPL-2.0-only
"""Where everything in the image lies: in flash what is only read, in RAM what is written.

One rule serves every architecture. The image in flash is the ELF file's loadable
content in the order of load addresses (LMA), the lowest at the board's xip_phys_addr.
What is executed or read in place keeps one displacement between virtual address and
place in flash: that of the first byte. What is writable lies elsewhere in virtual
memory, and only its load image in flash.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from ..core.errors import InfrastructureError
from ..core.evidence import Evidence, Verdict
from ..matrix.model import Arch, Board
from .elf import Image, Section

# What objcopy and flash tools put where nothing is.
_FILL = (b"\x00", b"\xff")
# The function that only a kernel with XIP_DEFLATED_DATA has.
_INFLATES = "__inflate_kernel_data"


def placement(
    arch: Arch, board: Board, config: Mapping[str, str] | None, image: Image, xip_image: Path
) -> list[Evidence]:
    """The evidence of this module. `config`: the final .config, names without CONFIG_, if known.

    Raises InfrastructureError where xipImage cannot be read.
    """
    try:
        raw = xip_image.read_bytes()
    except OSError as error:
        raise InfrastructureError(f"cannot be read: {error.strerror}", where=xip_image) from error
    return [
        _machine(arch, image),
        _fits_flash(arch, board, image, raw),
        _fits_ram(arch, board, image),
        _entry(board, image),
        _in_flash(arch, image),
        _writable(arch, image),
        _segments(arch, image),
        _content(arch, image, raw, config),
    ]


def _machine(arch: Arch, image: Image) -> Evidence:
    """vmlinux is for the architecture, and linked to where its kernels are."""
    name, base = "elf-machine", arch.kernel_virtual_base
    summary = f"vmlinux is for {image.machine}"
    if image.machine != arch.elf_machine:
        summary += f", not {arch.elf_machine}"
        return Evidence(name, False, summary, Verdict.IMAGE_INVALID)
    if image.pointer < 8 and base >> 32:
        summary += ", but of 32 bits"
        return Evidence(name, False, summary, Verdict.IMAGE_INVALID)
    if image.vma < base:
        # As with another VMSPLIT. Its code in RAM would be taken for user programs'.
        summary += (
            f", linked at {image.vma:#x}: kernels below {base:#x} cannot be told from user programs"
        )
        return Evidence(name, False, summary, Verdict.NOT_APPLICABLE)
    return Evidence(name, True, summary, Verdict.IMAGE_INVALID)


def _fits_flash(arch: Arch, board: Board, image: Image, raw: bytes) -> Evidence:
    """xipImage, and whatever vmlinux wants in it, lies in the flash from xip_phys_addr on."""
    size = len(raw)
    room = board.flash.base + board.flash.size - board.xip_phys_addr
    outside = [s.name for s in image.sections if s.stored and s.lma - image.lma + s.size > room]
    summary = f"xipImage is {size} bytes, the flash has {room} from xip_phys_addr on"
    if size > room:
        summary += f": {size - room} bytes too many"
    elif not size:
        summary = "xipImage is empty"
    elif outside:
        summary = f"to be loaded behind the end of the flash: {', '.join(outside)}"
    stored = [s for s in image.sections if s.stored]
    figures = {
        "image_bytes": size,
        "flash_bytes": board.flash.size,
        "room_bytes": room,
        "read_in_place_bytes": sum(s.size for s in stored if _kept(arch, s)),
        "copied_to_ram_bytes": sum(s.size for s in stored if not _kept(arch, s)),
        "sections": {s.name: s.size for s in stored},
    }
    holds = 0 < size <= room and not outside
    return Evidence("image-fits", holds, summary, Verdict.IMAGE_INVALID, figures)


def _fits_ram(arch: Arch, board: Board, image: Image) -> Evidence:
    """What is written lies together, without overlap, in no more than the board's RAM.

    RAM has no fixed virtual address, but one stretch of it begins with the first writable
    byte: a section far from the others is in no RAM.
    """
    name = "data-in-ram"
    room = board.ram_base + board.ram_size - board.data_base
    written = _written(arch, image)
    if not written:
        return Evidence(name, False, "nothing is writable", Verdict.IMAGE_INVALID)
    begin, end = written[0].vma, max(s.end for s in written)
    overlaps = [
        f"{one.name} and {other.name} overlap"
        for one, other in pairwise(written)
        if other.vma < one.end
    ]
    summary = f"{end - begin} bytes from {begin:#x} on, the board has {room} for them"
    if end - begin > room:
        summary = f"writable sections spread over {begin:#x}-{end:#x}, the board has {room} bytes"
    elif overlaps:
        summary = "; ".join(overlaps)
    figures = {
        "ram_bytes": end - begin,
        "room_bytes": room,
        "base_virtual": begin,
        "sections": {s.name: s.size for s in written},
    }
    holds = end - begin <= room and not overlaps
    return Evidence(name, holds, summary, Verdict.IMAGE_INVALID, figures)


def _entry(board: Board, image: Image) -> Evidence:
    physical = image.entry - image.vma + board.xip_phys_addr
    section = image.section_at(image.entry)
    executable = section is not None and section.executable
    holds = image.entry == image.vma and executable
    summary = f"entry point {image.entry:#x} is flash address {physical:#x}"
    if image.entry != image.vma:
        summary += f", but the board starts at {board.xip_phys_addr:#x}"
    elif not executable:
        summary += ", where there is no code"
    figures = {"entry_virtual": image.entry, "entry_physical": physical}
    return Evidence("entry", holds, summary, Verdict.IMAGE_INVALID, figures)


def _in_flash(arch: Arch, image: Image) -> Evidence:
    """Code and read-only data are linked to where they lie in flash."""
    moved = _moved(arch)
    # Code that is marked writable would be executed from RAM: that must be declared.
    kept = [s for s in image.sections if _kept(arch, s) or (s.executable and s.name not in moved)]
    wrong = [s for s in kept if not s.stored or not image.placed(s)]
    code = sum(s.size for s in kept if s.executable)
    size = sum(section.size for section in kept)
    end = image.vma + image.size
    summary = f"{size} bytes of code and read-only data in {image.vma:#x}-{end:#x}, in flash"
    if wrong:
        summary = f"not linked to run from flash: {_listed(wrong)}"
    elif not code:
        summary = "no code in flash"
    figures = {
        "bytes": size,
        "code_bytes": code,
        "base_virtual": image.vma,
        "sections": {s.name: s.size for s in kept},
        "copied_to_ram": {s.name: s.size for s in image.sections if s.name in moved},
    }
    holds = not wrong and code > 0
    return Evidence("text-in-flash", holds, summary, Verdict.IMAGE_INVALID, figures)


def _writable(arch: Arch, image: Image) -> Evidence:
    """Nothing writable is linked to where it is stored, or among what is executed there."""
    sections = [s for s in image.sections if not _read_only(arch, s)]
    # Where stored data ends up in the mapping of flash, if anywhere, is no matter: behind
    # the last read-only byte the same virtual addresses may be RAM (riscv before 7.1).
    end = max((s.end for s in image.sections if _read_only(arch, s) and image.placed(s)), default=0)
    wrong = [
        s for s in sections if (s.vma < end and s.end > image.vma) or (s.stored and image.placed(s))
    ]
    data = sum(s.size for s in sections if s.stored)
    bss = sum(s.size for s in sections if not s.stored)
    summary = f"{data} bytes of data (stored in flash) and {bss} of bss are linked to RAM"
    if wrong:
        summary = f"writable, but in the flash's mapping: {_listed(wrong)}"
    figures = {"data_bytes": data, "bss_bytes": bss, "sections": {s.name: s.size for s in sections}}
    return Evidence("no-writable-in-flash", not wrong, summary, Verdict.IMAGE_INVALID, figures)


def _segments(arch: Arch, image: Image) -> Evidence:
    """No PT_LOAD segment is both in flash and writable.

    One is, by name only, where a section that is only read is marked writable
    (`rom_sections`): the linker gives the whole segment its flag.
    """
    wrong = []
    for segment in image.segments:
        inside = [
            s
            for s in image.sections
            if s.stored and segment.vma <= s.vma < segment.vma + segment.size
        ]
        marked = [s for s in inside if s.writable]
        excused = marked and all(s.name in arch.rom_sections for s in marked)
        in_flash = image.placed(segment) and 0 <= segment.lma - image.lma < image.size
        if in_flash and ((segment.writable and not excused) or segment.size > segment.stored):
            wrong.append(f"{segment.vma:#x}-{segment.vma + segment.size:#x}")
    summary = f"{len(image.segments)} PT_LOAD segments, none both in flash and writable"
    if wrong:
        summary = f"segments both in flash and writable: {', '.join(wrong)}"
    elif not image.segments:
        summary = "no PT_LOAD segment"
    figures = {"segments": len(image.segments)}
    holds = not wrong and bool(image.segments)
    return Evidence("segments", holds, summary, Verdict.IMAGE_INVALID, figures)


def _content(arch: Arch, image: Image, raw: bytes, config: Mapping[str, str] | None) -> Evidence:
    """xipImage is vmlinux's loadable content and nothing else, its data perhaps compressed."""
    if config is None:
        deflated = _INFLATES in image.named
    else:
        deflated = config.get("XIP_DEFLATED_DATA") == "y"
    stored = sorted((s for s in image.sections if s.stored), key=lambda s: s.lma)
    data = [s for s in stored if not _read_only(arch, s)]
    wrong: list[str] = []
    if deflated and data:
        # Data comes last: arch/arm/boot/deflate_xip_data.sh puts a gzip file in its place.
        at = data[0].lma - image.lma
        inflated, behind = _inflated(raw[at:])
        if inflated is None:
            wrong.append(f"its deflated data, which is no gzip file at {at:#x}")
        else:
            raw = raw[:at] + inflated + behind
    compared, end = 0, 0
    for section in stored:
        at = section.lma - image.lma
        if raw[at : at + section.size] != section.data:
            wrong.append(section.name)
        if at > end and not _is_fill(raw[end:at]):
            wrong.append(f"what lies before {section.name}")
        end = max(end, at + section.size)
        compared += section.size
    if not _is_fill(raw[end:]):
        wrong.append(f"the {len(raw) - end} bytes behind its end")
    summary = f"{compared} bytes of xipImage are vmlinux's"
    if wrong:
        summary = f"xipImage differs from vmlinux in {', '.join(wrong)}"
    elif deflated:
        summary += "; data is deflated"
    figures = {"compared_bytes": compared}
    return Evidence("image-is-vmlinux", not wrong, summary, Verdict.IMAGE_INVALID, figures)


def _inflated(data: bytes) -> tuple[bytes | None, bytes]:
    """What a gzip file at the beginning of `data` holds, None where there is none whole, and
    what lies behind it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        inflated = stream.decompress(data)
    except zlib.error:
        return None, b""
    return (inflated, stream.unused_data) if stream.eof else (None, b"")


def _is_fill(data: bytes) -> bool:
    return any(data.count(byte) == len(data) for byte in _FILL)


def _read_only(arch: Arch, section: Section) -> bool:
    return not section.writable or section.name in arch.rom_sections


def _moved(arch: Arch) -> set[str]:
    """Sections whose copies in RAM are executed, by design."""
    return {text.section for text in arch.ram_text if text.section}


def _kept(arch: Arch, section: Section) -> bool:
    """Whether a section is executed or read where it lies in flash."""
    return _read_only(arch, section) and section.name not in _moved(arch)


def _written(arch: Arch, image: Image) -> list[Section]:
    """What lies in RAM of the kernel's own sections, by virtual address."""
    written = (s for s in image.sections if not _read_only(arch, s))
    return sorted(written, key=lambda s: (s.vma, s.end))


def ram_size(arch: Arch, image: Image) -> int:
    """Bytes from the first to the last that the kernel's own sections take in RAM."""
    written = _written(arch, image)
    return max(s.end for s in written) - written[0].vma if written else 0


def _listed(sections: list[Section]) -> str:
    return ", ".join(f"{s.name} at {s.vma:#x}" for s in sections)
