# SPDX-License-Identifier: GPL-2.0-only
"""Compilers by tuxmake's names: make variables, command names, versions."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..core import run
from ..core.errors import InfrastructureError, UsageError
from ..matrix.model import Cell

# Kconfig asks the machine for these and writes their versions into .config, and with IKCONFIG
# they are in the image; no kernel of ours is made by them.
ABSENT = {"PAHOLE": "false", "RUSTC": "false"}


@dataclass(frozen=True)
class Toolchain:
    """A cell's compiler. `make_vars` are what the kernel's Makefile wants on its command line."""

    name: str
    arch: str
    make_vars: tuple[tuple[str, str], ...]
    compiler: str
    version: str

    @property
    def prefix(self) -> str:
        """The CROSS_COMPILE prefix, with which binutils' names begin."""
        return dict(self.make_vars).get("CROSS_COMPILE", "")

    @property
    def make_args(self) -> list[str]:
        """`make_vars` as words of a make command line."""
        return [f"{key}={value}" for key, value in self.make_vars]


def of_cell(cell: Cell) -> Toolchain:
    """The cell's toolchain, found on this machine.

    Raises InfrastructureError where the compiler is missing, UsageError where
    tuxmake does not know architecture or toolchain.
    """
    packages = cell.arch_spec.toolchains[cell.toolchain].packages
    return find(cell.arch_spec.tuxmake_arch, cell.toolchain, " ".join(packages))


@functools.cache
def find(arch_name: str, name: str, packages: str) -> Toolchain:
    """A toolchain by tuxmake's names; `packages` are Debian's. Raises as :func:`of_cell`."""
    # Imported late: tuxmake costs a tenth of a second, which 'list' need not pay.
    from tuxmake.arch import Architecture
    from tuxmake.exceptions import UnsupportedArchitecture, UnsupportedToolchain
    from tuxmake.toolchain import Toolchain as TuxmakeToolchain

    try:
        arch = Architecture(arch_name)
        toolchain = TuxmakeToolchain(name)
    except (UnsupportedArchitecture, UnsupportedToolchain) as error:
        raise UsageError(f"tuxmake does not know '{error}'", where="matrix.yaml") from error
    variables = {**arch.makevars, **toolchain.expand_makevars(arch), **ABSENT}
    compiler = toolchain.compiler(arch)
    if run.find_tool(compiler) is None:
        raise InfrastructureError(
            f"the compiler '{compiler}' is not installed", hint=f"apt-get install {packages}"
        )
    banner = run.run([compiler, "--version"], check=True).output.splitlines()[0]
    return Toolchain(name, arch_name, tuple(sorted(variables.items())), compiler, banner)
