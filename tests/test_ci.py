# SPDX-License-Identifier: GPL-2.0-only
"""Workflows: valid for their vendors, made of commands that exist, the same when made again."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from ruamel.yaml import YAML

import jenkinsfile
from test_cli import cli
from xipmatrix.ci import MARK, VENDORS, Workflow, limit_minutes, render, shards_for
from xipmatrix.cli import xipmatrix
from xipmatrix.core.errors import UsageError
from xipmatrix.core.files import project_dir
from xipmatrix.matrix.load import Wanted, load_matrix
from xipmatrix.matrix.model import Cell
from xipmatrix.schedule import load_of

USUAL = Workflow(
    filters=("--profile", "nightly"),
    shards=3,
    limit=150,
    schedule="17 2 * * *",
    runner="big",
    image="debian:12",
    keep=30,
)
UNUSUAL = Workflow(
    filters=("--arch", "arm", "--arch", "riscv", "--cell", "7.3/*/virt/*"),
    shards=200,
    limit=60,
    schedule="5 4 * * 1-5",
    runner="linux && big",
    image="",
    keep=5,
)
ONE = Workflow(("--cell", "*"), 1, 60, "17 2 * * *", "x", "debian:13", 1)
BOTH = [pytest.param(USUAL, id="usual"), pytest.param(UNUSUAL, id="unusual"), pytest.param(ONE)]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XIPMATRIX_CACHE": str(tmp_path / "cache"),
        "XIPMATRIX_STATE": str(tmp_path / "state"),
    }


def load(text: str) -> Any:
    return YAML(typ="safe").load(text)


# --- the vendors' schemas -------------------------------------------------------------------

SCHEMAS = {
    "github": ["--builtin-schema", "vendor.github-workflows"],
    "gitlab": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


def schema_allows(vendor: str, text: str, tmp_path: Path) -> bool:
    """Whether the vendor's JSON Schema allows `text`; check-jsonschema brings the schemas."""
    path = tmp_path / f"{vendor}.yml"
    path.write_text(text)
    done = CliRunner().invoke(check_jsonschema, [*SCHEMAS[vendor], str(path)])
    assert done.exit_code in (0, 1), done.output
    assert (done.exit_code == 0) == ("validation done" in done.output), done.output
    return done.exit_code == 0


@pytest.mark.parametrize("workflow", BOTH)
@pytest.mark.parametrize("vendor", ["github", "gitlab"])
def test_the_vendors_schema_allows_it(vendor: str, workflow: Workflow, tmp_path: Path) -> None:
    assert schema_allows(vendor, render(vendor, workflow), tmp_path)


@pytest.mark.parametrize(
    ("vendor", "old", "new"),
    [
        ("github", "runs-on:", "run-on:"),
        ("github", "      fail-fast: false", "      fail-fats: false"),
        ("github", "    steps:", "    step:"),
        ("github", "contents: read", "contents: reed"),
        ("gitlab", "parallel: 3", "parallel: 0"),
        ("gitlab", "  extends: .xip\n  needs: [xip-plan]", "  extends: .xip\n  needs: 3"),
        ("gitlab", "when: always\n    # Not", "when: alwys\n    # Not"),
        ("gitlab", "policy: pull", "policy: pul"),
    ],
)
def test_the_vendors_schema_refuses_a_broken_one(
    vendor: str, old: str, new: str, tmp_path: Path
) -> None:
    text = render(vendor, USUAL)
    assert old in text
    assert not schema_allows(vendor, text.replace(old, new, 1), tmp_path)


@pytest.mark.parametrize("workflow", BOTH)
def test_a_groovy_grammar_and_the_declarative_sections_allow_the_jenkinsfile(
    workflow: Workflow,
) -> None:
    assert jenkinsfile.problems(render("jenkins", workflow)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("agent none", "agent none {", "Groovy does not allow"),
        ("name 'SHARD'", "name 'SHARD", "Groovy does not allow"),
        ("    agent none\n", "", "pipeline has no agent"),
        ("triggers {", "trigger {", "trigger is not allowed in pipeline"),
        ("axes {", "axis {", "matrix has no axes"),
        ("values '1'", "value '1'", "axis has no values"),
        ("always {", "allways {", "allways is not allowed in post"),
        ("            steps {", "            stepz {", "exactly one of"),
        ("pipeline {", "pipelines {", "one pipeline block"),
    ],
)
def test_a_broken_jenkinsfile_is_refused(old: str, new: str, message: str) -> None:
    text = render("jenkins", USUAL)
    assert old in text
    assert message in "\n".join(jenkinsfile.problems(text.replace(old, new, 1)))


# --- what is in them ------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", BOTH)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_command_in_it_exists_with_its_options(vendor: str, workflow: Workflow) -> None:
    text = render(vendor, workflow).replace("${{ matrix.shard }}", "1")
    text = re.sub(r"\$(SHARD|CI_NODE_INDEX)", "1", text)
    lines = re.findall(r"\./xipmatrix ([^>|\n]*)", text)
    assert len(lines) >= 6
    for line in lines:
        name, *words = shlex.split(line)
        command = xipmatrix.get_command(click.Context(xipmatrix), name)
        assert command is not None, line
        command.make_context(name, words)  # raises for an unknown option or a wrong value


def test_a_command_that_does_not_exist_would_be_found() -> None:
    command = xipmatrix.get_command(click.Context(xipmatrix), "build")
    assert command is not None
    for words in (["--shards", "1/2"], ["--shard", "3/2"]):
        with pytest.raises(click.UsageError):
            command.make_context("build", words)


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_host_of_a_registry_is_in_it(vendor: str) -> None:
    text = render(vendor, USUAL)
    assert "://" not in text
    assert not re.search(r"\b[\w-]+\.(io|com|org|net|dev)\b", text)


def test_every_shard_runs_and_none_stops_another() -> None:
    jobs = load(render("github", USUAL))["jobs"]
    assert jobs["shard"]["strategy"] == {"fail-fast": False, "matrix": {"shard": [1, 2, 3]}}
    assert "!cancelled()" in jobs["report"]["if"]
    uploads = [s for s in jobs["shard"]["steps"] if "upload-artifact" in s.get("uses", "")]
    assert [one["if"] for one in uploads] == ["always()"]
    gitlab = load(render("gitlab", USUAL))
    assert gitlab["xip-shard"]["parallel"] == 3
    assert gitlab["xip-shard"]["artifacts"]["when"] == "always"
    assert gitlab["xip-report"]["rules"][0]["when"] == "always"
    assert "values '1', '2', '3'" in render("jenkins", USUAL)


def test_a_cache_is_saved_under_what_it_is_restored_by() -> None:
    """A key that no restore begins with would never be found again."""
    jobs = load(render("github", USUAL))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    restored: dict[str, list[str]] = {}
    for step in steps:
        if "cache/restore" in step.get("uses", ""):
            keys = [step["with"]["key"], *step["with"].get("restore-keys", "").split()]
            restored.setdefault(step["with"]["path"], []).extend(keys)
    saved = [step["with"] for step in steps if "cache/save" in step.get("uses", "")]
    assert {one["path"] for one in saved} == set(restored)
    for one in saved:
        key = one["key"].replace("steps.key.outputs.kernels", "needs.plan.outputs.kernels")
        assert any(key.startswith(prefix) for prefix in restored[one["path"]]), key


def test_stages_of_other_kernels_images_and_shards_are_not_mixed() -> None:
    def key(workflow: Workflow) -> str:
        text = render("github", workflow)
        return next(line for line in text.splitlines() if "key: xip-stages" in line)

    assert "debian-12" in key(USUAL)
    assert "matrix.shard }}of3" in key(USUAL)
    assert "needs.plan.outputs.kernels" in key(USUAL)
    assert "hashFiles('matrix.yaml', 'templates/**', 'harness/**')" in key(USUAL)


# --- the command ----------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_command_in_the_file_writes_the_same_file(
    vendor: str, tmp_path: Path, home: dict[str, str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--arch", "riscv", "--minutes", "20", "--runner", "big", "-o", str(first)]
    done = cli("ci", vendor, *words, env=home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = first.read_text()
    again = shlex.split(text.splitlines()[1].lstrip("#/ "))
    assert again[:3] == ["xipmatrix", "ci", vendor]
    assert cli(*again[1:], "-o", str(second), env=home, cwd=tmp_path).returncode == 0
    assert second.read_text() == text
    assert cli(*again[1:], "-o", "-", env=home, cwd=tmp_path).stdout == text


def test_a_file_that_is_not_ours_is_not_written_over(tmp_path: Path, home: dict[str, str]) -> None:
    path = tmp_path / ".gitlab-ci.yml"
    path.write_text("stages: [mine]\n")
    words = ["ci", "gitlab", "--shards", "2", "-o", str(path)]
    done = cli(*words, env=home, cwd=tmp_path)
    assert (done.returncode, path.read_text()) == (2, "stages: [mine]\n")
    assert "was not written by xipmatrix" in done.stderr
    assert cli(*words, "--force", env=home, cwd=tmp_path).returncode == 0
    assert MARK in path.read_text().lower()
    assert cli(*words, env=home, cwd=tmp_path).returncode == 0  # ours


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["github", "--shards", "257"], "github allows 256 at most"),
        (["gitlab", "--shards", "201"], "gitlab allows 200 at most"),
        (["github", "--runner", "a'b"], "characters that cannot be there"),
        (["jenkins", "--image", "x'''"], "characters that cannot be there"),
        (["github", "--kernel", "./linux"], ""),
        (["github", "--profile", "nightl"], "did you mean nightly"),
        (["travis"], "travis"),
    ],
)
def test_what_cannot_work_is_refused(
    words: list[str], message: str, tmp_path: Path, home: dict[str, str]
) -> None:
    done = cli("ci", *words, "-o", str(tmp_path / "x"), env=home, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_word_that_would_break_the_quotes_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be in a workflow"):
        render("github", Workflow(("--cell", "x\ny"), 1, 60, "", "", "", 1))


# --- how many -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nightly() -> list[Cell]:
    loaded = load_matrix(project_dir() / "matrix.yaml", project_dir() / "templates")
    return loaded.select(Wanted(profile="nightly"))


def test_there_are_as_few_shards_as_the_time_allows(nightly: list[Cell]) -> None:
    measured = {cell.id: 600.0 for cell in nightly}
    count = shards_for(nightly, measured, 30)
    assert load_of(nightly, count, measured) <= 1800 < load_of(nightly, count - 1, measured)
    assert shards_for(nightly, measured, 100000) == 1


def test_more_shards_than_the_longest_cell_allows_are_not_made(nightly: list[Cell]) -> None:
    measured = {cell.id: 100.0 for cell in nightly} | {nightly[0].id: 5000.0}
    assert shards_for(nightly, measured, 1) == 2
    assert shards_for(nightly[:1], {}, 1) == 1


def test_a_shard_gets_thrice_its_time(nightly: list[Cell]) -> None:
    measured = {cell.id: 600.0 for cell in nightly}
    assert limit_minutes(nightly, len(nightly), measured) == 60
    assert limit_minutes(nightly, 1, measured) >= 3 * 10 * len(nightly)
