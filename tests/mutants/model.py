# SPDX-License-Identifier: GPL-2.0-only
"""What mutants.yaml may say. The file's own head explains it to people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from ruamel.yaml import YAML

from xipmatrix.core.evidence import Verdict
from xipmatrix.matrix.model import Model

HERE = Path(__file__).parent
ANY = "any"


class Assembler(Model):
    """How an architecture's machine code is made and read."""

    flags: list[str] = Field(description="of the cross assembler")
    jump: str = Field(description="a jump to CAVE, wherever in the kernel that is")
    nop: str = Field(description="fills what is left of an instruction that is replaced")
    cave: str = Field(description="a large function that no boot calls: new code lies there")


class Edit(Model):
    """Machine code written into vmlinux and xipImage.

    `at` is a symbol; with `instruction`, a pattern of its disassembly that fits once, it is
    that instruction in the symbol's code. Where `code` does not fit it goes to the cave, and
    a jump there stands in its place; ``{original}`` in it is what the jump displaced.
    The label BACK is the place behind; FLASH_BASE, FLASH_SIZE and RAM_BASE (physical) are
    numbers.
    """

    at: str
    instruction: str | None = None
    code: str


class Mutant(Model):
    """A broken kernel, or one that only looks so (`expect: pass`)."""

    name: str
    why: str = Field(description="what is broken, and what it would mean in the field")
    arch: list[Literal["arm", "arm-nommu", "riscv"]] = Field(min_length=1)
    kind: Literal["binary", "patch", "config", "board", "init"]
    cell: str = Field(
        "", description="board/config of the cell that it is made of, if not the usual one"
    )
    short: bool = Field(False, description="takes seconds: CI runs it")
    expect: Verdict
    fails: list[str] = Field(
        [],
        description="all evidence that fails, the one that decides first; a name in `groups` "
        "stands for its members; 'stage NAME' is a stage that ended the cell",
    )
    may: list[str] = Field([], description="evidence that may fail too, or not")
    says: str = Field("", description="a pattern in the reason of the verdict")
    names: list[str] = Field([], description="patterns of what ran in RAM as declared")
    pending: dict[str, str] = Field(
        {}, description="by architecture: why the verdict is not right yet; strict"
    )

    # How, by architecture or for `any`.
    edits: dict[str, list[Edit]] = Field({}, description="machine code")
    patches: dict[str, list[str]] = Field({}, description="files of this folder, in order")
    config: dict[str, list[str]] = Field({}, description="lines on top of the cell's")
    board: dict[str, dict[str, Any]] = Field({}, description="keys of the board, replaced")
    bootargs: str = Field("", description="added to the kernel's command line")
    include: str = Field("", description="a header of this folder that init is compiled with")
    room: int | None = Field(
        None, description="the board is judged to have so many bytes of flash behind xipImage"
    )
    cut: int = Field(0, description="bytes that xipImage lacks at its end")
    flip: str = Field("", description="a symbol of which one bit is wrong in xipImage")

    @model_validator(mode="after")
    def _sound(self) -> Mutant:
        if (self.expect is Verdict.PASS) == bool(self.fails):
            raise ValueError(f"{self.name}: what passes fails by nothing, all else by something")
        return self

    def of(self, how: Mapping[str, Any], arch: str) -> Any:
        """The part of `how` that is for `arch`."""
        return how.get(arch, how.get(ANY))


class Suite(Model):
    """mutants.yaml."""

    assemblers: dict[str, Assembler]
    groups: dict[str, list[str]]
    mutants: list[Mutant]

    def expand(self, names: list[str]) -> list[str]:
        """Evidence names, groups replaced by their members, in order."""
        return [one for name in names for one in self.groups.get(name, [name])]


def load_suite(path: Path = HERE / "mutants.yaml") -> Suite:
    """The suite; raises pydantic's ValidationError where it is not one."""
    return Suite.model_validate(YAML(typ="safe").load(path))
