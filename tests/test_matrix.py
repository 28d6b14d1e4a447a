# SPDX-License-Identifier: GPL-2.0-only
"""matrix.yaml → cells: what is chosen, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from xipmatrix.core.errors import EXIT_USAGE, UsageError
from xipmatrix.core.files import project_dir
from xipmatrix.matrix.load import LoadedMatrix, Wanted, load_matrix
from xipmatrix.matrix.model import Kernel

ARCH = """\
kernel_arch: {name}
tuxmake_arch: {name}
elf_machine: EM_ARM
xip_image: arch/{name}/boot/xipImage
toolchains: {{gcc: {{packages: [gcc-{name}]}}}}
kernel_virtual_base: 0xbf000000
init: {{text_virtual_address: 0x50000000}}
"""


def board(**changes: Any) -> dict[str, Any]:
    return {
        "description": "a board",
        "qemu": {"binary": "qemu-system-arm", "machine": "virt", "memory": "64M"},
        "flash": {"base": 0, "size": "64M"},
        "ram_base": 0x40000000,
        "xip_phys_addr": 0x10000,
        "bootargs": "console=ttyAMA0",
        **changes,
    }


KNOWN = {
    "cell": "6.12/riscv/*",
    "verdict": ["boot-silent"],
    "reason": "broken there",
    "expires": "2999-12-31",
}


def matrix(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "kernels": {
            "7.3": {"providers": [{"debian": {"package": "linux-source-7.3", "suite": "system"}}]},
            "6.12": {"providers": [{"path": {"path": "/nowhere"}}]},
        },
        "boards": {"arm": {"virt": board(), "old": board()}, "riscv": {"virt": board()}},
        "configs": {"tiny": {"base": "allnoconfig"}},
        "cells": [
            {
                "kernel": ["7.3", "6.12"],
                "arch": "arm",
                "board": ["virt", "old"],
                "config": ["tiny"],
            },
            {"kernel": ["7.3", "6.12"], "arch": "riscv", "board": ["virt"], "config": ["tiny"]},
        ],
        "known_failures": [KNOWN],
        "profiles": {"smoke": ["7.3/*/virt/tiny/gcc"], "nightly": ["*"]},
        **changes,
    }


def load(tmp_path: Path, data: dict[str, Any], **more: Any) -> LoadedMatrix:
    for name in ("arm", "riscv"):
        (tmp_path / "templates" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "templates" / name / "arch.yaml").write_text(ARCH.format(name=name))
    path = tmp_path / "matrix.yaml"
    with path.open("w") as stream:
        YAML().dump(data, stream)
    return load_matrix(path, tmp_path / "templates", **more)


def ids(loaded: LoadedMatrix, **wanted: Any) -> list[str]:
    return [cell.id for cell in loaded.select(Wanted(**wanted))]


def test_a_config_that_compares_needs_a_normal_image(tmp_path: Path) -> None:
    configs = {"tiny": {"base": "allnoconfig", "compare": "kunit"}}
    with pytest.raises(UsageError, match=r"none of arm is known") as caught:
        load(tmp_path, matrix(configs=configs))
    assert "normal_image" in caught.value.hint


def test_the_default_is_the_smoke_profile_and_filters_narrow(tmp_path: Path) -> None:
    loaded = load(tmp_path, matrix())
    smoke = ["7.3/arm/virt/tiny/gcc", "7.3/riscv/virt/tiny/gcc"]
    assert ids(loaded) == smoke
    assert ids(loaded, arch=("arm", "riscv")) == smoke
    assert ids(loaded, arch=("riscv",)) == smoke[1:]
    assert len(ids(loaded, profile="nightly")) == 6
    assert ids(loaded, board=("old",)) == ["7.3/arm/old/tiny/gcc", "6.12/arm/old/tiny/gcc"]
    assert ids(loaded, cells=("6.12/*/virt/*",)) == [
        "6.12/arm/virt/tiny/gcc",
        "6.12/riscv/virt/tiny/gcc",
    ]


def test_another_kernel_takes_the_place_of_the_profiles_kernel(tmp_path: Path) -> None:
    loaded = load(tmp_path, matrix())
    assert ids(loaded, kernel=("6.12",), arch=("arm",)) == ["6.12/arm/virt/tiny/gcc"]
    own = Kernel.model_validate({"providers": [{"path": {"path": "/mine"}}]})
    loaded = load(tmp_path, matrix(), extra_kernels={"mine": own})
    assert ids(loaded, kernel=("mine",)) == ["mine/arm/virt/tiny/gcc", "mine/riscv/virt/tiny/gcc"]
    assert ids(loaded) == ["7.3/arm/virt/tiny/gcc", "7.3/riscv/virt/tiny/gcc"]


def test_known_failures_set_what_is_expected(tmp_path: Path) -> None:
    loaded = load(tmp_path, matrix())
    expected = {cell.id: (cell.expected, cell.known_reason) for cell in loaded.cells}
    assert expected["6.12/riscv/virt/tiny/gcc"] == (["boot-silent"], "broken there")
    assert expected["6.12/arm/virt/tiny/gcc"] == (["pass"], "")


def test_a_declaration_excuses_until_its_last_day(tmp_path: Path) -> None:
    cell = "6.12/riscv/virt/tiny/gcc"
    loaded = load(tmp_path, matrix())
    last = {one.id: one for one in replace(loaded, today=date(2999, 12, 31)).cells}
    later = {one.id: one for one in replace(loaded, today=date(3000, 1, 1)).cells}
    assert last[cell].expected == ["boot-silent"]
    assert later[cell].expected == ["pass"]
    assert "expired on 2999-12-31" in later[cell].known_reason


def test_thresholds_are_shares(tmp_path: Path) -> None:
    loaded = load(tmp_path, matrix(thresholds={"image_bytes": "0.5%", "ram_bytes": 0.02}))
    assert loaded.matrix.thresholds == {"image_bytes": 0.005, "ram_bytes": 0.02}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"arch": ("rscv",)}, "unknown architecture 'rscv'.*did you mean riscv"),
        ({"kernel": ("7.4",)}, "unknown kernel '7.4'.*did you mean 7.3"),
        ({"board": ("vert",)}, "unknown board 'vert'.*did you mean virt"),
        ({"config": ("tinny",)}, "unknown config 'tinny'.*did you mean tiny"),
        ({"toolchain": ("clang",)}, "unknown toolchain 'clang'.*known: gcc"),
        ({"profile": "nigthly"}, "unknown profile 'nigthly'.*did you mean nightly"),
        ({"cells": ("7.3/arm/virt/tiny/gc",)}, "unknown cell.*did you mean 7.3/arm/virt/tiny/gcc"),
        ({"arch": ("riscv",), "board": ("old",)}, "no cell is left"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    tmp_path: Path, wanted: dict[str, Any], message: str
) -> None:
    import re

    with pytest.raises(UsageError) as caught:
        load(tmp_path, matrix()).select(Wanted(**wanted))
    assert re.search(message, str(caught.value), re.S)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema: Input should be 1"),
        ({"kernels": {}}, "kernels: .*at least 1"),
        ({"kernels": {"7.3": {"providers": []}}}, "kernels.7.3.providers"),
        ({"kernels": {"7.3": {"providers": [{}]}}}, "exactly one of debian, tarball, git and path"),
        (
            {"kernels": {"7.3": {"providers": [{"tarball": {"url": "x"}}]}}},
            "exactly one of sha256 and sha256sums",
        ),
        ({"boards": {"arm": {"virt": board(xip_phys_addr=0x8000000)}}}, "outside the flash"),
        (
            {"boards": {"arm": {"virt": board(device_tree={"source": "qemu", "offset": "64K"})}}},
            "must be below xipImage",
        ),
        (
            {"boards": {"arm": {"virt": board(flash={**board()["flash"], "filesystem": "64K"})}}},
            "flash.filesystem 0x10000 must be .* behind xipImage at 0x10000",
        ),
        (
            {"boards": {"arm": {"virt": board(flash={**board()["flash"], "filesystem": "64M"})}}},
            "must be a multiple of 0x1000 in the flash",
        ),
        (
            {"boards": {"arm": {"virt": board(flash={**board()["flash"], "filesystem": 0x80001})}}},
            "must be a multiple of 0x1000",
        ),
        (
            {"configs": {"tiny": {"base": "allnoconfig", "workload": ["cramfs"]}}},
            r"boards.arm.virt.flash: .*config 'tiny' wants a cramfs in flash.*flash.filesystem",
        ),
        ({"boards": {"arm": {"virt": board(colour="red")}}}, "colour: unknown key"),
        (
            {"boards": {"arm": {"virt": board(qemu={**board()["qemu"], "cpus": 2, "icount": 0})}}},
            "icount is for one CPU",
        ),
        ({"boards": {"sparc": {"virt": board()}}}, "unknown architecture 'sparc'"),
        (
            {"cells": [{"kernel": ["7.3"], "arch": "arm", "board": ["vrit"], "config": ["tiny"]}]},
            r"matrix.yaml:\d+: cells.0.board: unknown board 'vrit'.*did you mean virt",
        ),
        (
            {
                "known_failures": [
                    {
                        "cell": "*",
                        "verdict": ["boot-slient"],
                        "reason": "r",
                        "expires": "2999-12-31",
                    }
                ]
            },
            "unknown verdict 'boot-slient'.*did you mean boot-silent",
        ),
        (
            {
                "known_failures": [
                    {
                        "cell": "9.9/*",
                        "verdict": ["boot-panic"],
                        "reason": "r",
                        "expires": "2999-12-31",
                    }
                ]
            },
            "'9.9/\\*' matches no cell",
        ),
        ({"known_failures": [{"cell": "*", "verdict": ["pass"], "reason": "r"}]}, "expires: this"),
        (
            {
                "known_failures": [
                    {"cell": "*", "verdict": ["pass"], "reason": "r", "expires": "soon"}
                ]
            },
            "expires: .*date",
        ),
        ({"thresholds": {"image_byte": "1%"}}, "unknown figure 'image_byte'.*image_bytes"),
        ({"thresholds": {"image_bytes": "1 percent"}}, "a share such as 1% or 0.01"),
        (
            {
                "known_failures": [
                    {
                        "cell": "6.12/riscv/*",
                        "verdict": ["pass"],
                        "reason": "r",
                        "expires": "2999-12-31",
                    }
                ]
            },
            "unknown verdict 'pass'.*known: .*boot-silent",
        ),
        (
            {
                "known_failures": [
                    {
                        "cell": "*",
                        "verdict": ["infrastructure"],
                        "reason": "r",
                        "expires": "2999-12-31",
                    }
                ]
            },
            "unknown verdict 'infrastructure'",
        ),
        (
            {
                "known_failures": [
                    {
                        "cell": "6.12/*",
                        "verdict": ["boot-panic"],
                        "reason": "r",
                        "expires": "2999-12-31",
                    },
                    {
                        "cell": "6.12/riscv/*",
                        "verdict": ["boot-silent"],
                        "reason": "r",
                        "expires": "2999-12-31",
                    },
                ]
            },
            "known_failures.1.cell: 6.12/riscv/virt/tiny/gcc is declared twice: "
            "as boot-panic and as boot-silent",
        ),
        (
            {"profiles": {"smoke": ["7.3/mips/*"]}},
            r"matrix.yaml:\d+: profiles.smoke.0: '7.3/mips/\*' matches no cell"
            ".*cells are called 7.3/arm/virt/tiny/gcc",
        ),
        ({"kernels": {"7.3": {"providers": [{"debian": None}]}}}, "exactly one of debian, tarball"),
        ({"boards": {"arm": {"virt": board(ram_base=0)}}}, "RAM 0x0..0x3ffffff overlaps the flash"),
        (
            {"boards": {"arm": {"virt": board(data_phys_addr=0x80000000)}}},
            "data_phys_addr 0x80000000 is outside the RAM 0x40000000..0x43ffffff",
        ),
        (
            {"boards": {"arm": {"virt": board(flash={"base": 0, "size": 0})}}},
            "flash.size: .*than 0",
        ),
        ({"boards": {"arm": {"virt": board(config=["VFP=y"])}}}, "config.0: .*pattern"),
        ({"boards": {"arm": {"virt": board(config=["CONFIG_VFP"])}}}, "config.0: .*pattern"),
        (
            {
                "boards": {
                    "arm": {"virt": board(reset_stub="none.S.j2"), "old": board()},
                    "riscv": {"virt": board()},
                }
            },
            "boards.arm.virt.reset_stub: none.S.j2: no such template.*looked in .*/arm",
        ),
        (
            {
                "boards": {
                    "arm": {"virt": board(reset_stub="../riscv/arch.yaml"), "old": board()},
                    "riscv": {"virt": board()},
                }
            },
            "boards.arm.virt.reset_stub: .*/arm/../riscv/arch.yaml: the template leaves its folder",
        ),
        (
            {"configs": {"tiny": {"base": "allnoconfig", "fragments": ["tniy"]}}},
            r"matrix.yaml:\d+: configs.tiny.fragments.0: tniy.config.j2: no such template",
        ),
    ],
)
def test_a_malformed_or_contradictory_matrix_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    import re

    with pytest.raises(UsageError) as caught:
        load(tmp_path, matrix(**changes))
    text = str(caught.value)
    assert re.search(message, text, re.S)
    assert "matrix.yaml" in text
    assert len(text.splitlines()) < 24  # one screen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 3000, "malformed YAML: too deeply nested"),
        ("limits: {silence: 1}\nlimits: {boot: 2}\n", 'yaml:2: .*found duplicate key "limits"$'),
    ],
)
def test_yaml_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_matrix(path, tmp_path)


def test_a_new_board_is_data_only(tmp_path: Path) -> None:
    data = matrix()
    data["boards"]["arm"]["vexpress-a15"] = board(
        flash={"base": 0x08000000, "size": "64M"}, xip_phys_addr=0x08010000, ram_base=0x80000000
    )
    data["cells"][0]["board"].append("vexpress-a15")
    assert "7.3/arm/vexpress-a15/tiny/gcc" in ids(load(tmp_path, data), profile="nightly")


def test_the_projects_own_matrix_holds_together() -> None:
    root = project_dir()
    loaded = load_matrix(root / "matrix.yaml", root / "templates")
    assert ids(loaded) == ["7.3/arm/virt/tiny/gcc", "7.3/riscv/virt/tiny/gcc"]
    everything = ids(loaded, profile="nightly")
    assert len(everything) == len(set(everything)) == len(loaded.cells)


def test_a_cell_moves_to_another_kernel_with_what_is_known_there(tmp_path: Path) -> None:
    loaded = load(tmp_path, matrix())
    (cell,) = loaded.select(Wanted(cells=("7.3/riscv/virt/tiny/gcc",)))
    moved = loaded.of_kernel(cell, "6.12")
    assert moved == loaded.select(Wanted(cells=("6.12/riscv/virt/tiny/gcc",)))[0]
    assert loaded.of_kernel(moved, "7.3") == cell


NEWER = {"8.1": {"flash": {"base": 0x2000000}, "xip_phys_addr": 0x2000000}}


@pytest.mark.parametrize(
    ("version", "address"),
    [("7.2.22", 0x10000), ("8.1.0", 0x2000000), ("10.0.2", 0x2000000), (None, 0x10000)],
)
def test_a_board_is_as_the_installed_qemu_has_it(
    tmp_path: Path, version: str | None, address: int
) -> None:
    data = matrix()
    data["boards"]["riscv"]["virt"] = board(since_qemu=NEWER)
    loaded = load(tmp_path, data, version_of=lambda _binary: version)
    found = loaded.matrix.boards["riscv"]["virt"]
    assert found.xip_phys_addr == address
    # What the newer one does not change, deep inside, stays.
    assert found.flash.size == 64 << 20
    assert loaded.matrix.boards["arm"]["virt"].xip_phys_addr == 0x10000


@pytest.mark.parametrize(
    ("since", "says"),
    [
        ({"8.1": {"xip_phys_addr": 0x4000000}}, "since_qemu 8.1: .*outside the flash"),
        ({"8.1": {"nothing": 1}}, "since_qemu 8.1: .*nothing"),
        ({"new": {}}, "'new' is no version"),
    ],
)
def test_what_a_newer_qemu_changes_is_checked_with_every_qemu(
    tmp_path: Path, since: dict[str, Any], says: str
) -> None:
    data = matrix()
    data["boards"]["riscv"]["virt"] = board(since_qemu=since)
    with pytest.raises(UsageError, match=f"(?s){says}"):
        load(tmp_path, data, version_of=lambda _binary: "7.2")


def test_an_instruction_that_the_architecture_does_not_know(tmp_path: Path) -> None:
    configs = {"tiny": {"base": "allnoconfig", "instructions": ["cpop"]}}
    with pytest.raises(UsageError, match="unknown instruction 'cpop'") as caught:
        load(tmp_path, matrix(configs=configs))
    assert "matrix.yaml" in str(caught.value.where)


def test_an_instruction_of_a_board_that_the_architecture_does_not_know(tmp_path: Path) -> None:
    data = matrix()
    data["boards"]["riscv"]["virt"] = board(instructions=["cpop"])
    with pytest.raises(UsageError, match="unknown instruction 'cpop'"):
        load(tmp_path, data)


def test_where_the_kernel_is_may_depend_on_the_board(tmp_path: Path) -> None:
    data = matrix()
    data["boards"]["riscv"]["virt"] = board(since_qemu={"8.1": {"kernel_virtual_base": 0x5FC00000}})
    for version, base in (("7.2", 0xBF000000), ("10.0", 0x5FC00000)):
        loaded = load(tmp_path, data, version_of=lambda _binary, it=version: it)
        (found,) = {c.arch_spec.kernel_virtual_base for c in loaded.cells if c.arch == "riscv"}
        assert found == base


def test_a_board_may_have_another_tuxmake_architecture(tmp_path: Path) -> None:
    data = matrix()
    data["boards"]["riscv"]["virt"] = board(tuxmake_arch="armv5")
    loaded = load(tmp_path, data)
    (found,) = {c.arch_spec.tuxmake_arch for c in loaded.cells if c.arch == "riscv"}
    assert found == "armv5" != loaded.archs["riscv"].tuxmake_arch
