# SPDX-License-Identifier: GPL-2.0-only
"""The schema of matrix.yaml and of templates/<arch>/arch.yaml.

Pure data: nothing here touches a kernel, a disk or a process. Addresses are
physical unless a name says ``virtual``; sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from packaging.version import InvalidVersion, Version
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

_PAGE = 4096  # bytes
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(value: object) -> object:
    """``64M`` and the like as bytes; anything else is left to pydantic."""
    if isinstance(value, str):
        found = re.fullmatch(r"(0x[0-9a-fA-F]+|\d+)([KMG]?)", value.strip())
        if not found:
            raise ValueError("a size such as 64M, 16K or 0x1000 is allowed")
        return int(found[1], 0) * _UNITS[found[2]]
    return value


def parse_share(value: object) -> object:
    """``1%`` as 0.01; anything else is left to pydantic."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())
        if not found:
            raise ValueError("a share such as 1% or 0.01 is allowed")
        return float(found[1]) / 100
    return value


def _written(kind: str, pattern: str, least: int = 0) -> WithJsonSchema:
    """What an editor may see: JSON Schema knows nothing of parse_size() and parse_share()."""
    text = {"type": "string", "pattern": rf"^\s*{pattern}\s*$"}
    return WithJsonSchema({"anyOf": [{"type": kind, "minimum": least}, text]})


_SIZE = r"(0x[0-9a-fA-F]+|[0-9]+)[KMG]?"
_SHARE = r"[0-9]+(\.[0-9]+)?\s*%"
Share = Annotated[float, BeforeValidator(parse_share), Field(ge=0), _written("number", _SHARE)]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0), _written("integer", _SIZE)]
SomeSize = Annotated[int, BeforeValidator(parse_size), Field(gt=0), _written("integer", _SIZE, 1)]
Address = Annotated[int, BeforeValidator(parse_size), Field(ge=0), _written("integer", _SIZE)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is no regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]

# A line that is neither would be passed over, and nobody would miss the option.
ConfigLine = Annotated[
    str, Field(pattern=r"^(CONFIG_[A-Za-z0-9_]+=\S.*|# CONFIG_[A-Za-z0-9_]+ is not set)$")
]


class Model(BaseModel):
    """Closed and frozen: an unknown key is an error, a value never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(Model):
    """A named range of guest physical memory."""

    name: str
    base: Address
    size: Size
    why: str = ""


class PackageFile(Model):
    """A file in a Debian package."""

    package: str
    suite: str = Field(description="suite in the system's own mirror, or 'system' for its sources")
    path: str = Field(pattern="^[^/].*", description="below the root, as dpkg -L shows it")


class Qemu(Model):
    """How QEMU plays the board."""

    binary: str
    machine: str
    cpu: str | None = None
    memory: SomeSize
    cpus: int = Field(1, ge=1)
    icount: int | None = Field(
        None,
        ge=0,
        le=10,
        description="-icount shift: an instruction takes 2^shift ns of the machine's time, so that "
        "a boot counts the same on a busy host; several CPUs then take turns: leave it out there",
    )
    args: list[str] = []
    bios: PackageFile | None = Field(
        None, description="firmware for -bios, where the system's QEMU has none of its own"
    )
    env: dict[str, str] = {}
    boots_with_dummy_kernel: bool = Field(
        False,
        description="-append needs a -kernel: a 1-byte file that is never executed is given",
    )

    @model_validator(mode="after")
    def _one_clock(self) -> Qemu:
        if self.icount is not None and self.cpus > 1:
            # They would take turns: what waits for another one waits for its time to pass.
            raise ValueError("icount is for one CPU: with several, icount: null")
        return self


class Flash(Model):
    """What the kernel executes from: memory-mapped NOR flash, or a ROM. Erased NOR reads 0xff."""

    kind: Literal["pflash", "rom"] = Field(
        "pflash",
        description="pflash: a CFI flash, as a QEMU drive; rom: the memory that -m is about, made "
        "read-only, for machines without pflash and MMU",
    )
    base: Address
    size: SomeSize
    unit: int = Field(0, ge=0)
    aliases: list[Address] = Field([], description="where else the same flash shows")
    device: str | None = Field(
        None,
        description="its name in QEMU's trace, where a driver may use the board's other flash",
    )
    filesystem: SomeSize | None = Field(
        None,
        description="offset of a cramfs behind xipImage, for configs whose workload is cramfs; the "
        "device tree makes it the MTD partition 'filesystem'",
    )
    ioremapped: bool = Field(
        False,
        description="a driver that only reads, such as mtd-rom, has all of it mapped beside the "
        "kernel, writable and not executable as ioremap() does",
    )


class DeviceTree(Model):
    """The device tree that lies in flash or goes to firmware, packed, without seeds.

    `source` is ``qemu`` (dumped from the machine with the board's own options) or a
    path below the kernel's ``arch/<arch>/boot/dts``.
    """

    source: str
    offset: Size | None = Field(
        None, description="where in the flash it lies; absent: firmware hands it to the kernel"
    )
    rng_seed: bool = Field(
        False, description="a seed is there after all: a kernel that wipes it writes to flash"
    )
    memory_node: str | None = Field(
        None, description="node whose reg is set to the RAM given, for a fixed source"
    )
    add: str = Field("", description="device tree source that goes behind it")


def _merged(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(data[key], value)
        if isinstance(value, Mapping) and isinstance(data.get(key), dict)
        else value
        for key, value in changes.items()
    }
    return {**data, **both}


class Board(Model):
    """A QEMU machine with its flash window, RAM, console and boot protocol."""

    description: str
    qemu: Qemu
    flash: Flash
    ram_base: Address = Field(description="physical address of the first byte of RAM")
    ram: SomeSize | None = Field(None, description="its size, where -m is about the ROM")
    xip_phys_addr: Address = Field(description="where in flash xipImage begins (physical)")
    data_phys_addr: Address | None = Field(
        None, description="where writable data begins (physical); RAM base if absent"
    )
    bootargs: str
    device_tree: DeviceTree | None = Field(
        None, description="absent: firmware hands the kernel its device tree"
    )
    reset_stub: str | None = Field(
        None, description="template in templates/<arch>; absent: firmware jumps to xipImage"
    )
    secondary_boot: Address | None = Field(
        None,
        description="register from which secondary CPUs, parked by the reset stub, take where to "
        "start (physical)",
    )
    console_uart: Address | None = Field(
        None,
        description="UART that the reset stub switches on, as the kernel's console expects of a "
        "boot loader (physical)",
    )
    firmware: list[Region] = Field([], description="RAM in which firmware, not Linux, executes")
    poweroff: Literal["machine", "reset"] = Field(
        "machine", description="'reset': no power switch; a restart under -no-reboot ends the run"
    )
    tuxmake_arch: str | None = Field(None, description="overrides the architecture's")
    config: list[ConfigLine] = Field([], description="Kconfig lines that select this board")
    virtual_bits: int | None = Field(
        None,
        ge=32,
        le=64,
        description="how many bits of a virtual address the kernel must use, seen in its page "
        "tables: 39, 48 or 57 on riscv",
    )
    firmware_entry: Pattern | None = Field(
        None,
        description="what firmware says on the console of where it jumps to: a regular expression "
        "whose first group is the address (physical)",
    )
    says: list[Pattern] = Field([], description="what the kernel must say (regular expressions)")
    kernel_virtual_base: Address | None = Field(
        None, description="the architecture's, where it depends on where flash is"
    )
    instructions: list[str] = Field(
        [], description="what else the text of a config must contain that asks for instructions"
    )
    since_qemu: dict[str, dict[str, Any]] = Field(
        {}, description="keys of this board that are others from a QEMU version on"
    )

    def fitted(self, qemu_version: str) -> Board:
        """The board as a QEMU of this version has it. Raises ValidationError."""
        data = self.model_dump(exclude={"since_qemu"}, exclude_unset=True)
        for since in sorted(self.since_qemu, key=Version):
            if Version(since) <= Version(qemu_version):
                data = _merged(data, self.since_qemu[since])
        return Board.model_validate(data)

    @model_validator(mode="after")
    def _fits_every_qemu(self) -> Board:
        for since in self.since_qemu:
            if not is_version(since):
                raise ValueError(f"since_qemu: '{since}' is no version such as 8.1")
        for since in self.since_qemu:
            try:
                self.fitted(since)
            except ValueError as error:
                raise ValueError(f"since_qemu {since}: {error}") from error
        return self

    @model_validator(mode="after")
    def _fits(self) -> Board:
        end = self.flash.base + self.flash.size
        if not self.flash.base <= self.xip_phys_addr < end:
            raise ValueError(
                f"xip_phys_addr {self.xip_phys_addr:#x} is outside the flash "
                f"{self.flash.base:#x}..{end - 1:#x}"
            )
        tree = self.device_tree
        image = self.xip_phys_addr - self.flash.base
        if tree and tree.offset is not None and not tree.offset < image:
            raise ValueError(
                f"device_tree.offset {tree.offset:#x} must be below xipImage at {image:#x}"
            )
        if self.reset_stub and image == 0:
            raise ValueError("reset_stub and xipImage both begin at flash offset 0")
        files = self.flash.filesystem
        if files is not None and (files % _PAGE or not image < files < self.flash.size):
            raise ValueError(
                f"flash.filesystem {files:#x} must be a multiple of {_PAGE:#x} in the flash, "
                f"behind xipImage at {image:#x}"
            )
        rom = self.flash.kind == "rom"
        if rom != (self.ram is not None) or (rom and self.flash.size != self.qemu.memory):
            raise ValueError(
                "flash.kind rom, and it alone, needs the size of the RAM in `ram`; "
                "qemu.memory is that of the ROM, flash.size"
            )
        ram_end = self.ram_base + self.ram_size
        if self.ram_base < end and self.flash.base < ram_end:
            raise ValueError(
                f"RAM {self.ram_base:#x}..{ram_end - 1:#x} overlaps the flash "
                f"{self.flash.base:#x}..{end - 1:#x}"
            )
        if not self.ram_base <= self.data_base < ram_end:
            raise ValueError(
                f"data_phys_addr {self.data_base:#x} is outside the RAM "
                f"{self.ram_base:#x}..{ram_end - 1:#x}"
            )
        return self

    @property
    def ram_size(self) -> int:
        """Bytes of RAM from `ram_base` on."""
        return self.qemu.memory if self.ram is None else self.ram

    @property
    def data_base(self) -> int:
        """Physical address where the kernel's writable data begins."""
        return self.ram_base if self.data_phys_addr is None else self.data_phys_addr


class Debian(Model):
    """A Debian source package such as linux-source-7.3."""

    package: str
    suite: str = Field(description="suite in the system's own mirror, or 'system' for its sources")


class Tarball(Model):
    """A kernel tarball: URL or file, verified by SHA-256 before use."""

    url: str
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    sha256sums: str | None = Field(None, description="URL of a SHA256SUMS file naming the tarball")

    @model_validator(mode="after")
    def _verified(self) -> Tarball:
        if (self.sha256 is None) == (self.sha256sums is None):
            raise ValueError("exactly one of sha256 and sha256sums is needed")
        return self


class Git(Model):
    """A git repository (path or URL) and a ref in it. A path is only ever read."""

    url: str
    ref: str


class LocalTree(Model):
    """An existing source tree, only ever read."""

    path: str


class Provider(Model):
    """One way to get a kernel's source: exactly one key."""

    debian: Debian | None = None
    tarball: Tarball | None = None
    git: Git | None = None
    path: LocalTree | None = None

    @model_validator(mode="after")
    def _one(self) -> Provider:
        given = (self.debian, self.tarball, self.git, self.path)
        if len(self.model_fields_set) != 1 or given.count(None) != len(given) - 1:
            raise ValueError("exactly one of debian, tarball, git and path is needed")
        return self

    @property
    def chosen(self) -> Debian | Tarball | Git | LocalTree:
        """The one provider that is set."""
        found = self.debian or self.tarball or self.git or self.path
        assert found is not None
        return found


class Kernel(Model):
    """Where a kernel's source comes from: providers are tried in order."""

    providers: list[Provider] = Field(min_length=1)


Work = Literal["modules", "bpf", "kexec", "cramfs", "cfi"]


class Config(Model):
    """A base configuration plus rendered fragments."""

    base: str = Field(description="allnoconfig, tinyconfig, or an in-tree *_defconfig")
    fragments: list[Name] = Field([], description="templates/{<arch>,generic}/<name>.config.j2")
    init_cflags: list[str] = Field([], description="how init is compiled for these kernels")
    workload: list[Work] = Field(
        [],
        description="what init must do: use modules or a BPF program, so that code which the "
        "kernel loads to RAM is executed; boot the kernel again by kexec; execute programs from a "
        "cramfs in the kernel's flash; erase and write the board's other flash by CFI",
    )
    instructions: list[str] = Field(
        [], description="what its text must contain, as the architecture's arch.yaml names it"
    )
    says: list[Pattern] = Field([], description="what the kernel must say (regular expressions)")
    compare: Literal["kunit"] | None = Field(
        None,
        description="a normal kernel of the same config is built too and run from RAM; 'kunit': "
        "both must give the same results of the same KUnit suites",
    )


class Rule(Model):
    """Cells that make sense: the product of its lists."""

    kernel: list[str] = Field(min_length=1)
    arch: str
    board: list[str] = Field(min_length=1)
    config: list[str] = Field(min_length=1)
    toolchain: list[str] = ["gcc"]


class KnownFailure(Model):
    """A failure that is declared; an unexpected pass is reported too."""

    cell: str = Field(description="cell id or glob")
    verdict: list[str] = Field(min_length=1)
    reason: str
    since: str = Field("", description="kernel version or date since when it is so")
    expires: date = Field(
        description="the last day (UTC) on which it is excused: then somebody looks again"
    )


class Limits(Model):
    """Seconds of wall time."""

    silence: float = Field(60, gt=0, description="no byte on the console for so long: silent")
    boot: float = Field(300, gt=0, description="from QEMU's start to power-off")
    build: float = Field(7200, gt=0)


class Matrix(Model):
    """matrix.yaml."""

    schema_version: Literal[1] = Field(alias="schema")
    limits: Limits = Limits()
    kernels: dict[Name, Kernel] = Field(min_length=1)
    boards: dict[Name, dict[Name, Board]] = Field(min_length=1)
    configs: dict[Name, Config] = Field(min_length=1)
    cells: list[Rule] = Field(min_length=1)
    known_failures: list[KnownFailure] = []
    thresholds: dict[str, Share] = Field(
        {},
        description="figures whose move is reported, and from which share on (0.01 or 1%)",
    )
    profiles: dict[Name, list[str]] = Field(min_length=1)


class Compiler(Model):
    """A toolchain for an architecture, as tuxmake names it, and the apt packages it needs."""

    packages: list[str]


class RamText(Model):
    """Kernel code that is executed from RAM by design, and why."""

    section: str | None = Field(None, description="ELF section whose copy runs in RAM")
    symbols: list[str] = Field(
        [],
        description="or: the symbols at the two ends of what is copied, so that it ends at "
        "`end`, or to the beginning of a page",
    )
    end: Address | None = Field(None, description="virtual address behind the copy's last byte")
    replaced: dict[int, int] = Field(
        {},
        description="words of the copy that the kernel may replace by another of it, by virtual "
        "address of both",
    )
    why: str

    @model_validator(mode="after")
    def _one_kind(self) -> RamText:
        ends = len(self.symbols)
        if ends != (2 if self.section is None else 0) or (self.section and self.end is not None):
            raise ValueError("a section is named, or the two symbols at the ends of what is copied")
        return self

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.section or self.symbols[0]


class PageTables(Model):
    """How the kernel's own mappings are seen while the machine is stopped."""

    view: Literal["info-mem", "arm"] = Field(
        description="info-mem: QEMU's monitor shows them; else: this format is walked in RAM"
    )
    root: str = Field("", description="symbol of the kernel's first table (virtual)")
    linear_base: Address = Field(
        0, description="virtual address at which the first byte of RAM is mapped (PAGE_OFFSET)"
    )

    @model_validator(mode="after")
    def _walkable(self) -> PageTables:
        if self.view != "info-mem" and not (self.root and self.linear_base):
            raise ValueError(f"{self.view} needs root and linear_base")
        return self


class CodeArea(Model):
    """Virtual addresses at which a kernel puts modules and BPF programs, which are in RAM."""

    virtual_base: Address
    size: Size
    why: str


class Encoding(Model):
    """Instructions `word` of which `word & mask == match` is true."""

    match: int = Field(ge=0, lt=1 << 32)
    mask: int = Field(gt=0, lt=1 << 32)


class Instructions(Model):
    """How instructions of four bytes are found in text."""

    long: Encoding | None = Field(
        None, description="of the first two bytes of one; absent: all have four"
    )
    encodings: dict[str, Encoding] = Field(description="by name in the ISA's manual")


class Init(Model):
    """How the test's init is linked."""

    cflags: list[str] = []
    libgcc: bool = True
    text_virtual_address: Address = Field(
        description="far from every RAM physical address, so that user code is never taken "
        "for kernel code running with the MMU off; 0 without MMU, where it is loaded anywhere"
    )


class Arch(Model):
    """templates/<arch>/arch.yaml: what xipmatrix must know of an architecture."""

    kernel_arch: str = Field(description="ARCH= of the kernel's Makefile")
    like: Name | None = Field(
        None, description="the architecture whose series, and templates after its own, it has"
    )
    mmu: bool = Field(True, description="false: all addresses are physical")
    tuxmake_arch: str
    elf_machine: str = Field(description="e_machine, as pyelftools names it")
    xip_image: str = Field(description="path of the image below the build folder")
    normal_image: str = Field(
        "",
        description="the same without XIP, as QEMU's -kernel loads it into RAM; for configs that "
        "compare",
    )
    packages: list[str] = Field([], description="apt packages beside the compiler, e.g. QEMU")
    toolchains: dict[Name, Compiler] = Field(min_length=1)
    kernel_virtual_base: Address = Field(description="lowest virtual address of the kernel")
    init: Init
    ram_text: list[RamText] = []
    loaded_code: list[CodeArea] = Field(
        [], description="where modules and BPF programs are executed; elsewhere they are not theirs"
    )
    page_tables: PageTables | None = Field(
        None, description="absent: no mapping is looked at, nor is anything said about them"
    )
    instructions: Instructions | None = Field(
        None, description="those of ISA extensions, for configs that must have them"
    )
    rom_sections: dict[str, str] = Field(
        {},
        description="ELF sections marked writable that the kernel only reads, and what they hold",
    )
    linker_script_drift: dict[str, str] = Field(
        {},
        description="input sections (globs) that only the normal linker script has, and why",
    )

    def on(self, board: Board) -> Arch:
        """The architecture as it is on a board, which has its own word on some of it."""
        said = {name: getattr(board, name) for name in ("tuxmake_arch", "kernel_virtual_base")}
        others = {name: value for name, value in said.items() if value is not None}
        return self.model_copy(update=others) if others else self

    @model_validator(mode="after")
    def _no_tables_without_mmu(self) -> Arch:
        if self.page_tables is not None and not self.mmu:
            raise ValueError("page_tables: there are none without MMU")
        return self


class Cell(Model):
    """kernel × arch × board × config × toolchain, all data resolved. Pure data."""

    kernel: str
    arch: str
    board: str
    config: str
    toolchain: str
    kernel_spec: Kernel
    arch_spec: Arch
    board_spec: Board
    config_spec: Config
    expected: list[str] = ["pass"]
    known_reason: str = ""

    @property
    def series(self) -> str:
        """The series of templates that it is built with."""
        return self.arch_spec.like or self.arch

    @property
    def template_folders(self) -> tuple[str, ...]:
        """Folders of templates, the first that has one before the others."""
        return tuple(dict.fromkeys((self.arch, self.series, "generic")))

    @property
    def id(self) -> str:
        """Readable and stable: ``7.3/riscv/virt/tiny/gcc``."""
        return "/".join((self.kernel, self.arch, self.board, self.config, self.toolchain))

    @property
    def folder(self) -> str:
        """The id as one path component."""
        return self.id.replace("/", "__")


def is_version(text: str) -> bool:
    """True where `text` is a kernel version that can be compared."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
