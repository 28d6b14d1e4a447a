# SPDX-License-Identifier: GPL-2.0-only
"""apt with a state of its own: packages of any suite, the system's sources untouched.

Mirror and keys come from the system's own configuration, signatures are checked by apt
itself. Everything apt writes (lists, caches, downloads) lies in one folder of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..core.files import Say, bytes_in, write_atomic
from ..core.progress import Throttle, megabytes, run_watched

SYSTEM = "system"
_KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
_FIELDS = ("REPO_URI", "RELEASE", "ORIGIN", "LABEL", "SIGNED_BY")
# Hooks of the system would act on the system's caches; an unsigned source stays refused.
_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
APT::Get::List-Cleanup "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
"""


@dataclass(frozen=True)
class Target:
    """One repository of the system's apt configuration."""

    uri: str
    release: str
    origin: str
    label: str
    signed_by: str


@dataclass(frozen=True)
class Package:
    """A downloaded, verified package."""

    name: str
    version: str
    path: Path


def parse_targets(text: str) -> list[Target]:
    """What ``apt-get indextargets`` says in our format; fields it does not know become ''."""
    found = []
    for line in text.splitlines():
        values = ["" if v.startswith("$(") else v.strip() for v in line.split("|")]
        if len(values) == len(_FIELDS) and values[0]:
            found.append(Target(*values))
    return list(dict.fromkeys(found))


def debian_mirror(targets: list[Target], os_release: dict[str, str]) -> Target | None:
    """The system's mirror of Debian's main archive (not of its security one), or None.

    Where apt has no lists yet, and so knows no origin, the suite's name or the path tells.
    """
    on_debian = os_release.get("ID") == "debian"
    codename = os_release.get("VERSION_CODENAME", "")

    def fits(target: Target) -> int:
        if "security" in target.release or "security" in target.label.lower():
            return 0
        if target.uri.startswith("cdrom:"):
            return 0
        if target.origin:
            # The backports suites are the only other part of this archive.
            own = target.origin == "Debian" and target.label in ("Debian", "Debian Backports")
            return 3 if own else 0
        if on_debian and codename and target.release.split("-")[0] in (codename, "stable"):
            return 2
        return int(target.uri.rstrip("/").endswith("/debian"))

    best = max(targets, key=fits, default=None)
    return best if best is not None and fits(best) else None


def system_mirror(suite: str) -> Target:
    """The system's Debian mirror. Raises InfrastructureError, naming `suite`, if there is none."""
    shape = "|".join(f"$({field})" for field in _FIELDS)
    run.need_tool("apt-get", "apt")
    listed = run.run(["apt-get", "indextargets", "--format", shape], merge_stderr=False)
    mirror = debian_mirror(parse_targets(listed.output), os_release())
    if mirror is None:
        raise InfrastructureError(
            f"this system's apt sources name no Debian mirror, so suite {suite} "
            "cannot be reached through them"
        )
    return mirror


def suite_url(suite: str) -> str:
    """The address of a suite's InRelease file; for 'system' that of the mirror itself."""
    mirror = system_mirror(suite).uri.rstrip("/")
    return mirror if suite == SYSTEM else f"{mirror}/dists/{suite}/InRelease"


def os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """ID, VERSION_CODENAME and the like of this system; empty where the file is missing."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    pairs = re.findall(r"^(\w+)=(.*)$", text, re.M)
    return {key: value.strip().strip("\"'") for key, value in pairs}


class Apt:
    """apt on one suite of Debian's archive, or on the system's own sources."""

    def __init__(self, suite: str, folder: Path, sources: str | None = None) -> None:
        """`folder` is ours alone; the caller holds a lock on it.

        `sources` (one-line style) is taken instead of the system's mirror.
        Raises InfrastructureError where apt or a Debian mirror is missing.
        """
        for tool in ("apt-get", "apt-cache"):
            run.need_tool(tool, "apt")
        self.suite = suite
        self.folder = folder
        self.downloads = folder / "downloads"
        for name in ("lists/partial", "cache/archives/partial", "downloads"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        conf = _CONF.format(folder=folder)
        if suite != SYSTEM or sources is not None:
            line = sources if sources is not None else self._source_line()
            write_atomic(folder / "sources.list", line + "\n")
            conf += f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "-";\n'
        write_atomic(folder / "apt.conf", conf)

    def _source_line(self) -> str:
        mirror = system_mirror(self.suite)
        key = mirror.signed_by
        if not key.startswith("/"):
            found = [p for name in _KEYRINGS if (p := Path("/usr/share/keyrings") / name).is_file()]
            # Without either, apt's own trusted keys decide.
            key = str(found[0]) if found else ""
        return f"deb {f'[signed-by={key}] ' if key else ''}{mirror.uri} {self.suite} main"

    def _argv(self, program: str, *words: str) -> list[str]:
        return [program, "-c", str(self.folder / "apt.conf"), *words]

    def fetch(self, name: str, say: Say) -> Package:
        """Bring package `name`, verified, into :attr:`downloads`.

        Raises InfrastructureError that says what the suite has instead.
        """
        say(f"asking {self._where()} for {name}")
        update = run.run(self._argv("apt-get", "-q", "update"), env={"LC_ALL": "C.UTF-8"})
        # Other sources of the system may fail: what counts is whether this package is known.
        version = self._field(name, "Version")
        if version is None:
            raise self._unknown(name, update)
        size = int(self._field(name, "Size") or 0)
        words = self._argv("apt-get", "-q", "download", f"{name}={version}")
        throttle = Throttle(say)

        def tick() -> None:
            if throttle.due:
                done = megabytes(bytes_in(self.downloads), size)
                throttle.tell(f"downloading {name} {version}: {done}")

        status, said = run_watched(words, tick, cwd=self.downloads, env={"LC_ALL": "C.UTF-8"})
        if status != 0:
            raise InfrastructureError(f"{run.command_line(words)}: exit status {status}\n  {said}")
        found = list(self.downloads.glob(f"{name}_*.deb"))
        exact = [path for path in found if version.replace(":", "%3a") in path.name]
        if not exact:
            raise InfrastructureError(
                f"apt-get download left no {name} {version}", where=self.downloads
            )
        return Package(name, version, exact[0])

    def _field(self, name: str, field: str) -> str | None:
        shown = run.run(
            self._argv("apt-cache", "show", "--no-all-versions", name), merge_stderr=False
        )
        found = re.search(rf"^{field}: (\S+)$", shown.output, re.M)
        return found[1] if shown.ok and found else None

    def _where(self) -> str:
        return "the system's apt sources" if self.suite == SYSTEM else f"suite {self.suite}"

    def _unknown(self, name: str, update: run.Completed) -> InfrastructureError:
        stem = name.rstrip("0123456789.")
        listed = run.run(self._argv("apt-cache", "pkgnames", stem), merge_stderr=False)
        others = sorted(
            (
                one
                for one in listed.output.split()
                if re.fullmatch(re.escape(stem) + r"[\d.]+", one)
            ),
            key=lambda one: [int(part) for part in re.findall(r"\d+", one)],
        )
        has = f"it has {', '.join(others)}" if others else f"it has no {stem}* at all"
        text = f"{self._where()} has no {name}; {has}"
        if not update.ok or (not others and "\nErr:" in update.output):
            problems = [x for x in update.output.splitlines() if x.startswith(("E:", "W:", "Err:"))]
            text += "\n  apt-get update: " + "\n  ".join(problems[:4] or ["failed"])
        return InfrastructureError(text)
