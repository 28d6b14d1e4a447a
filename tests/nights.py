# SPDX-License-Identifier: GPL-2.0-only
"""A night as a CI service would have it: the generated file's own scripts, in a small checkout.

Each job has a folder of its own; what goes from one to another are the artefacts that the file
names, nothing else. Not done: installing packages, looking for newer kernels (network), caches;
the stages come from the user's cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from xipmatrix.core.files import cache_dir, project_dir

# Lines of scripts that need the network.
_NETWORK = ("clean --known", "--until series", "apt-get")
_HERE = {"CI": "true", "XIPMATRIX_INSTALL": "no"}


@dataclass
class Night:
    """One run of a workflow below `root`; `history` is what one night leaves to the next.

    `lost` are shards whose machine died: nothing of them comes back.
    """

    root: Path
    lost: frozenset[int] = frozenset()
    codes: dict[str, int] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def history(self) -> Path:
        return self.root / "history"

    @property
    def kept(self) -> Path:
        """Where artefacts are between jobs."""
        return self.root / "artefacts"

    def checkout(self, name: str) -> Path:
        """What a job starts with."""
        folder = self.root / name
        folder.mkdir(parents=True)
        source = project_dir()
        shutil.copy(source / "matrix.yaml", folder)
        for part in ("templates", "harness"):
            shutil.copytree(
                source / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg*")
            )
        launcher = folder / "xipmatrix"
        launcher.write_text(
            f'#!/bin/sh\nPYTHONPATH="{folder}/harness" exec "{sys.executable}" -m xipmatrix "$@"\n'
        )
        launcher.chmod(0o755)
        (folder / "xip-ci").mkdir()
        (folder / "xip-ci" / "cache").mkdir()
        (folder / "xip-ci" / "history").symlink_to(self.history)
        self.history.mkdir(exist_ok=True)
        return folder

    def script(
        self, name: str, folder: Path, text: str, env: Mapping[str, str], shell: Iterable[str]
    ) -> int:
        """Run a job's script in `folder`; what it says is added to :attr:`output`."""
        done = subprocess.run(
            [*shell, "-c", text],
            cwd=folder,
            # The cache at its own place: a .config names the archive that lies in it.
            env={**os.environ, **env, **_HERE, "XIPMATRIX_CACHE": str(cache_dir())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.output[name] = self.output.get(name, "") + done.stdout
        self.codes[name] = max(self.codes.get(name, 0), done.returncode)
        return done.returncode

    def keep(self, name: str, folder: Path, pattern: str) -> None:
        """Artefact `name`: what `pattern` matches, from the matches' common folder on."""
        found = list(folder.glob(pattern.rstrip("/")))
        if not found:
            return
        common = folder / pattern.split("*")[0].rpartition("/")[0]
        for path in found:
            copy(path, self.kept / name / path.relative_to(common))


def copy(source: Path, target: Path) -> None:
    """A file or folder; folders are laid over what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def offline(text: str) -> str:
    """A script without its lines that need the network."""
    return "\n".join(x for x in text.splitlines() if not any(word in x for word in _NETWORK))


# --- GitHub ---------------------------------------------------------------------------------


def github(text: str, night: Night) -> None:
    """All jobs; expressions that the file does not define raise KeyError."""
    workflow = YAML(typ="safe").load(text)
    outputs: dict[str, str] = {"github.run_id": "1", "github.run_attempt": "1"}
    for name, job in workflow["jobs"].items():
        shards = job.get("strategy", {}).get("matrix", {}).get("shard", [0])
        for shard in shards:
            if shard not in night.lost:
                values = outputs | ({"matrix.shard": str(shard)} if shard else {})
                _github_job(night, f"{name}-{shard}", workflow["env"], job, values)
                for key, value in job.get("outputs", {}).items():
                    outputs[f"needs.{name}.outputs.{key}"] = _filled(value, values)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ *([\w.]+) *\}\}", lambda found: values[found[1]], text)


def _github_job(
    night: Night, name: str, env: Mapping[str, Any], job: Any, values: dict[str, str]
) -> None:
    folder = night.checkout(name)
    output, summary = night.root / f"{name}.output", night.root / "summary"
    failed = False
    for step in job["steps"]:
        if failed and step.get("if") != "always()":
            continue
        given = {
            key: _filled(str(value), values)
            for key, value in step.get("with", {}).items()
            if "key" not in key
        }
        if "run" in step:
            files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
            words = {**env, **job.get("env", {}), **step.get("env", {}), **files}
            words = {key: str(value) for key, value in words.items()}
            script = offline(_filled(step["run"], values))
            shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
            failed = night.script(name, folder, script, words, shell) != 0 or failed
            lines = output.read_text().splitlines() if output.exists() else []
            values |= {
                f"steps.{step['id']}.outputs.{line.split('=')[0]}": line.split("=", 1)[1]
                for line in lines
                if "id" in step
            }
        elif "upload-artifact" in step["uses"]:
            path = given["path"]
            night.keep(given["name"], folder, path if "*" in path else f"{path}*")
        elif "download-artifact" in step["uses"]:
            for found in sorted(night.kept.glob(given.get("pattern", given.get("name", "")))):
                inner = "" if "name" in given else found.name
                copy(found, folder / given["path"] / inner)
    night.summary = summary.read_text() if summary.exists() else ""


# --- GitLab ---------------------------------------------------------------------------------


def gitlab(text: str, night: Night) -> None:
    """All jobs, in the order of their needs, which is the file's."""
    jobs = YAML(typ="safe").load(text)
    common = jobs.pop(".xip")
    for name, job in jobs.items():
        for index in range(1, job.get("parallel", 1) + 1):
            if "parallel" in job and index in night.lost:
                continue
            folder = night.checkout(f"{name}-{index}")
            for needed in job.get("needs", []):
                if (night.kept / needed).is_dir():
                    copy(night.kept / needed, folder)
            env = {**common["variables"], **job.get("variables", {})}
            env |= {"CI_NODE_INDEX": str(index), "CI_PROJECT_DIR": str(folder)}
            env["CCACHE_DIR"] = f"{folder}/xip-ci/ccache"
            script = offline("\n".join(job["script"]))
            night.script(f"{name}-{index}", folder, script, env, ["sh", "-e"])
            for pattern in job["artifacts"]["paths"]:
                for path in folder.glob(pattern.rstrip("/")):
                    copy(path, night.kept / name / path.relative_to(folder))


# --- Jenkins --------------------------------------------------------------------------------


def jenkins(text: str, night: Night) -> None:
    """The three stages; stashes are what the file names."""
    plan, rest = text.split("stage('shards')")
    shards, report = rest.split("stage('report')")
    found = re.search(r"values (.*)", shards)
    assert found
    for name, part, numbers in (
        ("plan", plan, ["0"]),
        ("shard", shards, re.findall(r"\d+", found[1])),
        ("report", report, ["0"]),
    ):
        for number in numbers:
            if name == "shard" and int(number) in night.lost:
                continue
            folder = night.checkout(f"{name}-{number}")
            env = {
                "SHARD": number,
                "PREPARE": "true",
                "HISTORY": str(night.history),
            }
            for step, script, line in re.findall(
                r"\b(unstash|stash|sh) (?:'''(.*?)'''|(.*?)(?= \}|\n))", part, re.S
            ):
                _jenkins_step(night, f"{name}-{number}", folder, step, script, line, env)


def _jenkins_step(
    night: Night, name: str, folder: Path, step: str, script: str, line: str, env: dict[str, str]
) -> None:
    stash = line.replace("${SHARD}", env["SHARD"])
    quoted = re.findall(r"""['"]([^'"]*)['"]""", stash)
    if step == "sh":
        text = offline(script or quoted[0])
        if night.codes.get(name, 0) == 0:
            night.script(name, folder, text, env, ["sh", "-xe"])
    elif step == "unstash":
        if (night.kept / quoted[0]).is_dir():
            copy(night.kept / quoted[0], folder)
    else:
        for path in folder.glob(quoted[1].removesuffix("/**")):
            copy(path, night.kept / quoted[0] / path.relative_to(folder))
