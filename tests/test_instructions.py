# SPDX-License-Identifier: GPL-2.0-only
"""Instructions of extensions that a kernel is built for are found, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from machine_support import make_cell
from xipmatrix.core.evidence import Verdict
from xipmatrix.image.elf import Image, Section
from xipmatrix.image.instructions import instruction_evidence
from xipmatrix.matrix.model import Cell

# As on riscv: the lowest two bits are set where an instruction has four bytes.
KNOWN = {
    "long": {"match": 0x3, "mask": 0x3},
    "encodings": {
        "cpop": {"match": 0x60201013, "mask": 0xFFF0707F},
        "cbo.clean": {"match": 0x0010200F, "mask": 0xFFF07FFF},
    },
}
CPOP, CBO_CLEAN, NOP, C_NOP = 0x60251513, 0x0015200F, 0x00000013, 0x0001


def cell(*wanted: str, known: object = KNOWN) -> Cell:
    made = make_cell(arch={"instructions": known})
    spec = made.config_spec.model_copy(update={"instructions": list(wanted)})
    return made.model_copy(update={"config_spec": spec})


def text(*instructions: int) -> bytes:
    def parts() -> Iterator[bytes]:
        for one in instructions:
            yield one.to_bytes(4 if one & 3 == 3 else 2, "little")

    return b"".join(parts())


def image(*sections: Section) -> Image:
    return Image("EM_RISCV", 0, 8, True, sections, (), ())


def section(data: bytes, **changes: object) -> Section:
    made = Section(".text", "SHT_PROGBITS", 0, 0, len(data), False, True, True, data)
    return replace(made, **changes)  # type: ignore[arg-type]


def counts(wanted: Sequence[str], *sections: Section) -> dict[str, object]:
    (found,) = instruction_evidence(cell(*wanted), image(*sections))
    assert found.holds == all(found.figures.values())
    return dict(found.figures)


def test_they_are_counted() -> None:
    code = text(NOP, CPOP, C_NOP, CPOP, CBO_CLEAN, NOP)
    assert counts(["cpop", "cbo.clean"], section(code)) == {"cpop": 2, "cbo.clean": 1}


def test_without_one_that_was_asked_for() -> None:
    (found,) = instruction_evidence(cell("cpop", "cbo.clean"), image(section(text(CPOP))))
    assert (found.holds, found.breaks) == (False, Verdict.IMAGE_INVALID)
    assert "no cbo.clean" in found.summary


def test_what_lies_across_two_instructions_is_none() -> None:
    # The end of one and the beginning of the next, which look like one of four bytes.
    end, begin = (CPOP & 0xFFFF) << 16 | 0x0013, CPOP >> 16 << 16 >> 16
    assert begin & 3 != 3
    assert counts(["cpop"], section(text(end, begin))) == {"cpop": 0}


def test_only_text_in_flash_counts() -> None:
    code = text(CPOP)
    in_ram = section(code, vma=0x1000, lma=0x10)
    data = section(code, vma=0x20, lma=0x20, executable=False)
    assert counts(["cpop"], section(text(NOP)), in_ram, data) == {"cpop": 0}


def test_instructions_that_all_have_four_bytes() -> None:
    all_long = {"encodings": KNOWN["encodings"]}
    words = (C_NOP | C_NOP << 16).to_bytes(4, "little") + text(CPOP)
    (found,) = instruction_evidence(cell("cpop", known=all_long), image(section(words)))
    assert found.figures == {"cpop": 1}


def test_a_board_may_ask_for_more() -> None:
    made = cell("cpop")
    spec = made.board_spec.model_copy(update={"instructions": ["cbo.clean"]})
    made = made.model_copy(update={"board_spec": spec})
    (found,) = instruction_evidence(made, image(section(text(CPOP))))
    assert not found.holds
    assert found.figures == {"cpop": 1, "cbo.clean": 0}


@pytest.mark.parametrize("wanted", [(), ("cpop",)])
def test_nothing_is_said_where_nothing_is_asked(wanted: tuple[str, ...]) -> None:
    made = cell(*wanted, known=KNOWN if not wanted else None)
    assert instruction_evidence(made, image(section(text(CPOP)))) == []
