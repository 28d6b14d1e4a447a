# SPDX-License-Identifier: GPL-2.0-only
# mypy: disable-error-code=no-untyped-call
"""Reports for programs: JSON and JUnit XML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from .. import __version__
from ..core.evidence import Verdict
from ..core.files import write_atomic
from ..result import CellResult, exit_code
from . import figures
from .failures import digest_of, text_of


def summary(found: list[CellResult], run_id: str, folder: Path) -> dict[str, Any]:
    """A run as JSON-able data."""
    return {
        "run": run_id,
        "folder": str(folder),
        "xipmatrix": __version__,
        "exit_code": exit_code(found),
        "cells": [result.as_dict() for result in found],
    }


def json_text(found: list[CellResult], run_id: str, folder: Path) -> str:
    """The same as text."""
    return json.dumps(summary(found, run_id, folder), indent=1, sort_keys=True) + "\n"


def _not_as_expected(result: CellResult) -> Error | Failure:
    """Its message is the digest's headline, its text the excerpt."""
    found = digest_of(result)
    lines = [*text_of(found), f"log: {result.log}", f"again: {figures.reproduce(result)}"]
    kind = Error if result.verdict is Verdict.INFRASTRUCTURE else Failure
    made: Error | Failure = kind(f"{result.label}: {found.headline}", str(result.verdict))
    made.text = "\n".join(lines)
    return made


def write_junit(found: list[CellResult], path: Path) -> None:
    """JUnit XML: a test case per cell, infrastructure faults as errors, known ones skipped."""
    suite = TestSuite("xipmatrix")
    for result in found:
        case = TestCase(
            result.cell, classname="xipmatrix." + result.cell.split("/")[1], time=result.seconds
        )
        if not result.as_expected or result.verdict is Verdict.INFRASTRUCTURE:
            case.result = [_not_as_expected(result)]
        elif result.known_failure:
            case.result = [Skipped(f"{result.label}: {result.known_reason}")]
        properties = Properties()
        for name, value in sorted(result.figures.items()):
            properties.add_property(Property(name, str(value)))
        case.append(properties)
        suite.add_testcase(case)
    document = JUnitXml("xipmatrix")
    document.add_testsuite(suite)
    document.update_statistics()
    write_atomic(path, document.tostring())
