# SPDX-License-Identifier: GPL-2.0-only
"""Instructions that a kernel must have: those of ISA extensions that it was built for.

objdump does not tell: what it knows of an extension depends on attributes that kernels do
not have. Their encodings are data (Arch.instructions, from the ISA's manual).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.evidence import Evidence, Verdict
from ..matrix.model import Cell, Instructions
from .elf import Image


def instruction_evidence(cell: Cell, image: Image) -> list[Evidence]:
    """Whether the text in flash has each of Config.instructions, and of Board.instructions;
    nothing if the config asks for none."""
    wanted, known = cell.config_spec.instructions, cell.arch_spec.instructions
    if not wanted or known is None:
        return []
    wanted = [*wanted, *cell.board_spec.instructions]
    order = "<" if image.little_endian else ">"
    texts = [
        instruction_words(known, section.data, order)
        for section in image.sections
        if section.executable and section.stored and image.placed(section)
    ]
    counts = dict.fromkeys(wanted, 0)
    for name in wanted:
        code = known.encodings[name]
        counts[name] = sum(int(((words & code.mask) == code.match).sum()) for words in texts)
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    missing = [name for name, count in counts.items() if not count]
    if missing:
        summary = f"no {', '.join(missing)} in the text, which is built for them ({summary})"
    return [Evidence("instructions", not missing, summary, Verdict.IMAGE_INVALID, dict(counts))]


def instruction_words(known: Instructions, text: bytes, order: str) -> npt.NDArray[np.uint32]:
    """The instructions of four bytes in `text`, from its first byte on; shorter ones left out."""
    parcels = np.frombuffer(text[: len(text) // 2 * 2], f"{order}u2")
    if known.long is None:
        return np.frombuffer(text[: len(text) // 4 * 4], f"{order}u4").astype(np.uint32)
    is_long = (parcels & known.long.mask) == known.long.match
    starts, at, longs = [], 0, is_long.tolist()
    while at + 1 < len(longs):
        if longs[at]:
            starts.append(at)
        at += 2 if longs[at] else 1
    first = np.array(starts, dtype=np.intp)
    low, high = parcels[first].astype(np.uint32), parcels[first + 1].astype(np.uint32)
    return low | high << np.uint32(16)
