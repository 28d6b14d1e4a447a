# SPDX-License-Identifier: GPL-2.0-only
"""Static evidence on real kernels: sound as built, and with one thing broken in a copy."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from xipmatrix.build.compile import Built
from xipmatrix.build.kconfig import parse_config
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.image import static_evidence
from xipmatrix.image.elf import Image, read_image
from xipmatrix.matrix.model import Cell

pytestmark = pytest.mark.kernel


class Kernel:
    """A copy of a built kernel, to be changed in vmlinux and xipImage alike."""

    def __init__(self, cell: Cell, built: Built, folder: Path) -> None:
        self.cell = cell
        self.scripts = built.linker_scripts
        self.config = parse_config((built.folder / "config").read_text())
        self.vmlinux = Path(shutil.copy(built.vmlinux, folder / "vmlinux"))
        self.xip_image = Path(shutil.copy(built.image, folder / "xipImage"))

    @property
    def image(self) -> Image:
        return read_image(self.vmlinux)

    def evidence(self) -> dict[str, Evidence]:
        files = self.vmlinux, self.xip_image, self.scripts
        return {one.name: one for one in static_evidence(self.cell, self.config, *files)}

    def failing(self) -> dict[str, Verdict]:
        return {name: one.breaks for name, one in self.evidence().items() if not one.holds}

    def poke(self, address: int, data: bytes) -> None:
        """Write at a virtual address."""
        image = self.image
        section = image.section_at(address)
        assert section is not None and section.stored
        with self.vmlinux.open("rb") as stream:
            offset = ELFFile(stream).get_section_by_name(section.name)["sh_offset"]
        within = address - section.vma
        write(self.vmlinux, offset + within, data)
        write(self.xip_image, section.lma - image.lma + within, data)

    def rename(self, symbol: str, new: str) -> None:
        """Give a symbol another name, no longer than its own."""
        old = b"\0" + symbol.encode() + b"\0"
        with self.vmlinux.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".strtab")
            at = table["sh_offset"] + table.data().index(old)
        write(self.vmlinux, at + 1, new.encode().ljust(len(symbol), b"\0"))


def write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.fixture(params=["arm", "riscv"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    cell, built = request.getfixturevalue(f"{request.param}_cell")
    return Kernel(cell, built, tmp_path)


def test_a_sound_kernel(kernel: Kernel) -> None:
    # Nothing is even worth a look: all tables are known, all drift is declared.
    assert {name: kernel.evidence()[name].summary for name in kernel.failing()} == {}
    assert kernel.evidence()["exception-table"].figures["sorted"] is True


def test_an_exception_table_to_be_sorted_at_boot(kernel: Kernel) -> None:
    # As of a build without sorttable.
    kernel.poke(kernel.image.named["main_extable_sort_needed"].value, b"\1")
    assert kernel.failing() == {"exception-table": Verdict.IMAGE_INVALID}


def test_an_exception_table_out_of_order(kernel: Kernel) -> None:
    table, late = (kernel.image.named[name].value for name in ("__start___ex_table", "_etext"))
    relative = kernel.cell.arch == "riscv"
    kernel.poke(table, struct.pack("<I", (late - table if relative else late) & 0xFFFFFFFF))
    assert kernel.failing() == {"exception-table": Verdict.IMAGE_INVALID}


def test_a_table_of_patch_sites(kernel: Kernel) -> None:
    """Module parameters become the places where instructions are to be put in."""
    bounds, option, size, title = {
        "arm": (("__smpalt_begin", "__smpalt_end"), "SMP_ON_UP", 8, "smp-on-up"),
        "riscv": (("__alt_start", "__alt_end"), "RISCV_ALTERNATIVE", 16, "alternative"),
    }[kernel.cell.arch]
    named = kernel.image.named
    for name in bounds:
        if name in named:  # of a table of its own, which is empty
            kernel.rename(name, name.replace("alt", "old"))
    start, stop, site = (named[n].value for n in ("__start___param", "__stop___param", "schedule"))
    for at in range(start, stop - size + 1, size):
        kernel.poke(at, struct.pack("<i", site - at).ljust(size, b"\0"))
    kernel.rename("__start___param", bounds[0])
    kernel.rename("__stop___param", bounds[1])
    assert kernel.failing() == {}, "nothing applies them"
    kernel.config[option] = "y"
    assert kernel.failing() == {"patch-sites": Verdict.IMAGE_INVALID}
    assert title in kernel.evidence()["patch-sites"].summary


def test_a_table_that_nobody_knows(kernel: Kernel) -> None:
    kernel.rename("__start___param", "__start_novelty")
    kernel.rename("__stop___param", "__stop_novelty")
    assert kernel.failing() == {"unknown-tables": Verdict.PASS}


def test_a_writable_segment_in_flash(kernel: Kernel) -> None:
    with kernel.vmlinux.open("rb") as stream:
        elf = ELFFile(stream)
        wide, header = elf.elfclass == 64, elf["e_phoff"]
        assert elf.get_segment(0)["p_type"] == "PT_LOAD"
    write(kernel.vmlinux, header + (4 if wide else 24), struct.pack("<I", 7))
    assert kernel.failing() == {"segments": Verdict.IMAGE_INVALID}


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda data: data[:-4096], "image-is-vmlinux"),
        (lambda data: data[:5000] + b"\x5a" + data[5001:], "image-is-vmlinux"),
        (lambda data: data + b"initramfs", "image-is-vmlinux"),
        (lambda data: b"", "image-fits"),
    ],
)
def test_an_image_that_is_not_vmlinuxs(
    kernel: Kernel, damage: Callable[[bytes], bytes], found: str
) -> None:
    kernel.xip_image.write_bytes(damage(kernel.xip_image.read_bytes()))
    assert found in kernel.failing()
    assert set(kernel.failing().values()) == {Verdict.IMAGE_INVALID}
