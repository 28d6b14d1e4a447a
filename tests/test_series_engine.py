# SPDX-License-Identifier: GPL-2.0-only
"""Series on git objects: commits, states, conflicts, and files that git am takes."""

from __future__ import annotations

import dataclasses
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from xipmatrix.core.errors import UsageError
from xipmatrix.core.git import Repository
from xipmatrix.kernel import KernelTree
from xipmatrix.series.engine import State, apply_all, sources
from xipmatrix.series.export import write_series

FILES = {
    "Makefile": "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n",
    "Kbuild": "",
    "Kconfig": "",
    "arch/toy/Kconfig": "config TOY\n\tdef_bool y\n\tselect JUMP\n",
    "arch/toy/head.S": "start:\n\tfirst\n\tsecond\n",
    "init/main.c": "int main;\n",
}


@pytest.fixture
def kernel(tmp_path: Path) -> KernelTree:
    return make_kernel(tmp_path / "kernel.git", FILES)


def make_kernel(git_dir: Path, files: dict[str, str]) -> KernelTree:
    repository = Repository.create(git_dir)
    index = {"GIT_INDEX_FILE": str(git_dir / "index")}
    for path, text in files.items():
        blob = repository.git("hash-object", "-w", "--stdin", input_bytes=text.encode())
        repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
    tree = repository.git("write-tree", env=index)
    commit = repository.commit_tree(tree, "Linux 7.3.4\n", date="2000-01-01T00:00:00Z")
    return KernelTree("7.3", "7.3.4", "a test", git_dir, commit, tree)


def series(**changes: Any) -> dict[str, Any]:
    return {
        "title": "toy: execute in place",
        "applies": ">=7.1",
        "cover": "What and why.",
        "trailers": ["Assisted-by: LLM xipmatrix"],
        "patches": [
            {
                "subject": "toy: Select jump labels only without XIP",
                "why": "Text in flash cannot be patched.",
                "edits": [
                    {
                        "do": "kconfig-select",
                        "file": "arch/toy/Kconfig",
                        "entry": "TOY",
                        "symbols": ["JUMP"],
                        "condition": "!XIP_KERNEL",
                    }
                ],
            },
            {
                "subject": "toy: Copy data",
                "why": "It is written.",
                "edits": [
                    {
                        "do": "insert-after",
                        "file": "arch/toy/head.S",
                        "anchor": "\tfirst",
                        "template": "copy.S.j2",
                    },
                    {"do": "create", "file": "arch/toy/xip.c", "text": "int xip;\n"},
                ],
            },
        ],
        **changes,
    }


def write(tmp_path: Path, data: dict[str, Any], name: str = "toy", copy: str = "\tcopy\n") -> Path:
    folder = tmp_path / "templates" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "series.yaml").open("w") as stream:
        YAML().dump(data, stream)
    (folder / "copy.S.j2").write_text(copy)
    return tmp_path / "templates"


def text_at(kernel: KernelTree, commit: str, path: str) -> str | None:
    return Repository(kernel.git_dir).text(f"{commit}:{path}")


def test_a_series_becomes_commits_without_a_work_tree(tmp_path: Path, kernel: KernelTree) -> None:
    applied = apply_all(sources(write(tmp_path, series())), kernel)["toy"]
    assert applied.state is State.APPLIES
    assert len(applied.commits) == 2
    assert text_at(kernel, applied.tip, "arch/toy/head.S") == "start:\n\tfirst\n\tcopy\n\tsecond\n"
    assert text_at(kernel, applied.tip, "arch/toy/xip.c") == "int xip;\n"
    assert text_at(kernel, applied.tip, "init/main.c") == "int main;\n"
    message = Repository(kernel.git_dir).git("log", "-1", "--format=%B", applied.commits[0])
    assert message.splitlines()[0] == "toy: Select jump labels only without XIP"
    assert message.endswith("Assisted-by: LLM xipmatrix")
    assert apply_all(sources(tmp_path / "templates"), kernel)["toy"] == applied  # same ids


def test_a_file_that_goes_is_gone_for_later_edits_and_for_git_am(
    tmp_path: Path, kernel: KernelTree
) -> None:
    data = series()
    data["patches"][0]["edits"].append({"do": "remove", "file": "init/main.c"})
    again = {"do": "create", "file": "init/main.c", "text": "int other;\n"}
    data["patches"][1]["edits"].append(again)
    applied = apply_all(sources(write(tmp_path, data)), kernel)["toy"]
    assert text_at(kernel, applied.commits[0], "init/main.c") is None
    assert text_at(kernel, applied.tip, "init/main.c") == "int other;\n"

    data["patches"][1]["edits"][-1]["do"] = "append"
    applied = apply_all(sources(write(tmp_path, data)), kernel)["toy"]
    assert applied.state is State.CONFLICT
    assert "patch 2" in applied.detail
    assert "the file does not exist" in applied.detail


def test_patches_equal_on_every_run_and_git_am_takes_them(
    tmp_path: Path, kernel: KernelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sources(write(tmp_path, series()))
    (applied,) = write_series(found, kernel, tmp_path / "one")
    # The user's own git configuration must not show.
    config = tmp_path / "gitconfig"
    config.write_text("[format]\n\tattach = true\n[diff]\n\tnoprefix = true\n[user]\n\tname = X\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    write_series(found, kernel, tmp_path / "two")
    folder = tmp_path / "one" / "7.3" / "toy"
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "0000-cover-letter.patch"
    assert len(names) == 3
    for name in names:
        assert (folder / name).read_bytes() == (
            tmp_path / "two" / "7.3" / "toy" / name
        ).read_bytes()
    cover = (folder / names[0]).read_text()
    assert "Subject: [PATCH 0/2] toy: execute in place" in cover
    assert "What and why." in cover
    assert "generated-content.rst" in cover
    assert f"base-tree: {kernel.tree}" in cover
    assert "Signed-off-by" not in cover
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    clone = tmp_path / "clone"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b"]
    Repository(kernel.git_dir).git("update-ref", "refs/heads/base", kernel.commit)
    subprocess.run([*git, "clone", "-q", kernel.git_dir, clone], check=True)
    patches = [str(folder / name) for name in names[1:]]
    subprocess.run([*git, "am", "-q", *patches], cwd=clone, check=True)
    tree = subprocess.run(
        ["git", "rev-parse", "HEAD^{tree}"], cwd=clone, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert tree == Repository(kernel.git_dir).git("rev-parse", f"{applied.tip}^{{tree}}")


def test_foreign_kernels_get_nothing_and_stale_patches_go(
    tmp_path: Path, kernel: KernelTree
) -> None:
    stale = tmp_path / "out" / "7.3" / "toy"
    stale.mkdir(parents=True)
    found = sources(write(tmp_path, series(applies=">=7.4")))
    (applied,) = write_series(found, kernel, tmp_path / "out")
    assert (applied.state, applied.tip) == (State.NONE, kernel.commit)
    assert not stale.exists()


def test_messages_and_cover_are_templates_as_the_edits_are(
    tmp_path: Path, kernel: KernelTree
) -> None:
    words = "{% if version >= (7, 10) %}\nNew.\n{% else %}\nFor {{ kernel }}.\n{% endif %}\n"
    data = series(cover=words)
    data["patches"][0]["why"] = words
    (applied,) = write_series(sources(write(tmp_path, data)), kernel, tmp_path / "out")
    message = Repository(kernel.git_dir).git("log", "-1", "--format=%b", applied.commits[0])
    assert message.splitlines()[0] == "For 7.3.4."
    cover = (tmp_path / "out" / "7.3" / "toy" / "0000-cover-letter.patch").read_text()
    assert "\n\nFor 7.3.4.\n\n" in cover
    data["patches"][0]["why"] = "{{ nothing }}"
    with pytest.raises(UsageError, match=r"patch 1.*'nothing' is undefined"):
        apply_all(sources(write(tmp_path, data)), kernel)


def test_several_that_write_the_same_patches_do_not_disturb_each_other(
    tmp_path: Path, kernel: KernelTree
) -> None:
    found = sources(write(tmp_path, series()))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(write_series, found, kernel, tmp_path / "out") for _ in range(12)]
    assert {run.result()[0].state for run in runs} == {State.APPLIES}
    assert len(list((tmp_path / "out" / "7.3" / "toy").iterdir())) == 3
    assert [path.name for path in (tmp_path / "out" / "7.3").iterdir()] == ["toy"]


@pytest.mark.parametrize("times", [0, 2])
def test_a_moved_anchor_is_a_conflict_that_names_everything(tmp_path: Path, times: int) -> None:
    files = dict(FILES)
    files["arch/toy/head.S"] = "start:\n\tfirstly\n" + "\tfirst\n" * times
    kernel = make_kernel(tmp_path / "k.git", files)
    (applied,) = write_series(sources(write(tmp_path, series())), kernel, tmp_path / "out")
    assert (applied.state, applied.tip, applied.commits) == (State.CONFLICT, kernel.commit, ())
    for wanted in (
        "series.yaml",
        "patch 2 'toy: Copy data', edit 1",
        "arch/toy/head.S",
        "7.3.4",
        "matches nowhere" if times == 0 else "matches 2 times",
        "2: \tfirstly" if times == 0 else "3: \tfirst",
    ):
        assert wanted in applied.detail
    assert not (tmp_path / "out").exists()


def test_generic_is_the_base_of_the_others(tmp_path: Path, kernel: KernelTree) -> None:
    edit = {"do": "create", "file": "generic.txt", "text": "x\n"}
    patches = [{"subject": "xip: generic", "why": "w", "edits": [edit]}]
    write(tmp_path, series(patches=patches), "generic")
    states = apply_all(sources(write(tmp_path, series())), kernel)
    assert list(states) == ["generic", "toy"]
    assert states["toy"].base == states["generic"].tip
    assert text_at(kernel, states["toy"].tip, "generic.txt") == "x\n"


def test_where_generic_does_not_apply_nothing_that_stands_on_it_does(
    tmp_path: Path, kernel: KernelTree
) -> None:
    edit = {"do": "delete", "file": "Makefile", "anchor": "what is nowhere"}
    patches = [{"subject": "xip: generic", "why": "w", "edits": [edit]}]
    write(tmp_path, series(patches=patches), "generic")
    states = apply_all(sources(write(tmp_path, series())), kernel)
    assert {one.state for one in states.values()} == {State.CONFLICT}
    assert states["toy"].detail == "series toy stands on series generic, which does not apply"


def test_a_patch_without_edits_for_this_kernel_is_no_empty_commit(
    tmp_path: Path, kernel: KernelTree
) -> None:
    data = series()
    data["patches"][0]["edits"][0]["when"] = {"kernel": "<7.0"}
    assert len(apply_all(sources(write(tmp_path, data)), kernel)["toy"].commits) == 1


def test_a_kernel_that_has_every_patch_is_there_already(tmp_path: Path, kernel: KernelTree) -> None:
    wanted = series()
    for patch in wanted["patches"]:
        patch["when"] = {"file": "arch/toy/head.S", "contains": "not there"}
    applied = apply_all(sources(write(tmp_path, wanted)), kernel)["toy"]
    assert (applied.state, applied.tip) == (State.NATIVE, kernel.commit)
    assert "has all of this series already" in applied.detail


def test_conditions_choose_edits_and_patches(tmp_path: Path, kernel: KernelTree) -> None:
    data = series()
    data["patches"][0]["when"] = {"kernel": "<7.0"}
    data["patches"][1]["edits"][1]["when"] = {"file": "init/main.c", "lacks": "int main;"}
    applied = apply_all(sources(write(tmp_path, data)), kernel)["toy"]
    assert len(applied.commits) == 1
    assert text_at(kernel, applied.tip, "arch/toy/xip.c") is None


@pytest.mark.parametrize(
    ("changes", "copy", "message"),
    [
        ({}, "{{ nothing }}", "copy.S.j2:1: .*'nothing' is undefined"),
        ({}, "{% include '../../secret' %}", "TemplateNotFound"),
        ({"patches": [{"subject": "s", "why": "w", "edits": []}]}, "", "edits"),
        ({"title": "x" * 76}, "", "title"),
        ({"colour": 1}, "", "unknown key"),
    ],
)
def test_bad_templates_name_file_and_line(
    tmp_path: Path, kernel: KernelTree, changes: dict[str, Any], copy: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        apply_all(sources(write(tmp_path, series(**changes), copy=copy)), kernel)


def test_an_edit_that_changes_nothing_is_a_conflict(tmp_path: Path, kernel: KernelTree) -> None:
    data = series()
    data["patches"][1]["edits"][0] = {
        "do": "replace",
        "file": "arch/toy/head.S",
        "anchor": "\tfirst",
        "text": "\tfirst\n",
    }
    applied = apply_all(sources(write(tmp_path, data)), kernel)["toy"]
    assert applied.state is State.CONFLICT
    assert "changes nothing" in applied.detail


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"do": "create", "file": "link/new.c", "text": "x"}, "link is a symbolic link, not a"),
        ({"do": "create", "file": "init/main.c/new.c", "text": "x"}, "init/main.c is a file, not"),
        ({"do": "create", "file": "arch/toy", "text": "x"}, "arch/toy is a folder, not a regular"),
        (
            {"do": "replace", "file": "link", "anchor": "arch/toy", "text": "/etc"},
            "link is a symbolic link, not a regular file",
        ),
    ],
)
def test_no_edit_goes_through_a_link_or_takes_the_place_of_something_else(
    tmp_path: Path, kernel: KernelTree, edit: dict[str, Any], message: str
) -> None:
    repository = Repository(kernel.git_dir)
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    target = repository.git("hash-object", "-w", "--stdin", input_bytes=b"arch/toy")
    repository.git("read-tree", kernel.commit, env=index)
    repository.git("update-index", "--add", "--cacheinfo", f"120000,{target},link", env=index)
    tree = repository.git("write-tree", env=index)
    linked = dataclasses.replace(
        kernel, commit=repository.commit_tree(tree, "link\n", date="2000-01-01T00:00:00Z")
    )
    data = series(patches=[{"subject": "toy: Leave", "why": "w", "edits": [edit]}])
    applied = apply_all(sources(write(tmp_path, data)), linked)["toy"]
    assert (applied.state, applied.tip) == (State.CONFLICT, linked.commit)
    assert "patch 1 'toy: Leave'" in applied.detail
    assert message in applied.detail


def test_objects_that_are_there_and_not(kernel: KernelTree) -> None:
    repository = Repository(kernel.git_dir)
    there = f"{kernel.commit}^{{tree}}"
    assert repository.has([there, kernel.commit])
    assert not repository.has([there, "0" * 40])
