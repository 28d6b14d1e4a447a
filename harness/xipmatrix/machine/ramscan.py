# SPDX-License-Identifier: GPL-2.0-only
"""Is there a copy of the kernel's text in RAM? A RAM dump against vmlinux, in linear time.

RAM is cut into blocks of 32 bytes. Of what is looked for, the 32 bytes at *every* byte
offset are hashed, so whatever its alignment in RAM, a copy of 63 bytes or more holds at
least one whole block and is found. (Code at an odd address could not even run; looking at
every offset costs a few hundredths of a second and needs no knowledge of instruction
sizes.) Blocks and windows meet through a bitmap of their hashes, both ways, which leaves
few of each; those are joined by sorting, compared byte by byte, and grown into runs.

No content makes this more than linear (but for the sorting): a block is compared with at
most CANDIDATES windows, and a run grows by at most REACH bytes to each side beyond its
blocks (``Runs.compared`` counts, ``compared_bound`` is the bound).

A scan that finds nothing proves nothing by itself, so it has two positive controls: the
kernel's initialised data, which it did copy to RAM, must be found in the same dump by the
same pass, and the text itself must be found in a buffer into which it was planted.

Offsets are in bytes from the start of RAM or of `Sought.bytes`; `vaddr` is virtual,
`physical` is guest physical.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from ..image import symtab
from ..matrix.model import Arch, Board, RamText, Region
from .residency import Symbols

BLOCK = 32
CANDIDATES = 4
REACH = 128
# The shortest run that is always found: it holds a whole block however it lies.
SURE = 2 * BLOCK - 1

# What is a copy of kernel text: 256 bytes in one piece, or all of a function of 128 bytes
# or more. Less is not: a module's compiler makes the same code of the small static inline
# functions of the kernel's headers, and that is no copy of the kernel. How often that
# happens shows in how often a kernel holds one function twice: tiny kernels (arm, riscv;
# 11,600 functions of 64 bytes or more) do so up to 124 bytes, never at 128; of 68,000
# functions of two defconfigs 21 of 128 bytes or more are such (no module is loaded in
# these boots). Smaller ones make the figure `other`, and a copy that is *executed* is
# found by the in-place evidence, at one instruction.
COPY = 256
FUNCTION = 128

PAGE = 4096
_PIECE = 1 << 20
_HITS = 1 << 18
_NAMED = 8
_LISTED = 20
_FLAT = 64
# Odd, else arbitrary.
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]


class Sought:
    """Bytes to look for: sections (`vaddr`, data), less what is flat.

    Stretches of 64 bytes and more that repeat 8 bytes (padding, nops, zeros) are left
    out: they are in RAM everywhere and say nothing.
    """

    def __init__(self, sections: Iterable[tuple[int, bytes]]) -> None:
        gap = bytes(8)  # no run leads from one stretch into the next
        chunks: list[bytes] = []
        begin: list[int] = []
        sizes: list[int] = []
        vaddrs: list[int] = []
        total = 0  # of `chunks`
        for vaddr, data in sections:
            for low, high in _informative(data):
                begin.append(total)
                sizes.append(high - low)
                vaddrs.append(vaddr + low)
                chunks += [data[low:high], gap]
                total += high - low + len(gap)
        self.bytes: Bytes = np.frombuffer(b"".join(chunks), np.uint8)
        self._begin: Offsets = np.array(begin, np.int64)
        self._end: Offsets = self._begin + np.array(sizes, np.int64)
        self._vaddr: Hashes = np.array(vaddrs, np.uint64)
        self.size = sum(sizes)
        self.windows = sum(max(0, size - BLOCK + 1) for size in sizes)
        count = max(0, len(self.bytes) - 7)
        # The 8-byte word at every byte offset.
        self.words: Hashes = np.ndarray((count,), "<u8", self.bytes, strides=(1,))

    def hashes(self) -> Iterator[tuple[int, Hashes]]:
        """Piece by piece: an offset, and the hashes of the windows from there on."""
        for begin, end in zip(self._begin.tolist(), self._end.tolist(), strict=True):
            for low in range(begin, end - BLOCK + 1, _PIECE):
                high = min(low + _PIECE, end - BLOCK + 1)
                yield low, _hash([self.words[low + 8 * i : high + 8 * i] for i in range(4)])

    @property
    def stretches(self) -> list[tuple[int, int, int]]:
        """Of each stretch: its offset, its size and its virtual address."""
        sizes = self._end - self._begin
        return list(zip(self._begin.tolist(), sizes.tolist(), self._vaddr.tolist(), strict=True))

    def vaddr(self, offsets: Offsets) -> Hashes:
        """The virtual addresses of what lies at `offsets`."""
        stretch = self._stretch(offsets)
        inside: Hashes = (offsets - self._begin[stretch]).astype(np.uint64)
        return self._vaddr[stretch] + inside

    def limits(self, offsets: Offsets) -> tuple[Offsets, Offsets]:
        """First offset, and the one behind the last, of the stretches that `offsets` are in."""
        stretch = self._stretch(offsets)
        return self._begin[stretch], self._end[stretch]

    def _stretch(self, offsets: Offsets) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._begin, offsets, side="right") - 1


def _informative(data: bytes) -> list[tuple[int, int]]:
    """Where `data` is not flat: ranges of offsets."""
    array = np.frombuffer(data, np.uint8)
    if len(array) < BLOCK:
        return []
    repeats = np.zeros(max(0, len(array) - 8) + 2, np.int8)
    repeats[1:-1] = array[8:] == array[:-8]
    steps = np.diff(repeats)
    first, last = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    long = last - first >= _FLAT - 8
    edges = [0, *np.column_stack((first[long], last[long] + 8)).ravel().tolist(), len(array)]
    ranges = zip(edges[::2], edges[1::2], strict=True)
    return [(low, high) for low, high in ranges if high - low >= BLOCK]


def _hash(words: Sequence[Hashes]) -> Hashes:
    """A hash of each 32 bytes; the high bits are the good ones."""
    value = words[0] * np.uint64(_FACTORS[0])
    for word, factor in zip(words[1:], _FACTORS[1:], strict=True):
        value += word * np.uint64(factor)
    return value


@dataclass(frozen=True)
class Runs:
    """Stretches of RAM that equal what was looked for: offsets in RAM (`at`) and in the
    sought bytes (`offset`), sizes. Each once. `compared` counts bytes compared."""

    at: Offsets
    offset: Offsets
    size: Offsets
    compared: int = 0

    def where(self, mask: npt.NDArray[np.bool_]) -> Runs:
        """Those that `mask` says."""
        return Runs(self.at[mask], self.offset[mask], self.size[mask], self.compared)

    def covered(self, total: int) -> npt.NDArray[np.bool_]:
        """Which of the first `total` sought bytes lie in a run."""
        if not len(self.at):
            return np.zeros(total, np.bool_)
        depth = np.zeros(total + 1, np.int32)
        np.add.at(depth, self.offset, 1)
        np.add.at(depth, self.offset + self.size, -1)
        np.cumsum(depth, out=depth)
        return depth[:-1] > 0


_NONE = Runs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


def compared_bound(ram_bytes: int) -> int:
    """The most bytes that one search for one Sought ever compares."""
    return ram_bytes // BLOCK * CANDIDATES * (BLOCK + 2 * REACH)


def search(ram: Bytes, wanted: Sequence[Sought]) -> list[Runs]:
    """The runs of each of `wanted` in `ram`, in one pass over it.

    All runs of SURE bytes or more are found. Of bytes that stand in more than CANDIDATES
    places of a Sought, the first CANDIDATES count: a copy of any is a copy of all.
    """
    blocks = ram[: len(ram) // BLOCK * BLOCK].view("<u8").reshape(-1, 4)
    windows = sum(one.windows for one in wanted)
    # One bit in eight set, up to 32 MiB of bitmap.
    bits = np.uint64(64 - min(25, max(12, (8 * windows).bit_length())))
    shape = 1 << (64 - int(bits))
    sought = np.zeros(shape, np.bool_)
    for one in wanted:
        for _offset, hashes in one.hashes():
            sought[hashes >> bits] = True
    at, hashes = _blocks(blocks, sought, bits)
    present = np.zeros(shape, np.bool_)
    present[hashes >> bits] = True
    return [_find(ram, one, at, hashes, present, bits) for one in wanted]


def _blocks(
    blocks: Hashes, sought: npt.NDArray[np.bool_], bits: np.uint64
) -> tuple[Offsets, Hashes]:
    """RAM offsets and hashes of the blocks that may be sought; flat ones never are."""
    found: list[Offsets] = [np.empty(0, np.int64)]
    found_hashes: list[Hashes] = [np.empty(0, np.uint64)]
    step = _PIECE // BLOCK
    for first in range(0, len(blocks), step):
        words = blocks[first : first + step].T
        hashes = _hash(list(words))
        hits = np.flatnonzero(sought[hashes >> bits])
        near = words[:, hits]
        hits = hits[(near[1:] != near[0]).any(axis=0)]
        found.append((hits + first) * BLOCK)
        found_hashes.append(hashes[hits])
    return np.concatenate(found), np.concatenate(found_hashes)


def _find(
    ram: Bytes,
    sought: Sought,
    at: Offsets,
    hashes: Hashes,
    present: npt.NDArray[np.bool_],
    bits: np.uint64,
) -> Runs:
    """The runs of one Sought, from the blocks (`at`, `hashes`) that may be in them."""
    offsets: list[Offsets] = [np.empty(0, np.int64)]
    keys: list[Hashes] = [np.empty(0, np.uint64)]
    for first, values in sought.hashes():
        hits = np.flatnonzero(present[values >> bits])
        offsets.append(hits + first)
        keys.append(values[hits])
    offset, key = np.concatenate(offsets), np.concatenate(keys)
    # Stable, so that of equal windows the first in the kernel are the candidates.
    order = np.argsort(key, kind="stable")
    offset, key = offset[order], key[order]
    found = [_NONE]
    for first in range(0, len(at), _HITS):
        # In pieces: however much matches, memory stays small.
        some = slice(first, first + _HITS)
        runs = _grow(ram, sought, _join(ram, sought, at[some], hashes[some], offset, key))
        found.append(runs.where(runs.size >= SURE))
    return _together(found)


def _join(
    ram: Bytes, sought: Sought, at: Offsets, hashes: Hashes, offset: Offsets, key: Hashes
) -> Runs:
    """Runs of whole blocks: where a block equals one of its first CANDIDATES windows."""
    low = np.searchsorted(key, hashes)
    words = ram[: len(ram) // 8 * 8].view("<u8")
    compared = 0
    pairs: list[tuple[Offsets, Offsets]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for nth in range(CANDIDATES):
        mine = np.flatnonzero(low + nth < len(key))
        mine = mine[key[low[mine] + nth] == hashes[mine]]
        there, here = offset[low[mine] + nth], at[mine]
        equal = np.ones(len(mine), np.bool_)
        for word in range(BLOCK // 8):
            equal &= sought.words[there + 8 * word] == words[here // 8 + word]
        compared += BLOCK * len(mine)
        pairs.append((here[equal], there[equal]))
    here = np.concatenate([pair[0] for pair in pairs])
    there = np.concatenate([pair[1] for pair in pairs])
    return _together([Runs(here, there, np.full(len(here), BLOCK, np.int64), compared)])


def _together(parts: Sequence[Runs]) -> Runs:
    """Runs that touch or overlap, at the same distance between RAM and sought, are one."""
    at, offset, size = (
        np.concatenate(column)
        for column in zip(*((one.at, one.offset, one.size) for one in parts), strict=True)
    )
    order = np.lexsort((at, at - offset))
    at, offset, size = at[order], offset[order], size[order]
    new = np.ones(len(at), np.bool_)
    new[1:] = (np.diff(at - offset) != 0) | (at[1:] > (at + size)[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(at))[: len(first)] - 1
    compared = sum(one.compared for one in parts)
    return Runs(at[first], offset[first], (at + size)[last] - at[first], compared)


def _grow(ram: Bytes, sought: Sought, runs: Runs) -> Runs:
    """Runs with what equals before and behind them, up to REACH bytes each.

    That finds the ragged ends, and bridges blocks that are sought too often to have this
    run's place among their candidates.
    """
    begin, end = sought.limits(runs.offset)
    before = np.minimum(np.minimum(runs.offset - begin, runs.at), REACH)
    room = np.minimum(end - runs.offset, len(ram) - runs.at) - runs.size
    behind = np.minimum(room, REACH)
    compared = runs.compared
    grown: list[Offsets] = []
    for most, start, step in ((before, -1, -1), (behind, 0, 1)):
        count = np.zeros(len(runs.at), np.int64)
        edge = start if step < 0 else runs.size
        active = np.arange(len(runs.at))
        for distance in range(REACH):
            active = active[most[active] > distance]
            compared += len(active)
            shift = (edge if step < 0 else runs.size[active]) + step * distance
            equal = ram[runs.at[active] + shift] == sought.bytes[runs.offset[active] + shift]
            active = active[equal]
            if not len(active):
                break
            count[active] += 1
        grown.append(count)
    left, right = grown
    return Runs(runs.at - left, runs.offset - left, runs.size + left + right, compared)


@dataclass(frozen=True)
class Kernel:
    """A vmlinux by what may be in RAM: `text` must not, `declared` text may, `constants`
    (strings, say) may in part, initialised `data` must. `start` is the lowest virtual
    address of text. `functions`: first virtual address and the one behind the last of each
    function of FUNCTION bytes or more, in order."""

    vmlinux: Path
    start: int
    text: Sought
    declared: Sought
    constants: Sought
    data: Sought
    functions: tuple[Hashes, Hashes]

    @classmethod
    def read(cls, vmlinux: Path, arch: Arch) -> Kernel:
        """Raises InfrastructureError where the file is no ELF file with symbols."""
        try:
            with vmlinux.open("rb") as stream:
                elf = ELFFile(stream)
                text, declared, constants, data = _sections(elf, arch)
                return cls(
                    vmlinux=vmlinux,
                    start=min((vaddr for vaddr, _ in text), default=0),
                    text=Sought(text),
                    declared=Sought(declared),
                    constants=Sought(constants),
                    data=Sought(data),
                    functions=_functions(elf),
                )
        except (ELFError, OSError) as error:
            raise InfrastructureError(f"cannot be read: {error}", where=vmlinux) from error


def _sections(elf: ELFFile, arch: Arch) -> tuple[list[tuple[int, bytes]], ...]:
    """Text, text that may be in RAM, constants, initialised data: virtual address and bytes."""
    declared = {text.section for text in arch.ram_text}
    copied = [_bounds(elf, text) for text in arch.ram_text if text.symbols]
    kinds: tuple[list[tuple[int, bytes]], ...] = ([], [], [], [])
    for section in elf.iter_sections():
        flags = section["sh_flags"]
        if not flags & 0x2 or section["sh_type"] == "SHT_NOBITS":
            continue
        if flags & 0x4:
            kind = 1 if section.name in declared else 0
        else:
            kind = 3 if flags & 0x1 and section.name not in arch.rom_sections else 2
        start, data = section["sh_addr"], section.data()
        for low, high in copied if kind == 0 else ():
            if start <= low < high <= start + len(data):
                kinds[1].append((low, data[low - start : high - start]))
                kinds[0].append((start, data[: low - start]))
                start, data = high, data[high - start :]
        kinds[kind].append((start, data))
    return kinds


def _bounds(elf: ELFFile, text: RamText) -> tuple[int, int]:
    """The first virtual address of what is copied and the one behind it; equal: not there."""
    low, high = (symtab.address_of(elf, name) for name in text.symbols)
    return (0, 0) if low is None or high is None else (low, high)


def _functions(elf: ELFFile) -> tuple[Hashes, Hashes]:
    """Where functions of FUNCTION bytes or more begin and end (virtual)."""
    entries = symtab.symbols(elf)
    chosen = entries[(entries["info"] & 0xF == symtab.FUNCTION) & (entries["size"] >= FUNCTION)]
    begin, size = chosen["value"].astype(np.uint64), chosen["size"].astype(np.uint64)
    if elf["e_machine"] == "EM_ARM":
        begin &= ~np.uint64(1)  # Thumb
    by_address = np.argsort(begin, kind="stable")
    return begin[by_address], (begin + size)[by_address]


@dataclass(frozen=True)
class Copy:
    """Kernel text in RAM: where it is from (virtual), where it is (physical), bytes, names."""

    vaddr: int
    physical: int
    size: int
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """What a dump holds of a kernel. Sizes are in bytes; pages are 4 KiB of text.

    `copies` are the longest of `copy_count`. `other` are bytes of text found in shorter
    runs, `longest_other` the longest of these, `firmware` what of the text is also in
    firmware's memory. `control` is how much of the initialised data (`data`) was found at
    one displacement (virtual minus physical), `planted` how many of PLANTED text samples
    were found where planted.
    """

    ram: int
    windows: int
    text: int
    copies: tuple[Copy, ...]
    copy_count: int
    copied: int
    longest: int
    other: int
    longest_other: int
    pages: int
    pages_whole: int
    pages_part: int
    firmware: int
    declared: int
    constants: int
    data: int
    control: int
    displacement: int
    planted: int
    compared: int


PLANTED = BLOCK


def scan(dump: Path, kernel: Kernel, arch: Arch, board: Board) -> Scan:
    """Look for `kernel` in a dump of all of the board's RAM.

    Raises InfrastructureError where the dump is not that.
    """
    try:
        size = dump.stat().st_size
        if size != board.ram_size:
            what = f"is {size} bytes, the board's RAM is {board.ram_size}"
            raise InfrastructureError(what, where=dump)
        ram: Bytes = np.memmap(dump, np.uint8, "r")
    except OSError as error:
        raise InfrastructureError(f"cannot be read: {error}", where=dump) from error
    wanted = [kernel.text, kernel.declared, kernel.constants, kernel.data]
    text, declared, constants, data = search(ram, wanted)
    firmware = _inside(text, board.ram_base, board.firmware)
    text_found = text.where(~firmware)
    is_copy = _is_copy(text_found, kernel)
    copies, others = text_found.where(is_copy), text_found.where(~is_copy)
    pages, whole, part = _pages(kernel.text, copies)
    control, displacement = _displacement(kernel.data, data, board.ram_base)
    return Scan(
        ram=size,
        windows=kernel.text.windows,
        text=kernel.text.size,
        copies=_listed(kernel, copies, board.ram_base),
        copy_count=len(copies.at),
        copied=_covered(kernel.text, copies),
        longest=int(copies.size.max(initial=0)),
        other=_covered(kernel.text, others),
        longest_other=int(others.size.max(initial=0)),
        pages=pages,
        pages_whole=whole,
        pages_part=part,
        firmware=_covered(kernel.text, text.where(firmware)),
        declared=_covered(kernel.declared, declared),
        constants=_covered(kernel.constants, constants),
        data=kernel.data.size,
        control=control,
        displacement=displacement,
        planted=_planted(kernel.text),
        compared=text.compared,
    )


def _inside(runs: Runs, ram_base: int, regions: Sequence[Region]) -> npt.NDArray[np.bool_]:
    """Which runs lie in a memory of the firmware's, which may hold the same code
    (libfdt is in OpenSBI and in Linux)."""
    found = np.zeros(len(runs.at), np.bool_)
    for region in regions:
        low = region.base - ram_base
        found |= (runs.at >= low) & (runs.at + runs.size <= low + region.size)
    return found


def _is_copy(runs: Runs, kernel: Kernel) -> npt.NDArray[np.bool_]:
    """Which runs of text are long enough to be a copy, or hold a whole function."""
    begin, end = kernel.functions
    low = kernel.text.vaddr(runs.offset)
    if not len(begin):
        return runs.size >= COPY
    first = np.searchsorted(begin, low)
    known = first < len(begin)
    first = np.minimum(first, len(begin) - 1)
    whole = known & (end[first] <= low + runs.size.astype(np.uint64))
    return (runs.size >= COPY) | whole


def _covered(sought: Sought, runs: Runs) -> int:
    return int(np.count_nonzero(runs.covered(len(sought.bytes))))


def _pages(sought: Sought, runs: Runs) -> tuple[int, int, int]:
    """Pages of text; those of which all that is sought is in `runs`; those of which some is."""
    covered = runs.covered(len(sought.bytes))
    numbers: list[Hashes] = [np.empty(0, np.uint64)]
    have: list[Offsets] = [np.empty(0, np.int64)]
    total: list[Offsets] = [np.empty(0, np.int64)]
    for offset, size, vaddr in sought.stretches:
        edges = np.maximum(np.arange(-(vaddr % PAGE), size, PAGE), 0)
        first = np.uint64(vaddr // PAGE)
        numbers.append(first + np.arange(len(edges), dtype=np.uint64))
        have.append(np.add.reduceat(covered[offset : offset + size], edges, dtype=np.int64))
        total.append(np.diff(np.append(edges, size)))
    pages, inverse = np.unique(np.concatenate(numbers), return_inverse=True)
    found = np.bincount(inverse, np.concatenate(have), len(pages))
    sizes = np.bincount(inverse, np.concatenate(total), len(pages))
    whole = found == sizes
    return len(pages), int(np.count_nonzero(whole)), int(np.count_nonzero((found > 0) & ~whole))


def _displacement(sought: Sought, runs: Runs, ram_base: int) -> tuple[int, int]:
    """The most bytes found at one displacement (virtual minus physical), and which."""
    if not len(runs.at):
        return 0, 0
    physical = (runs.at + ram_base).astype(np.uint64)
    values, inverse = np.unique(sought.vaddr(runs.offset) - physical, return_inverse=True)
    sizes = np.bincount(inverse, runs.size)
    best = int(sizes.argmax())
    return int(sizes[best]), int(values[best])


def _listed(kernel: Kernel, copies: Runs, ram_base: int) -> tuple[Copy, ...]:
    """The longest copies, with the names of what they hold."""
    if not len(copies.at):
        return ()
    symbols = Symbols(kernel.vmlinux)
    listed = []
    for one in np.argsort(-copies.size, kind="stable")[:_LISTED]:
        vaddr = int(kernel.text.vaddr(copies.offset[one : one + 1])[0])
        size = int(copies.size[one])
        low, high = np.searchsorted(kernel.functions[0], [vaddr, vaddr + size])
        starts = kernel.functions[0][low : min(high, low + _NAMED)].tolist()
        names = tuple(dict.fromkeys(symbols.name(at) for at in (vaddr, *starts)))
        listed.append(Copy(vaddr, int(copies.at[one]) + ram_base, size, names))
    return tuple(listed)


def _planted(text: Sought) -> int:
    """How many of PLANTED samples of the text, COPY bytes each, are found where planted.

    They are taken from all over the text and planted at every alignment to a block. One that
    repeats itself, such as the stubs of system calls that a kernel has not, would be found
    elsewhere in it: the next one behind it that does not is taken. What lies between its first
    and its last block may: REACH from either leads over it.
    """
    whole = text.bytes.tobytes()
    room = [(offset, size) for offset, size, _ in text.stretches if size >= COPY]
    if not room:
        return 0
    begin = np.array([offset for offset, _ in room], np.int64)
    ends = np.cumsum([size - COPY + 1 for _, size in room])
    buffer = np.zeros(PLANTED * (2 * COPY + 1), np.uint8)
    places = []
    for nth in range(PLANTED):
        want = int(ends[-1]) * nth // PLANTED
        stretch = int(np.searchsorted(ends, want, side="right"))
        offset = int(begin[stretch]) + want - (int(ends[stretch - 1]) if stretch else 0)
        at = nth * (2 * COPY + 1)
        last = sum(room[stretch]) - COPY
        first = offset + -at % BLOCK  # the first of its bytes that begin a block there
        steps = range(0, last - offset + 1, BLOCK)
        ends_once = (step for step in steps if _are_once(whole, first + step))
        offset += next(ends_once, 0)
        buffer[at : at + COPY] = text.bytes[offset : offset + COPY]
        places.append(at)
    (runs,) = search(buffer, [text])
    return sum(bool(np.any((runs.at <= at) & (runs.at + runs.size >= at + COPY))) for at in places)


def _are_once(text: bytes, offset: int) -> bool:
    """Whether the first block of a sample, at `offset`, and the last whole one that it has
    wherever it begins, are nowhere else in `text`."""
    for at in (offset, offset + COPY - 2 * BLOCK):
        block = text[at : at + BLOCK]
        if text.find(block) != at or text.find(block, at + 1) >= 0:
            return False
    return True
