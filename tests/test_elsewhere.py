# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that were built elsewhere: files that are not what they are given for, and graded
answers where something is not known. With small ELF files; test_kernel_verify.py has real ones."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import TEMPLATES
from image_support import CONFIG, link
from machine_support import make_cell
from xipmatrix.build.kconfig import config_of
from xipmatrix.core.errors import UsageError
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.image import read_image, static_evidence
from xipmatrix.image.own_init import init_can_start
from xipmatrix.machine.qemu import Preload, boot_args
from xipmatrix.machine.result import BootResult
from xipmatrix.matrix.load import LoadedMatrix
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Options, Pipeline, elsewhere
from xipmatrix.pipeline.given import Foreign, Given, cell_of, examine
from xipmatrix.result import CellResult
from xipmatrix.store import Store
from xipmatrix.verdict import decide
from xipmatrix.verdict.own_init import init_was_taken

BANNER = "Linux version 7.3.4-own (me@here) #1"
# What a kernel needs for our init, and its version, in a section of its own.
KERNEL = f"""
.section .rodata,"a",@progbits
.globl linux_banner, phys_initrd_start, load_elf_binary, proc_root_init, tty_register_driver
linux_banner: .asciz "{BANNER}\\n"
phys_initrd_start: load_elf_binary: proc_root_init: tty_register_driver: .long 0
"""
HEAD = (
    "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm 7.3.4 Kernel Configuration\n#\n"
)
DOT_CONFIG = HEAD + "".join(f"CONFIG_{name}={value}\n" for name, value in CONFIG.items())


def ikconfig(folder: Path, text: str = DOT_CONFIG) -> str:
    """Assembler for what kernel/configs.c leaves in a kernel."""
    packed = gzip.compress(text.encode())
    data = ", ".join(str(byte) for byte in packed)
    return f'{KERNEL}.ascii "IKCFG_ST"\n.byte {data}\n.ascii "IKCFG_ED"\n'


def look(folder: Path, config: Path | None = None, cell: Cell | None = None) -> Foreign:
    """The kernel in `folder`, examined."""
    given = Given(folder / "vmlinux", folder / "xipImage", config)
    return examine(cell or make_cell(), given)


def refused(folder: Path, config: Path | None = None, cell: Cell | None = None) -> str:
    """What is said of the kernel in `folder`, which is no kernel to be judged."""
    with pytest.raises(UsageError) as error:
        look(folder, config, cell)
    return str(error.value)


# --- files --------------------------------------------------------------------------------


def test_a_sound_kernel(tmp_path: Path) -> None:
    link(tmp_path, source=KERNEL)
    (tmp_path / ".config").write_text(DOT_CONFIG)
    kernel = look(tmp_path)
    assert kernel.banner == BANNER
    assert kernel.options == CONFIG
    assert kernel.origin == str(tmp_path / ".config")


def test_a_stripped_vmlinux(tmp_path: Path) -> None:
    subprocess.run(["strip", link(tmp_path)], check=True)
    said = refused(tmp_path)
    assert "has no symbols: it is stripped" in said and "build folder" in said


@pytest.mark.parametrize("left", [0, 3, 40, 3000, -1])
def test_a_vmlinux_that_is_cut(left: int, tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    vmlinux.write_bytes(vmlinux.read_bytes()[:left])
    assert str(vmlinux) in refused(tmp_path)


def test_a_vmlinux_of_another_architecture(tmp_path: Path) -> None:
    link(tmp_path)
    said = refused(tmp_path, cell=make_cell(arch={"elf_machine": "EM_RISCV"}))
    assert "is for EM_X86_64, arm/test is EM_RISCV" in said


def test_files_that_are_swapped(tmp_path: Path) -> None:
    link(tmp_path)
    swapped = Given(tmp_path / "xipImage", tmp_path / "vmlinux")
    with pytest.raises(UsageError, match="is no ELF file"):
        examine(make_cell(), swapped)
    shutil.copy(tmp_path / "vmlinux", tmp_path / "xipImage")
    assert "is no xipImage, but an ELF file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (bytes(0x24) + b"\x18\x28\x6f\x01", "a zImage"),
        (b"\x1f\x8b" + bytes(60), "gzip"),
        (b"\x27\x05\x19\x56" + bytes(60), "uImage"),
        (b"\xd0\x0d\xfe\xed" + bytes(60), "device tree"),
    ],
    ids=["empty", "zImage", "gzip", "uImage", "device tree"],
)
def test_another_kind_of_image(data: bytes, what: str, tmp_path: Path) -> None:
    link(tmp_path)
    (tmp_path / "xipImage").write_bytes(data)
    assert what in refused(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(tmp_path)


# --- board --------------------------------------------------------------------------------


def test_the_image_is_found_in_a_build_folder(loaded: LoadedMatrix, tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    image = tmp_path / "arch" / "riscv" / "boot" / "xipImage"
    image.parent.mkdir(parents=True)
    (tmp_path / "xipImage").rename(image)
    cell, given = cell_of(loaded, "riscv/virt", Given(vmlinux))
    assert given.image == image
    assert cell.id.startswith("elsewhere/riscv/virt/") and cell.id.endswith("/gcc")
    with pytest.raises(UsageError, match="no xipImage beside it"):
        cell_of(loaded, "arm/virt", Given(vmlinux))


@pytest.mark.parametrize("name", ["arm/vert", "virt", "risc/virt", "arm/virt/tiny"])
def test_an_unknown_board(name: str, loaded: LoadedMatrix, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        cell_of(loaded, name, Given(link(tmp_path)))
    assert f"unknown board '{name}'" in str(error.value) and "/virt" in str(error.value)


def test_device_trees(loaded: LoadedMatrix, tmp_path: Path) -> None:
    vmlinux, own = link(tmp_path), tmp_path / "own.dtb"
    own.write_bytes(b"text")

    def built_for(board: str, tree: Path | None) -> Path | None:
        given = Given(vmlinux, tmp_path / "xipImage", None, tree)
        cell = cell_of(loaded, board, given)[0]
        arch = cell.arch_spec.model_copy(update={"elf_machine": "EM_X86_64"})
        return examine(cell.model_copy(update={"arch_spec": arch}), given).built.device_tree

    with pytest.raises(UsageError, match="firmware hands riscv/virt its device tree"):
        built_for("riscv/virt", own)
    with pytest.raises(UsageError, match="is no device tree blob"):
        built_for("arm/virt", own)
    own.write_bytes(b"\xd0\x0d\xfe\xed" + bytes(60))
    assert built_for("arm/virt", own) == own
    assert built_for("arm/virt", None) is None, "QEMU has one"
    place = tmp_path / "arch/arm/boot/dts/arm/vexpress-v2p-ca9.dtb"
    place.parent.mkdir(parents=True)
    shutil.copy(own, place)
    assert built_for("arm/vexpress-a9", None) == place


# --- .config ------------------------------------------------------------------------------


def test_what_a_kernel_carries_is_its_config(tmp_path: Path) -> None:
    link(tmp_path, source=ikconfig(tmp_path))
    beside = tmp_path / ".config"
    beside.write_text(DOT_CONFIG.replace("XIP_KERNEL=y", "XIP_KERNEL=n"))
    kernel = look(tmp_path)
    assert (kernel.options, kernel.origin) == (CONFIG, "IKCONFIG of vmlinux")
    said = refused(tmp_path, beside)
    assert "is not what vmlinux was built with: its IKCONFIG differs in XIP_KERNEL" in said


def test_a_damaged_ikconfig(tmp_path: Path) -> None:
    link(tmp_path, source=KERNEL + '.ascii "IKCFG_ST"\n.byte 0x1f, 0x8b, 1, 2, 3\n')
    assert "its own .config is damaged" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("CONFIG_XIP_KERNEL=y\n", "is no whole .config"),
        (DOT_CONFIG.replace("7.3.4", "7.3.5"), "is of Linux/arm 7.3.5, vmlinux is Linux/arm 7.3.4"),
        (DOT_CONFIG.replace("7.3.4", "7.3.40"), "is of Linux/arm 7.3.40"),
        (DOT_CONFIG.replace("7.3.4", "7.3"), "is of Linux/arm 7.3, vmlinux is Linux/arm 7.3.4-own"),
        (DOT_CONFIG.replace("Linux/arm", "Linux/riscv"), "is of Linux/riscv"),
    ],
)
def test_a_config_of_another_kernel(text: str, what: str, tmp_path: Path) -> None:
    link(tmp_path, source=KERNEL)
    config = tmp_path / "config"
    config.write_text(text)
    assert what in refused(tmp_path, config)
    assert what in refused(tmp_path), "beside vmlinux"


def test_a_config_is_known_by_its_head() -> None:
    assert config_of(DOT_CONFIG) == ("arm", "7.3.4")
    assert config_of("CONFIG_X=y\n") is None


# --- graded answers -----------------------------------------------------------------------


def static(folder: Path, config: dict[str, str] | None = None) -> dict[str, Evidence]:
    found = static_evidence(make_cell(), config, folder / "vmlinux", folder / "xipImage")
    return {one.name: one for one in found}


def test_an_unknown_config_is_said_with_the_verdict(tmp_path: Path) -> None:
    link(tmp_path)
    found = static(tmp_path)
    assert not found["config"].holds and found["config"].advisory
    assert found["config"].weakness == "config unknown"
    judged = decide(list(found.values()))
    assert judged.verdict is Verdict.PASS
    result = CellResult.of(make_cell())
    result.verdict, result.evidence = judged.verdict, list(judged.evidence)
    assert result.label == "pass (config unknown)"
    weak = Evidence("in-place", True, "", Verdict.NOT_IN_PLACE, {"grade": "sampled"})
    result.evidence += [weak, weak]
    assert result.label == "pass (config unknown, sampled)"


DIVISION = ".text\n.globl __aeabi_idiv\n.type __aeabi_idiv, @function\n__aeabi_idiv: .fill 8\n"
JUMPS = """
.globl __start___jump_table, __stop___jump_table
.section .jumps,"a",@progbits
__start___jump_table: .quad start, start, start
__stop___jump_table:
"""


@pytest.mark.parametrize(
    ("source", "config", "verdict"),
    [
        # Nothing but .config tells whether division is patched.
        (DIVISION, None, Verdict.NOT_APPLICABLE),
        (DIVISION, CONFIG, None),
        (DIVISION, {**CONFIG, "ARM_PATCH_IDIV": "y"}, Verdict.IMAGE_INVALID),
        # Who applies jump labels is seen in vmlinux, whatever a .config says.
        (JUMPS, None, None),
        (JUMPS + ".globl jump_label_init\njump_label_init:\n", None, Verdict.IMAGE_INVALID),
        (JUMPS + ".globl jump_label_init\njump_label_init:\n", CONFIG, Verdict.IMAGE_INVALID),
    ],
)
def test_a_table_is_harmless_only_where_that_is_known(
    source: str, config: dict[str, str] | None, verdict: Verdict | None, tmp_path: Path
) -> None:
    rom = ".jumps : { *(.jumps) }" if source.startswith(JUMPS) else ""
    link(tmp_path, source=source, rom=rom)
    sites = static(tmp_path, config)["patch-sites"]
    assert (sites.holds, None if sites.holds else sites.breaks) == (verdict is None, verdict)
    if verdict is Verdict.NOT_APPLICABLE:
        assert sites.summary.startswith("only the .config would tell whether there is integer-div")


def test_deflated_data_is_seen_without_a_config(tmp_path: Path) -> None:
    link(tmp_path, source=".text\n.globl __inflate_kernel_data\n__inflate_kernel_data:\n")
    assert not static(tmp_path)["image-is-vmlinux"].holds
    raw = (tmp_path / "xipImage").read_bytes()
    (tmp_path / "xipImage").write_bytes(raw[:-256] + gzip.compress(raw[-256:]))
    assert static(tmp_path)["image-is-vmlinux"].holds


def test_a_kernel_at_another_virtual_address(tmp_path: Path) -> None:
    link(tmp_path)
    cell = make_cell(arch={"kernel_virtual_base": 0xC0000000})
    files = tmp_path / "vmlinux", tmp_path / "xipImage"
    found = {one.name: one for one in static_evidence(cell, CONFIG, *files)}["elf-machine"]
    assert (found.holds, found.breaks) == (False, Verdict.NOT_APPLICABLE)
    assert "linked at 0xbf010000" in found.summary


def test_a_32_bit_kernel_for_a_64_bit_board(tmp_path: Path) -> None:
    link(tmp_path, bits=32)
    cell = make_cell(arch={"elf_machine": "EM_386", "kernel_virtual_base": 0xFF00000000000000})
    files = tmp_path / "vmlinux", tmp_path / "xipImage"
    found = {one.name: one for one in static_evidence(cell, CONFIG, *files)}["elf-machine"]
    assert (found.holds, found.breaks) == (False, Verdict.IMAGE_INVALID)


def test_what_our_init_needs(tmp_path: Path) -> None:
    image = read_image(link(tmp_path, source=KERNEL))
    assert init_can_start(CONFIG, image).holds
    assert init_can_start(None, image).holds
    for option in ("INITRAMFS_FORCE", "CMDLINE_FORCE"):
        found = init_can_start({**CONFIG, option: "y"}, image)
        assert (found.holds, found.breaks) == (False, Verdict.NOT_APPLICABLE)
        assert option in found.summary
    found = init_can_start(CONFIG, image, mmu=False)
    assert not found.holds and "CONFIG_BINFMT_ELF_FDPIC" in found.summary
    bare = read_image(link(tmp_path))
    found = init_can_start(CONFIG, bare)
    assert (found.holds, found.breaks) == (False, Verdict.NOT_APPLICABLE)
    assert "CONFIG_BLK_DEV_INITRD" in found.summary and "CONFIG_TTY" in found.summary


LINE = "Kernel command line: console=ttyAMA0 "
OURS = LINE + "xipmatrix.challenge=0123456789abcdef\n"
STARTED = "Run /init as init process\n"


@pytest.mark.parametrize(
    ("console", "sure", "verdict"),
    [
        (OURS + "\nXIPMATRIX-INIT 1\n", True, None),
        # What comes of a kernel that took all we gave is for others to judge.
        (OURS + STARTED, True, None),
        (OURS + "Kernel panic - not syncing: x\n", False, None),
        (OURS, False, None),
        ("", False, None),
        (LINE + "\n", True, Verdict.NOT_APPLICABLE),
        (LINE + "\n\nXIPMATRIX-INIT 1\n", True, Verdict.NOT_APPLICABLE),
        (
            OURS + "INITRD: 0x42000000+0x00002000 is not a memory region - disabling initrd\n",
            True,
            Verdict.INFRASTRUCTURE,
        ),
        (OURS + STARTED, False, Verdict.NOT_APPLICABLE),
    ],
)
def test_a_kernel_that_did_not_take_our_init(
    console: str, sure: bool, verdict: Verdict | None, tmp_path: Path
) -> None:
    log, initrd = tmp_path / "console.log", tmp_path / "init.cpio"
    log.write_text(console)
    initrd.write_bytes(b"070701")
    boot = BootResult.__new__(BootResult)
    object.__setattr__(boot, "console", log)
    object.__setattr__(boot, "challenge", "0123456789abcdef")
    found = init_was_taken(boot, Preload(initrd, 0x42000000), sure=sure)
    assert (found.holds, None if found.holds else found.breaks) == (verdict is None, verdict)


def test_what_lies_in_ram_is_given_to_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XIPMATRIX_CACHE", str(tmp_path / "cache"))
    preload = Preload(tmp_path / "a,b.cpio", 0x42000000)
    board = make_cell().board_spec
    args = boot_args(board, tmp_path / "f", bootargs="", work=tmp_path, preload=preload)
    (loader,) = [word for word in args if word.startswith("loader,")]
    assert loader == f"loader,file={tmp_path}/a,,b.cpio,addr=0x42000000,force-raw=on"


# --- the whole way, as far as it goes without a kernel --------------------------------------


def judged(folder: Path, loaded: LoadedMatrix, cell: Cell) -> tuple[Verdict | None, str]:
    run = Store(folder / "state").new_run()
    pipeline = Pipeline(loaded, TEMPLATES, run, Options(jobs=1), lambda *words: None)
    result = elsewhere.verify(pipeline, cell, look(folder, cell=cell), "again", "")
    assert (run.cell_folder(cell) / "result.json").is_file()
    assert result.command == "again"
    return result.verdict, result.reason


def test_an_image_for_another_board(loaded: LoadedMatrix, tmp_path: Path) -> None:
    link(tmp_path, source=KERNEL)
    (tmp_path / ".config").write_text(DOT_CONFIG)
    verdict, reason = judged(tmp_path, loaded, make_cell({"xip_phys_addr": 0x20000}))
    assert verdict is Verdict.IMAGE_INVALID
    assert "XIP_PHYS_ADDR=0x00010000, but the board's is 0x20000" in reason


def test_an_image_that_is_another_kernels(loaded: LoadedMatrix, tmp_path: Path) -> None:
    link(tmp_path, source=KERNEL)
    (tmp_path / "xipImage").write_bytes((tmp_path / "xipImage").read_bytes()[:-1])
    verdict, reason = judged(tmp_path, loaded, make_cell())
    assert verdict is Verdict.IMAGE_INVALID
    assert reason.startswith("image-is-vmlinux: xipImage differs from vmlinux in .data")


def test_a_kernel_that_cannot_start_our_init(loaded: LoadedMatrix, tmp_path: Path) -> None:
    link(tmp_path)
    verdict, reason = judged(tmp_path, loaded, make_cell())
    assert verdict is Verdict.NOT_APPLICABLE
    assert reason.startswith("init-can-start: without CONFIG_BLK_DEV_INITRD")


def test_a_board_whose_device_tree_is_missing(loaded: LoadedMatrix, tmp_path: Path) -> None:
    link(tmp_path, source=KERNEL)
    tree = {"source": "arm/own.dtb", "offset": 0x1000}
    verdict, reason = judged(tmp_path, loaded, make_cell({"device_tree": tree}))
    assert verdict is Verdict.NOT_APPLICABLE
    assert "--dtb FILE: beside vmlinux is no arch/arm/boot/dts/arm/own.dtb" in reason
