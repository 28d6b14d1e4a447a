# SPDX-License-Identifier: GPL-2.0-only
"""A store of made-up nightly runs for the tests of pages: every verdict, and hostile text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.report.html import write_pages
from xipmatrix.result import CellResult, Stage, StageRecord, exit_code
from xipmatrix.store import RunRow, Store, upkeep

PASS, PANIC, SILENT = Verdict.PASS, Verdict.BOOT_PANIC, Verdict.BOOT_SILENT
THRESHOLDS = {"image_bytes": 0.01, "ram_bytes": 0.01, "flash_instructions": 0.05}
HOSTILE = (
    "Booting Linux\r\n"
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">\r\n"
    "\x1b[31mred\x1b[0m \x1b]0;owned\x07 \x9b31m \u202edlrow\u202c zero\u200bwidth\r\n"
    "</pre></details><style>*{display:none}</style><!-- {{ 7 * 7 }} {% raw %}\r\n"
    "&lt;already&gt; 'quotes' \"too\"\r\n"
)
RISCV, SMP = "7.3/riscv/virt/tiny/gcc", "7.3/riscv/virt-smp4/tiny/gcc"
ARM, OLD_ARM = "7.3/arm/virt/tiny/gcc", "6.12/arm/virt/tiny/gcc"
KNOWN, BUILD, FLAKY = (
    "7.3/arm/versatilepb/versatile_defconfig/gcc",
    "6.12/riscv/virt/defconfig/gcc",
    "7.3/arm/vexpress-a9/tiny/clang",
)
CELLS = (RISCV, SMP, ARM, OLD_ARM, KNOWN, BUILD, FLAKY)


def verdict_of(cell: str, day: int) -> Verdict | None:
    """What became of `cell` on the `day`-th day."""
    if cell == RISCV:
        return PANIC if day in (6, 12) else PASS
    if cell == SMP:
        return SILENT if day >= 9 else PASS
    if cell == KNOWN:
        return Verdict.IMAGE_INVALID
    if cell == BUILD:
        return Verdict.BUILD_FAILED if day < 12 else PASS
    if cell == FLAKY and day == 12:
        return Verdict.FLAKY
    if cell == OLD_ARM and day == 5:
        return Verdict.INFRASTRUCTURE
    return PASS


def made_up(cell: str, day: int, folder: Path, console: str = HOSTILE) -> CellResult:
    """A result with evidence, figures and a console log in `folder`."""
    verdict = verdict_of(cell, day)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "console.log"
    log.write_bytes(console.encode())
    good = verdict is PASS
    drift = 1.05 if day > 7 else 1 + 0.0004 * day
    release = f"{cell.split('/')[0]}.{4 + day // 5}"
    figures = {
        "image_bytes": round(2_144_084 * drift),
        "ram_bytes": 176_532 + 4096 * (day > 10),
        "mem_available_kb": 62_048,
        "flash_instructions": 20_609_994 + 1000 * day,
        "flash_share": 0.99998,
    }
    return CellResult(
        cell=cell,
        expected=["image-invalid"] if cell == KNOWN else ["pass"],
        known_reason="its modules patch text <b>in place</b>" if cell == KNOWN else "",
        verdict=verdict,
        reason="" if good else "Kernel panic - not syncing: <i>Attempted to kill init!</i>\x1b[0m",
        hint="" if good else "see the console",
        log=str(log),
        stages=[StageRecord(Stage.BUILD, 141.25), StageRecord(Stage.BOOT, 2.5, cached=True)],
        evidence=[
            Evidence("config", True, "XIP_KERNEL=y", Verdict.IMAGE_INVALID, {"at": "0x10000"}),
            Evidence(
                "in-place",
                good,
                "20609994 of 20610398 kernel instructions came from flash (99.9980 %)",
                Verdict.NOT_IN_PLACE,
                {
                    "flash": 20_609_994,
                    "symbols": ["vector_irq", "<b>"],
                    "entry_virtual": 0xBF010000,
                },
            ),
            Evidence("unknown-tables", day % 2 == 0, "one table", PASS, {"tables": {"a": 1}}),
        ],
        figures=dict(figures) if verdict not in (Verdict.BUILD_FAILED, SILENT) else {},
        versions={"kernel": f"{release} (Debian)", "compiler": "gcc 12", "qemu": "7.2.22"},
        paths={"console": str(log), "config": "/cache/config", "boot": str(folder)},
    )


def run_row(day: int) -> RunRow:
    """A run that has begun on the `day`-th."""
    return RunRow(
        id=f"202611{day:02d}T021000-{100 + day}",
        began=f"2026-11-{day:02d}T02:10:00.000000+00:00",
        ended="",
        exit_code=None,
        command="xipmatrix build --profile nightly --notify 'mail -s <XIP> me'",
        host="buildhost",
        xipmatrix="0.1.0",
        matrix="0123456789abcdef" * 4,
    )


def nightly(
    state: Path, days: int = 12, cells: tuple[str, ...] = CELLS, *, first: int = 1
) -> Store:
    """Runs from the `first` day on, one a night; the same but for the place of `state`."""
    store = Store(state)
    for day in range(first, first + days):
        row = run_row(day)
        folder = store.folder(row.id)
        found = [made_up(cell, day, cell_folder(store, row, cell)) for cell in cells]
        ended = row.began.replace("T02:10:00", "T03:40:05")
        put(store, replace(row, ended=ended, exit_code=exit_code(found)), *found)
        upkeep.adopt(store, folder)
    return store


def cell_folder(store: Store, row: RunRow, cell: str) -> Path:
    return store.folder(row.id) / "cells" / cell.replace("/", "__")


def put(store: Store, row: RunRow, *results: CellResult) -> None:
    """Files as a run leaves them, without its care for a power cut: that takes seconds."""
    store.folder(row.id).mkdir(parents=True, exist_ok=True)
    data = {name: value for name, value in vars(row).items() if name != "counts"}
    (store.folder(row.id) / "run.json").write_text(json.dumps(data))
    for one in results:
        folder = cell_folder(store, row, one.cell)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(one.as_dict()))


def twelve_nights(make: pytest.TempPathFactory) -> Path:
    """A folder with twelve nights' pages."""
    folder = make.mktemp("html")
    store = nightly(make.mktemp("state"))
    write_pages(store, store.runs(), folder, THRESHOLDS)
    return folder
