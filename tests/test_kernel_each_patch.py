# SPDX-License-Identifier: GPL-2.0-only
"""A series that builds as a whole, of which one patch does not build on its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from conftest import ARM, JOBS, TEMPLATES
from xipmatrix.build.place import BuildPlace
from xipmatrix.core.evidence import Verdict
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.pipeline import Options, Pipeline
from xipmatrix.pipeline.each_patch import PatchRecord, all_records, each_patch, keep_records
from xipmatrix.store import Store

# Two kernels, and two that fail: not in CI, with the mutants.
pytestmark = pytest.mark.mutants

END = 'static int __init xip_end(void)\n{\n\tpanic("x");\n}\nearly_initcall(xip_end);'
PATCHES = [
    {
        "subject": "init: Use what is declared in the next patch",
        "why": "It builds as a whole.",
        "edits": [
            {
                "do": "append",
                "file": "init/main.c",
                "text": "int xip_test(void);\nint xip_test(void) { return next_patch; }",
            }
        ],
    },
    {
        "subject": "init: Declare it",
        "why": "Too late.",
        "edits": [
            {
                "do": "insert-before",
                "file": "init/main.c",
                "anchor": "int xip_test(void);",
                "text": "static int next_patch;",
            }
        ],
    },
    {
        "subject": "init: End it all",
        "why": "It builds, and boots no more.",
        "edits": [
            {
                "do": "append",
                "file": "init/main.c",
                "text": END,
            }
        ],
    },
]


def test_the_patch_that_does_not_build_is_named(loaded: LoadedMatrix, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES / "arm", templates / "arm")
    shutil.copytree(TEMPLATES / "generic", templates / "generic")
    yaml = YAML(typ="safe")
    for name in ("generic", "arm"):
        path = templates / name / "series.yaml"
        series = yaml.load(path)
        # What lets it boot and pass: its zero page in RAM, and no store into flash by its hyp stub.
        series["patches"] = [series["patches"][0], *(PATCHES if name == "arm" else [])]
        yaml.dump(series, path)
    (cell,) = loaded.select(Wanted(cells=(ARM,)))
    place = BuildPlace(tmp_path / "place")
    run = Store(tmp_path / "state").new_run("a test")
    pipeline = Pipeline(loaded, templates, run, Options(jobs=JOBS, place=place), lambda *_: None)

    done = list(each_patch(pipeline, cell, place, tmp_path / "logs"))

    assert [(one.number, one.xip) for one in done] == [
        *((number, False) for number in range(6)),
        *((number, True) for number in range(6)),
    ]
    failed = {(one.number, one.xip): one.failure for one in done if one.failure is not None}
    assert set(failed) == {(3, False), (3, True)}
    for failure in failed.values():
        assert failure.verdict is Verdict.BUILD_FAILED
        assert "next_patch" in failure.reason
    assert not any(one.absent for one in done)
    normal = [one.image for one in done[:6]]
    assert normal[2] != normal[4] != normal[5] and not normal[3]

    # With XIP each is booted, and what booted before must go on to.
    boots = [one.boot.verdict if one.boot else None for one in done[6:]]
    assert boots == [
        *(Verdict.BOOT_PANIC, Verdict.FLASH_MODIFIED, Verdict.PASS),
        *(None, Verdict.PASS, Verdict.BOOT_PANIC),
    ]
    records = [PatchRecord.of(cell, done[:at], one) for at, one in enumerate(done)]
    wrong = {(one.number, one.xip) for one, kept in zip(done, records, strict=True) if kept.wrong}
    assert wrong == {(3, False), (3, True), (5, True)}
    assert records[-1].wrong.startswith("boot-panic: ")
    keep_records(tmp_path / "kept/one", records)
    assert all_records(tmp_path / "kept") == records
