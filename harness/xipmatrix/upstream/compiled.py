# SPDX-License-Identifier: GPL-2.0-only
"""Checks that the kernel's own build makes: warnings, configurations, documentation, bindings.

Only what a series brings counts: where something is said of the kernel with it, the kernel
without it is asked the same, and what it says too is not the series' doing.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import run
from ..core.files import Say
from .checks import Check, listed

# What the kernel's Makefile says where scripts/checker-valid.sh is not content.
_NO_SPARSE = "is not available or not up to date"
# Seeds of the random configurations: the same each time (Documentation/kbuild/kconfig.rst).
SEEDS = (1, 2)
_BINDINGS = "Documentation/devicetree/bindings/"
# "path:line:column: warning: text", as compilers and sparse have it; lines move from tree to tree.
_SAID = re.compile(r"^(?P<path>[^\s:]+):\d+(?::\d+)?: (?P<text>(?:warning|error): .*)$")
_UNMET = re.compile(
    r"^WARNING: unmet direct dependencies detected for \w+\n(?:  .*\n|\n(?=  ))*", re.M
)
_KCONFIG = re.compile(r"^.*Kconfig[^\s:]*:\d+: ?(?:warning|error): .*$", re.M)


@dataclass(frozen=True)
class Compiler:
    """How kernels are configured and compiled for `arch`, a series' name.

    `srcarch` is the kernel's name of it; `xip` are the options of a kernel that executes in
    place. `make` are words of make's command line, ARCH among them.
    """

    arch: str
    srcarch: str
    make: tuple[str, ...]
    xip: str


@dataclass(frozen=True)
class Sources:
    """Source folders: the kernel with the series, and without it; only to be read.

    `base` is asked for where it is needed: that is another 1.6 GB. `touched` are the files of
    the series, by path. Objects go below `work`, logs to `logs`.
    """

    tip: Path
    base: Callable[[], Path]
    touched: Sequence[str]
    work: Path
    logs: Path
    jobs: int

    def make(
        self,
        source: Path,
        name: str,
        words: Sequence[str],
        env: Mapping[str, str] | None = None,
    ) -> run.Completed:
        """make in the object folder `name`, of this source alone; what it says is in the log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        objects = f"O={self.objects(source, name)}"
        command = ["make", "-C", str(source), objects, "-s", f"-j{self.jobs}", "-k", *words]
        log = self.logs / f"{name}.log"
        return run.run(command, env=env, log=log, death_signal="TERM")

    def objects(self, source: Path, name: str) -> Path:
        """Where make() works: a folder that is there."""
        folder = self.work / name / ("tip" if source == self.tip else "base")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def compiled_checks(sources: Sources, compilers: Sequence[Compiler], say: Say) -> list[Check]:
    """All checks of this module. Raises InfrastructureError where a tool is missing."""
    for tool, package in (("sparse", "sparse"), ("sphinx-build", "python3-sphinx")):
        run.need_tool(tool, package)
    return [
        *(_configs(sources, one, say) for one in compilers),
        *(check for one in compilers for check in warning_checks(sources, one, say)),
        _documents(sources, say),
        _bindings(sources, say),
    ]


# --- Kconfig ----------------------------------------------------------------------------


def _configs(sources: Sources, compiler: Compiler, say: Say) -> Check:
    """allnoconfig, allmodconfig and random ones, these with XIP as well: no dependency unmet."""
    seeded = [("randconfig", seed, fragment) for seed in SEEDS for fragment in ("", compiler.xip)]
    wanted = [("allnoconfig", 0, ""), ("allmodconfig", 0, ""), *seeded]
    wrong: list[str] = []
    name = f"config-{compiler.arch}"
    given = sources.work / f"{name}.config"
    for target, seed, fragment in wanted:
        say(f"{compiler.arch}: make {target}" + (f" with seed {seed}" if seed else ""))
        given.write_text(fragment)
        env = {"KCONFIG_ALLCONFIG": str(given)}
        if seed:
            env["KCONFIG_SEED"] = str(seed)
        what = target + (f", seed {seed}" if seed else "") + (", with XIP" if fragment else "")
        done = sources.make(sources.tip, name, [*compiler.make, target], env)
        if not done.ok:
            wrong.append(f"{what}: make failed; log: {sources.logs / f'{name}.log'}")
            continue
        said = complaints(done.output)
        if said:
            known = _known_complaints(sources, compiler, name)
            wrong += [f"{what}: {one}" for one in said if one not in known]
    return Check(
        f"Kconfig of {compiler.arch}",
        not wrong,
        listed(wrong)
        or f"{len(wanted)} configurations, {len(SEEDS)} of them random with XIP: none unmet",
        "mend the dependency in the template",
    )


def complaints(output: str) -> list[str]:
    """What Kconfig has to say against a configuration or against its own files."""
    found = [re.sub(r"\s+", " ", one).strip() for one in _UNMET.findall(output)]
    found += [one.strip() for one in _KCONFIG.findall(output)]
    return list(dict.fromkeys(found))


def _known_complaints(sources: Sources, compiler: Compiler, name: str) -> list[str]:
    """What the kernel without the series says to the same configuration."""
    base = sources.base()
    config = (sources.objects(sources.tip, name) / ".config").read_bytes()
    (sources.objects(base, name) / ".config").write_bytes(config)
    return complaints(sources.make(base, name, [*compiler.make, "olddefconfig"]).output)


# --- warnings ---------------------------------------------------------------------------


@dataclass
class _Compiled:
    """What was said of each file that was compiled, and which of them have no object."""

    said: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    sparse: bool = True


def warning_checks(sources: Sources, compiler: Compiler, say: Say) -> list[Check]:
    """``make W=1 C=2`` on the files that the series touches, without XIP and with it."""
    files = [
        path
        for path in sources.touched
        if path.endswith(".c")
        and (not path.startswith("arch/") or path.startswith(f"arch/{compiler.srcarch}/"))
        and not path.startswith(("tools/", "scripts/"))
    ]
    wrong: list[str] = []
    compiled: set[str] = set()
    sparse = True
    for kind, target, fragment in (
        ("allmodconfig", "allmodconfig", ""),
        ("XIP", "allnoconfig", compiler.xip),
    ):
        say(f"{compiler.arch}: W=1 and sparse, {kind}")
        name = f"warnings-{compiler.arch}-{kind}"
        config = target, fragment
        ours = _compile(sources, sources.tip, compiler, name, config, files)
        sparse = sparse and ours.sparse
        asked = [path for path, said in ours.said.items() if said or path in ours.failed]
        base = _Compiled()
        if asked:
            base = _compile(sources, sources.base(), compiler, name, config, asked)
        for path, said in ours.said.items():
            # Neither is a file that needs another configuration, which Kbuild does not know.
            if path in ours.failed and path in base.failed:
                continue
            compiled.add(path)
            new = said - base.said.get(path, Counter())
            wrong += [f"{kind}: {where}: {text}" for where, text in new.elements()]
    told = f"{len(compiled)} files, nothing new"
    left = [path for path in files if path not in compiled]
    if left:
        told += f"\nnot in these configurations: {' '.join(left)}"
    checks = [
        Check(f"W=1 for {compiler.arch}", not wrong, listed(wrong) or told, "mend the template")
    ]
    version = run.run(["sparse", "--version"]).output.strip()
    checks.append(
        Check(
            f"sparse for {compiler.arch}",
            sparse,
            f"ran with W=1: {version}" if sparse else f"this kernel does not take sparse {version}",
            "install a newer one (kernel 7.3 wants 0.6.5)",
        )
    )
    return checks


def _compile(
    sources: Sources,
    source: Path,
    compiler: Compiler,
    name: str,
    config: tuple[str, str],
    files: Sequence[str],
) -> _Compiled:
    target, fragment = config
    given = sources.work / f"{name}.config"
    given.write_text(fragment)
    sources.make(source, name, [*compiler.make, target], {"KCONFIG_ALLCONFIG": str(given)})
    sources.make(source, name, [*compiler.make, "prepare"])
    objects = sources.objects(source, name)
    found = _Compiled()
    for path in files:
        file = Path(path).with_suffix(".o")
        done = sources.make(source, name, [*compiler.make, "W=1", "C=2", str(file)])
        if _NO_SPARSE in done.output:
            found.sparse = False
        if not (objects / file).is_file():
            if " error: " not in done.output:
                continue  # its folder is not in this configuration
            found.failed.add(path)
        found.said[path] = warnings_in(done.output, str(source), sources.touched)
    return found


def warnings_in(output: str, source: str, touched: Sequence[str]) -> Counter[tuple[str, str]]:
    """(path, text) of each warning and error that is about one of the files `touched`."""
    found: Counter[tuple[str, str]] = Counter()
    for line in output.splitlines():
        match = _SAID.match(line.strip())
        if match is None:
            continue
        path = re.sub(r"^(?:\./)?(?:\.\./)*", "", match["path"].removeprefix(f"{source}/"))
        if path in touched:
            found[path, match["text"]] += 1
    return found


# --- documentation ----------------------------------------------------------------------


def _documents(sources: Sources, say: Say) -> Check:
    """``make htmldocs`` of the folders whose texts the series touches."""
    name = "documentation"
    texts = [one for one in sources.touched if re.fullmatch(r"Documentation/[^/]+/.*\.rst", one)]
    if not texts:
        return Check(name, True, "not looked at: none is touched")
    folders = sorted({one.split("/")[1] for one in texts})
    say(f"make htmldocs of {' '.join(folders)}")
    words = [f"SPHINXDIRS={' '.join(folders)}", "htmldocs"]
    done = sources.make(sources.tip, name, words)
    wrong = said_of_texts(done.output, texts, sources.tip)
    if wrong:
        base = sources.base()
        known = said_of_texts(sources.make(base, name, words).output, texts, base)
        wrong = list((Counter(wrong) - Counter(known)).elements())
    built = sources.objects(sources.tip, name) / "Documentation" / "output"
    pages = [path for path in texts if list(built.rglob(f"{Path(path).stem}.html"))]
    if len(pages) != len(texts) and not wrong:
        tail = "\n".join(done.output.strip().splitlines()[-5:])
        wrong = [f"no page was made of {sorted(set(texts) - set(pages))}", tail]
    return Check(
        name, not wrong, listed(wrong) or f"{len(texts)} texts, no warning", "mend the text"
    )


def said_of_texts(output: str, texts: Sequence[str], source: Path) -> list[str]:
    """Sphinx's warnings about `texts`, without line numbers, once each."""
    found = {}
    for line in output.splitlines():
        said = re.search(
            r"(Documentation/[^:]*):\d+: ((?:WARNING|ERROR|CRITICAL|SEVERE): .*)", line
        )
        if said is None or said[1] not in texts:
            continue
        label = re.search(r"undefined label: '?([\w-]+)", said[2])
        # It may be in a folder that is not looked at here.
        if label is not None and _has_label(source, label[1]):
            continue
        found[f"{said[1]}: {said[2]}"] = True
    return list(found)


def _has_label(source: Path, label: str) -> bool:
    words = ["grep", "-rqisE", "--include=*.rst", rf"^\.\. _`?{re.escape(label)}`?:"]
    return run.run([*words, source / "Documentation"]).ok


def _bindings(sources: Sources, say: Say) -> Check:
    """``make dt_binding_check`` of the bindings that the series touches."""
    name = "device tree bindings"
    files = [one for one in sources.touched if one.startswith(_BINDINGS) and one.endswith(".yaml")]
    if not files:
        return Check(name, True, "not looked at: none is touched")
    if run.find_tool("dt-doc-validate") is None:
        pip = f"{sys.prefix}/bin/pip install dtschema yamllint"
        return Check(name, False, "dtschema is not installed", pip)
    say("make dt_binding_check")
    only = ":".join(one.removeprefix(_BINDINGS) for one in files)
    done = sources.make(
        sources.tip,
        "bindings",
        ["ARCH=arm", "allnoconfig", "dt_binding_check", f"DT_SCHEMA_FILES={only}"],
    )
    wrong = [one.strip() for one in done.output.splitlines() if any(path in one for path in files)]
    wrong = [re.sub(r"^.*?(?=Documentation/)", "", one) for one in wrong if "DTC" not in one]
    if not done.ok and not wrong:
        wrong = done.output.strip().splitlines()[-5:]
    return Check(name, not wrong, listed(wrong) or f"{len(files)} are valid", "mend the binding")
