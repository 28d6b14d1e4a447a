# SPDX-License-Identifier: GPL-2.0-only
"""Reading configurations, and naming what Kconfig dropped and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from xipmatrix.build.config import render_fragment
from xipmatrix.build.kconfig import dropped, evaluate, parse_config
from xipmatrix.core.errors import UsageError
from xipmatrix.core.files import project_dir
from xipmatrix.matrix.load import load_matrix


def test_parse_config() -> None:
    text = '# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C="x y"\n# comment\n'
    assert parse_config(text) == {"A": "n", "B": "y", "C": '"x y"'}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("A", True),
        ("B", False),
        ("!B && A", True),
        ("B || (A && !C)", True),
        ("!(A || B)", False),
        ("X = 3", True),
        ("X != 3", False),
        ('S = "on"', False),
        ("M", True),
        ("$(cc-option,-foo)", True),  # unknown: never named as the culprit
        ("A # a comment", True),
    ],
)
def test_evaluate(expression: str, holds: bool) -> None:
    assert evaluate(expression, {"A": "y", "X": "3", "S": "off", "M": "m"}) is holds


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "arch/arm").mkdir(parents=True)
    (tmp_path / "arch/other").mkdir()
    (tmp_path / "init").mkdir()
    (tmp_path / "arch/Kconfig").write_text("config JUMP\n\tbool\n")
    (tmp_path / "arch/arm/Kconfig").write_text(
        "config XIP_KERNEL\n\tbool 'x'\n\tdepends on !MULTI && MMU\n\tdepends on \\\n"
        "\t\t!LPAE\n\thelp\n\t  depends on nothing\n\nconfig LATER\n\tdepends on NEVER\n"
    )
    (tmp_path / "arch/other/Kconfig").write_text("config XIP_KERNEL\n\tdepends on WRONG\n")
    return tmp_path


def test_a_dropped_option_is_named_with_its_unmet_dependencies(tree: Path) -> None:
    wanted = {"XIP_KERNEL": "y", "MMU": "y", "ADDR": "0x00010000", "GONE": "n"}
    final = {"MMU": "y", "MULTI": "y", "ADDR": "0x10000"}
    lost = dropped(wanted, final, tree, "arm")
    assert [one.option for one in lost] == ["XIP_KERNEL"]
    assert lost[0].unmet == ("!MULTI && MMU",)
    assert "CONFIG_XIP_KERNEL: asked for y, got n" in str(lost[0])
    assert dropped(wanted, {**final, "XIP_KERNEL": "y"}, tree, "arm") == []


def test_an_option_no_kconfig_knows_is_dropped_without_a_culprit(tree: Path) -> None:
    (lost,) = dropped({"NO_SUCH": "y"}, {}, tree, "arm")
    assert lost.unmet == ()


@pytest.mark.parametrize("line", ["CONFIG_VFP", "VFP=y", "# CONFIG_VFP is not sett", "vfp yes"])
def test_a_line_that_kconfig_would_pass_over_is_refused(tmp_path: Path, line: str) -> None:
    root = project_dir()
    cell = load_matrix(root / "matrix.yaml", root / "templates").cells[0]
    config = cell.config_spec.model_copy(update={"fragments": ["mine"]})
    cell = cell.model_copy(update={"config_spec": config})
    fragment = tmp_path / "arm" / "mine.config.j2"
    fragment.parent.mkdir()
    good = '# a comment\n\nCONFIG_A=y\nCONFIG_B="x"\n# CONFIG_C is not set\n'
    fragment.write_text(good)
    assert good in render_fragment(cell, "7.3.4", tmp_path, tmp_path)
    fragment.write_text(f"{good}{line}\n")
    with pytest.raises(UsageError, match=f"mine.config.j2: neither an option.*{line}"):
        render_fragment(cell, "7.3.4", tmp_path, tmp_path)
