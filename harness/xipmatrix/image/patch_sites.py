# SPDX-License-Identifier: GPL-2.0-only
"""Nothing in the image may lead the kernel to write into text that lies in flash.

Who rewrites text, and by which tables, is data (data/patch_sites.yaml). The tables are
decoded as they lie in the ELF file: what counts is where their entries lead.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..core import yamlfile
from ..core.evidence import Evidence, Verdict
from ..matrix.model import Arch, Model, Name
from .elf import Image

DATA = Path(__file__).parents[1] / "data" / "patch_sites.yaml"
_SHOWN = 4
_NO_SYMBOLS = "not known: vmlinux has no symbol table (is it stripped?)"


class Layout(Model):
    """How a table's entry is laid out, and where in it the address lies."""

    bytes: int = Field(0, ge=0, description="size of the entry beside its pointers")
    pointers: int = Field(0, ge=0)
    at: int = Field(0, ge=0, description="offset of the address in the entry")
    address: Literal["absolute", "relative", "relative-pointer"] = "absolute"
    if_config: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> Layout:
        if not self.bytes + self.pointers:
            raise ValueError("an entry has bytes or pointers")
        return self

    def size(self, image: Image) -> int:
        """Size of an entry in bytes."""
        return self.bytes + self.pointers * image.pointer

    def addresses(self, image: Image, table: Table) -> list[int] | None:
        """The address in each entry; None where the table is not made of such entries."""
        size, data = self.size(image), image.read(table.start, table.size)
        if len(data) < table.size or table.size % size:
            return None
        # A relative offset is signed and 4 bytes wide on every architecture.
        letter = "i" if self.address == "relative" else "P"
        width = 4 if letter == "i" else image.pointer
        found = []
        for offset in range(self.at, table.size, size):
            (value,) = image.unpack(letter, data[offset : offset + width])
            if self.address != "absolute":
                value += table.start + offset
            found.append(value % (1 << 8 * image.pointer))
        return found


class Bounds(Model):
    """The symbols at a table's two ends; one * stands for the same text in both."""

    start: str
    stop: str


class Patcher(Model):
    """What rewrites text, and how it finds the places."""

    what: str
    architectures: tuple[str, ...] = ()
    if_config: tuple[str, ...] = ()
    applier: tuple[str, ...] = Field(
        (), description="functions that only a kernel has in which the table is applied"
    )
    sections: tuple[str, ...] = ()
    bounds: tuple[Bounds, ...] = ()
    symbols: tuple[str, ...] = Field((), description="functions that are rewritten as such; globs")
    layouts: tuple[Layout, ...] = ()


class ExceptionTable(Model):
    """The layout of __ex_table on some architectures."""

    architectures: list[str]
    layout: Layout


class KnownTables(Model):
    """Tables by which no text is rewritten: globs of their start symbols."""

    why: str
    starts: list[str]


class PatchSites(Model):
    """data/patch_sites.yaml."""

    patchers: dict[Name, Patcher]
    exception_tables: list[ExceptionTable]
    known_tables: list[KnownTables]


@dataclass(frozen=True)
class Table:
    """A table in the image: `start` virtual, `size` in bytes."""

    name: str
    start: int
    size: int


@functools.cache
def patch_sites() -> PatchSites:
    """What is known of patchers. Raises UsageError where the data file is broken."""
    return yamlfile.load(DATA, PatchSites)


def patch_site_evidence(
    arch: Arch, config: Mapping[str, str] | None, image: Image
) -> list[Evidence]:
    """The evidence of this module. `config`: the final .config, names without CONFIG_, if known."""
    known = patch_sites()
    patchers = {
        title: patcher
        for title, patcher in known.patchers.items()
        if not patcher.architectures or arch.kernel_arch in patcher.architectures
    }
    return [
        _patch_sites(patchers, config, image),
        _relocations(image),
        _exception_table(known.exception_tables, arch, image),
        _unknown_tables(patchers, known.known_tables, image),
    ]


def _patch_sites(
    patchers: Mapping[str, Patcher], config: Mapping[str, str] | None, image: Image
) -> Evidence:
    """No entry of a table that something applies leads into flash.

    A table of which nobody knows whether it is applied is never taken for harmless.
    """
    name = "patch-sites"
    if not image.symbols:
        return Evidence(name, False, _NO_SYMBOLS, Verdict.INFRASTRUCTURE)
    entries, tables = 0, {}
    wrong: list[str] = []
    unsure: list[str] = []
    for title, patcher in patchers.items():
        applied = _applied(patcher, config, image)
        for found in _sites(patcher, config, image):
            entries += len(found.sites or ())
            in_rom = [site for site in found.sites or () if image.in_rom(site)]
            tables[f"{title}: {found.name}"] = {
                "bytes": found.size,
                "entries": None if found.sites is None else len(found.sites),
                "in_rom": len(in_rom),
                "applied": applied,
            }
            if applied is False:
                continue
            faults = unsure if applied is None else wrong
            if found.sites is None:
                # Every entry of a patcher's table is a place in text; text is in flash.
                faults.append(f"{title}: {found.name}, {found.size} bytes that cannot be decoded")
            elif in_rom:
                places = _shown(image.name_of(site) for site in in_rom)
                faults.append(f"{title}: {len(in_rom)} in {found.name} ({places}); {patcher.what}")
    figures = {"tables": tables}
    if wrong:
        summary = f"text in flash would be rewritten by {'; '.join(wrong)}"
        return Evidence(name, False, summary, Verdict.IMAGE_INVALID, figures)
    if unsure:
        summary = f"only the .config would tell whether there is {'; '.join(unsure)}"
        return Evidence(name, False, summary, Verdict.NOT_APPLICABLE, figures)
    summary = f"{len(tables)} tables with {entries} entries, none rewrites text in flash"
    return Evidence(name, True, summary, Verdict.IMAGE_INVALID, figures)


def _applied(patcher: Patcher, config: Mapping[str, str] | None, image: Image) -> bool | None:
    """Whether this kernel applies the patcher's tables; None where that is not known.

    What vmlinux has counts more than what a .config says, which may be another kernel's.
    """
    if any(name in image.named for name in patcher.applier):
        return True
    if config is None and patcher.if_config:
        return False if patcher.applier else None
    return _holds(patcher.if_config, config)


@dataclass(frozen=True)
class _Sites:
    """A patcher's places in text (virtual); None where its table is not understood."""

    name: str
    size: int
    sites: list[int] | None


def _sites(patcher: Patcher, config: Mapping[str, str] | None, image: Image) -> Iterator[_Sites]:
    layouts = [one for one in patcher.layouts if _holds(one.if_config, config)]
    for table in _tables(patcher, image):
        yield _Sites(table.name, table.size, _decoded(layouts, image, table))
    named = [
        symbol
        for symbol in image.symbols
        if any(fnmatchcase(symbol.name, pattern) for pattern in patcher.symbols)
    ]
    if named:
        name, size = ", ".join(patcher.symbols), sum(symbol.size for symbol in named)
        yield _Sites(name, size, [symbol.value for symbol in named])


def _holds(options: tuple[str, ...], config: Mapping[str, str] | None) -> bool:
    """Whether one of `options` is set; True where there are none, or nobody knows."""
    return not options or config is None or any(config.get(one) == "y" for one in options)


def _decoded(layouts: list[Layout], image: Image, table: Table) -> list[int] | None:
    """The places by the first layout by which all of them lie in the image.

    Zero is no place: it is what a weak or discarded function leaves.
    """
    for layout in layouts:
        found = layout.addresses(image, table)
        if found is not None and all(one == 0 or image.section_at(one) for one in found):
            return [one for one in found if one]
    return None


def _tables(patcher: Patcher, image: Image) -> list[Table]:
    """The tables that are there and not empty, each once, by section or by symbols."""
    found = [Table(s.name, s.vma, s.size) for s in image.sections if s.name in patcher.sections]
    for bounds in patcher.bounds:
        pattern = re.compile(re.escape(bounds.start).replace(r"\*", "(.+)"))
        for name, start in image.named.items():
            match = pattern.fullmatch(name)
            if match is None:
                continue
            stop = image.named.get(bounds.stop.replace("*", match[1] if match.groups() else "*"))
            if stop and stop.value > start.value:
                found.append(Table(name, start.value, stop.value - start.value))
    merged: list[Table] = []
    for table in found:
        inside = any(
            one.start <= table.start and table.start + table.size <= one.start + one.size
            for one in merged
        )
        if not inside:
            merged.append(table)
    return merged


# --- relocations ------------------------------------------------------------------------

_RELOCATIONS = {"SHT_REL": "PP", "SHT_RELA": "PPP"}


def _relocations(image: Image) -> Evidence:
    """No relocation is left for the kernel to apply to what lies in flash."""
    sites: list[int] = []
    for section in image.sections:
        letters = _RELOCATIONS.get(section.kind)
        if letters:
            size = len(letters) * image.pointer
            for at in range(0, len(section.data) - size + 1, size):
                place, info, *_ = image.unpack(letters, section.data[at : at + size])
                # The type R_*_NONE is 0 on every architecture: room that was not needed.
                if info & (0xFFFFFFFF if image.pointer == 8 else 0xFF):
                    sites.append(place)
        elif section.kind in ("SHT_RELR", "19"):
            sites += _relr(image, section.data)
    in_rom = [site for site in sites if image.in_rom(site)]
    summary = f"{len(sites)} dynamic relocations, none of what lies in flash"
    if in_rom:
        places = _shown(image.name_of(site) for site in in_rom)
        summary = f"{len(in_rom)} dynamic relocations of what lies in flash: {places}"
    figures = {"relocations": len(sites), "in_rom": len(in_rom)}
    return Evidence("dynamic-relocations", not in_rom, summary, Verdict.IMAGE_INVALID, figures)


def _relr(image: Image, data: bytes) -> Iterator[int]:
    """Places of a SHT_RELR section: an address, then bitmaps of the words behind it."""
    place, word = 0, image.pointer
    for at in range(0, len(data) - word + 1, word):
        (entry,) = image.unpack("P", data[at : at + word])
        if entry & 1:
            yield from (place + bit * word for bit in range(word * 8 - 1) if entry >> bit + 1 & 1)
            place += (word * 8 - 1) * word
        else:
            yield entry
            place = entry + word


# --- the exception table ----------------------------------------------------------------


def _exception_table(known: list[ExceptionTable], arch: Arch, image: Image) -> Evidence:
    """The exception table is sorted; or it lies in RAM, where the kernel can sort it.

    Sorting in place writes even where all is in order (lib/sort.c is a heap sort).
    """
    name = "exception-table"
    patcher = Patcher(
        what="",
        sections=("__ex_table",),
        bounds=(Bounds(start="__start___ex_table", stop="__stop___ex_table"),),
    )
    tables = _tables(patcher, image)
    if not tables:
        return Evidence(name, True, "no exception table", Verdict.IMAGE_INVALID)
    if not image.symbols:
        return Evidence(name, False, _NO_SYMBOLS, Verdict.INFRASTRUCTURE)
    table = tables[0]
    flag = image.named.get("main_extable_sort_needed")
    in_rom = image.in_rom(table.start)
    to_sort = flag is not None and any(image.read(flag.value, 4))
    layouts = [one.layout for one in known if arch.kernel_arch in one.architectures]
    found = next((one.addresses(image, table) for one in layouts), None)
    is_sorted = found is not None and all(one <= other for one, other in pairwise(found))
    figures: dict[str, Any] = {
        "bytes": table.size,
        "entries": None if found is None else len(found),
        "in_rom": in_rom,
        "sorted": None if found is None else is_sorted,
        "sorted_at_boot": to_sort,
    }
    holds, summary = True, f"{len(found or ())} entries, sorted at build time"
    if to_sort and in_rom:
        holds, summary = False, "__ex_table lies in flash and would be sorted there at boot"
    elif to_sort:
        summary = f"{len(found or ())} entries, sorted at boot in RAM"
    elif not layouts:
        # Nothing says that it is wrong; patch_sites.yaml has to learn of the architecture.
        summary = f"not known: how the {table.size} bytes of __ex_table are laid out"
        return Evidence(name, False, summary, Verdict.PASS, figures)
    elif found is None:
        holds, summary = False, f"{table.size} bytes of __ex_table cannot be decoded"
    elif not is_sorted:
        holds, summary = False, "__ex_table is not sorted, and nothing would do it at boot"
    return Evidence(name, holds, summary, Verdict.IMAGE_INVALID, figures)


# --- what nobody has told us of -----------------------------------------------------------

# The ways in which linker scripts name a table's two ends.
_ENDS = (
    (re.compile(r"__start_(.+)"), ("__stop_{}", "__end_{}")),
    (re.compile(r"(_.+)_(?:start|begin)"), ("{}_end", "{}_stop")),
    (re.compile(r"(_.+)"), ("{}_end",)),
)


def _unknown_tables(
    patchers: Mapping[str, Patcher], known: list[KnownTables], image: Image
) -> Evidence:
    """Every table that a linker script bounds is one that we know. Advisory.

    A table in RAM counts too: it is where it leads that matters. Bounds of code do not.
    """
    name = "unknown-tables"
    if not image.symbols:
        return Evidence(name, False, _NO_SYMBOLS, Verdict.PASS)
    starts = [bounds.start for patcher in patchers.values() for bounds in patcher.bounds]
    starts += [start for tables in known for start in tables.starts]
    is_known = re.compile("|".join(re.escape(one).replace(r"\*", ".*") for one in starts))
    count, unknown = 0, {}
    for table in _bounded(image):
        count += 1
        if not is_known.fullmatch(table.name):
            section = image.section_at(table.start)
            assert section is not None
            unknown[table.name] = {
                "section": section.name,
                "bytes": table.size,
                "in_rom": image.in_rom(table.start),
            }
    summary = f"{count} tables in the image, all known"
    if unknown:
        found = _shown(
            f"{name} ({one['bytes']} bytes in {one['section']})" for name, one in unknown.items()
        )
        summary = f"not in patch_sites.yaml: {found}; does something write text by it?"
    return Evidence(name, not unknown, summary, Verdict.PASS, {"unknown": unknown})


def _bounded(image: Image) -> Iterator[Table]:
    """Non-empty ranges between two symbols of a linker script, but for those of code."""
    for name, start in image.named.items():
        if not start.bare or start.absolute:
            continue
        section = image.section_at(start.value)
        if section is None or (section.executable and not name.startswith("__start_")):
            continue
        for pattern, ends in _ENDS:
            match = pattern.fullmatch(name)
            stops = [image.named.get(end.format(match[1])) for end in ends] if match else []
            stop = next((one for one in stops if one and one.bare), None)
            if stop and stop.value > start.value:
                yield Table(name, start.value, stop.value - start.value)
                break


def _shown(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
