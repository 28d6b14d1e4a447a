# SPDX-License-Identifier: GPL-2.0-only
"""A user's kernel repository for bisecting: Linux 7.2, synthetic commits, Linux 7.3.

Its objects are borrowed from the kernels that xipmatrix has, so it costs seconds.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from kernel_trees import HERMETIC, git
from xipmatrix.kernel import KernelTree

Commits = dict[str, str]
HARMLESS, NO_BUILD, MOVED, BREAKER = "harmless", "no build", "moved anchor", "breaker"
_CONST = "arch/riscv/include/asm/runtime-const.h"
_INSN = "arch/riscv/include/asm/runtime-const-insn.h"
_INCLUDE = "#include <asm/runtime-const.h>\n"
# What happened in 6.16: constants that were data are patched into the text at boot.
_SWITCH = """\
/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_RUNTIME_CONST_H
#define _LINUX_RUNTIME_CONST_H

#ifdef CONFIG_RISCV
#include <asm/runtime-const-insn.h>
#else
#include <asm/runtime-const.h>
#endif

#endif
"""


@dataclass
class Plan:
    """Commits to be: (what it does to XIP, subject, tree)."""

    repository: Path
    index: Path
    base: str
    commits: list[tuple[str, str, str]] = field(default_factory=list)

    def git(self, *words: str, text: str | None = None) -> str:
        done = subprocess.run(
            ["git", f"--git-dir={self.repository}", *words],
            env={**os.environ, **HERMETIC, "GIT_INDEX_FILE": str(self.index)},
            input=text,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def read(self, path: str) -> str:
        return self.git("show", f":{path}") + "\n"

    def write(self, path: str, text: str) -> None:
        blob = self.git("hash-object", "-w", "--stdin", text=text)
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")

    def replace(self, path: str, old: str, new: str) -> None:
        text = self.read(path)
        assert text.count(old) == 1, f"{path} has {text.count(old)} times: {old}"
        self.write(path, text.replace(old, new))

    def break_xip(self) -> None:
        """Use instructions that are patched at boot again, whatever the series does."""
        text = self.read(_CONST)
        guard = "_ASM_RISCV_RUNTIME_CONST_H"
        self.write(_INSN, text.replace(guard, "_ASM_RISCV_RUNTIME_CONST_INSN_H"))
        self.write("include/linux/runtime-const.h", _SWITCH)
        found = self.git("grep", "--cached", "-l", _INCLUDE.strip(), "--", "fs", "kernel", "mm")
        for user in found.splitlines():
            self.replace(user, _INCLUDE, _INCLUDE.replace("asm", "linux"))

    def commit(self, kind: str, subject: str) -> None:
        self.commits.append((kind, subject, self.git("write-tree")))

    def chain(self, salt: str) -> list[str]:
        """The commits, made: oldest first. Their ids depend on `salt`."""
        made = [self.base]
        for number, (_, subject, tree) in enumerate(self.commits):
            date = f"2026-11-{number + 1:02d}T12:00:00+0000"
            done = subprocess.run(
                ["git", f"--git-dir={self.repository}", "commit-tree", tree, "-p", made[-1]],
                env={
                    **os.environ,
                    **HERMETIC,
                    "GIT_AUTHOR_DATE": date,
                    "GIT_COMMITTER_DATE": date,
                },
                input=f"{subject}\n\nMade for a test ({salt}).\n",
                check=True,
                capture_output=True,
                text=True,
            )
            made.append(done.stdout.strip())
        return made[1:]

    def visited(self, chain: list[str]) -> set[str]:
        """The kinds of commit that git bisect comes upon between the ends."""
        kinds = dict(zip(chain, (kind for kind, _, _ in self.commits), strict=True))
        broken = chain.index(next(one for one in chain if kinds[one] == BREAKER))
        git(self.repository, "update-ref", "--no-deref", "HEAD", chain[-1])
        seen: set[str] = set()
        text = git(self.repository, "bisect", "start", "--no-checkout", chain[-1], self.base)
        while "first bad commit" not in text and "possible first" not in text:
            at = git(self.repository, "rev-parse", "BISECT_HEAD")
            seen.add(kinds[at])
            mark = "bad" if chain.index(at) >= broken else "good"
            text = git(
                self.repository, "bisect", "skip" if kinds[at] in (NO_BUILD, MOVED) else mark, at
            )
        git(self.repository, "bisect", "reset")
        return seen


def real_repository(folder: Path, older: KernelTree, newer: KernelTree) -> tuple[Path, Commits]:
    """(A bare repository from v7.2 to v7.3, its synthetic commits: kind → id).

    Between both, git's search comes upon a commit that does not build and one on which
    the series does not apply. The last commit is the whole step to the newer source.
    """
    git(folder.parent, "init", "-q", "--bare", "-b", "main", str(folder))
    (folder / "objects/info/alternates").write_text(
        "".join(f"{linux.git_dir / 'objects'}\n" for linux in (older, newer))
    )
    plan = Plan(folder, folder / "index-of-the-test", older.commit)
    plan.git("read-tree", older.commit)

    plan.write("README", plan.read("README") + "\nHello.\n")
    plan.commit(HARMLESS, "README: Say hello")
    plan.write("lib/bcd.c", plan.read("lib/bcd.c") + "\n/* Decimal. */\n")
    plan.commit(HARMLESS, "lib/bcd: Add a comment")

    whole = plan.read("init/main.c")
    plan.write("init/main.c", whole + "\nint xip_test(void) { return no_such_thing; }\n")
    plan.commit(NO_BUILD, "init: Use what is declared nowhere")

    plan.write("init/main.c", whole)
    setup, old = "arch/riscv/kernel/setup.c", "\tkimage_res.start = code_res.start;\n"
    plan.replace(setup, old, "\t/* The image begins with its text */\n" + old.replace(" =", "  ="))
    plan.commit(MOVED, "init: Declare it; riscv: Align an assignment")
    plan.replace(setup, old.replace(" =", "  ="), old)
    plan.commit(HARMLESS, "riscv: Align it as it was")

    plan.break_xip()
    plan.commit(BREAKER, "riscv: Patch runtime constants into the text")

    plan.write("lib/bcd.c", plan.read("lib/bcd.c") + "\n/* And binary. */\n")
    plan.commit(HARMLESS, "lib/bcd: Add another comment")
    plan.git("read-tree", newer.commit)
    plan.break_xip()
    plan.commit(HARMLESS, "Linux 7.3")

    # Where a commit is skipped, the ids decide which one git looks at next.
    for salt in range(64):
        chain = plan.chain(str(salt))
        if {NO_BUILD, MOVED} <= plan.visited(chain):
            break
    else:
        raise AssertionError("git never comes upon both commits that are to be skipped")
    git(folder, "update-ref", "refs/heads/main", chain[-1])
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    git(folder, "tag", "v7.2", plan.base)
    git(folder, "tag", "v7.3", chain[-1])
    plan.index.unlink()
    return folder, {
        kind: one for one, (kind, _, _) in zip(chain, plan.commits, strict=True) if kind != HARMLESS
    }
