# SPDX-License-Identifier: GPL-2.0-only
"""What a .config says, what was asked of it, and why an option did not survive.

The kernel's own scripts/kconfig makes configurations; here they are only read.
Unmet dependencies are looked up in the entry's own ``depends on`` lines, which is
enough to name the culprit in most cases and never claims more than it read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SET = re.compile(r"^CONFIG_(\w+)=(.*)$")
_HEADER = re.compile(r"^# Linux/(\S+) (\S+) Kernel Configuration$", re.M)
_UNSET = re.compile(r"^# CONFIG_(\w+) is not set$")


def is_fragment_line(line: str) -> bool:
    """Whether Kconfig understands `line` as it is meant: an option, a comment, or blank.

    A comment that begins like an option which "is not set" must be one.
    """
    line = line.strip()
    if _SET.match(line) or _UNSET.match(line) or not line:
        return True
    return line.startswith("#") and not line.startswith("# CONFIG_")


def parse_config(text: str) -> dict[str, str]:
    """Options of a .config or fragment; one that "is not set" has the value ``n``."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _SET.match(line.strip()):
            found[match[1]] = match[2]
        elif match := _UNSET.match(line.strip()):
            found[match[1]] = "n"
    return found


def config_of(text: str) -> tuple[str, str] | None:
    """Architecture (SRCARCH or ARCH) and version of the kernel whose whole .config `text` is.

    None where it is not one that Kconfig wrote: a fragment or a defconfig leaves options out,
    of which nobody may say that they are not set.
    """
    found = _HEADER.search(text)
    return (found[1], found[2]) if found else None


@dataclass(frozen=True)
class Dropped:
    """A requested option that the final .config does not have, and what stood in its way."""

    option: str
    wanted: str
    got: str
    unmet: tuple[str, ...] = ()

    @property
    def needs(self) -> set[str]:
        """The options that its unmet dependencies name."""
        return {word for part in self.unmet for word in re.findall(r"\b[A-Z]\w*", part)}

    def __str__(self) -> str:
        text = f"CONFIG_{self.option}: asked for {self.wanted}, got {self.got}"
        return text + "".join(f"\n  unmet: depends on {part}" for part in self.unmet)


_DROPPED = re.compile(
    r"^CONFIG_(\w+): asked for (.*), got (.*)((?:\n  unmet: depends on .*)*)", re.M
)


def read_dropped(text: str) -> list[Dropped]:
    """The inverse of ``str()`` for any number of them, a line after the other."""
    return [
        Dropped(option, wanted, got, tuple(unmet.split("\n  unmet: depends on ")[1:]))
        for option, wanted, got, unmet in _DROPPED.findall(text)
    ]


def dropped(
    wanted: dict[str, str], final: dict[str, str], source: Path, srcarch: str
) -> list[Dropped]:
    """Every option of `wanted` that differs in `final`; `source` is the kernel tree."""
    lost = {
        name: (value, final.get(name, "n"))
        for name, value in wanted.items()
        if not _same(value, final.get(name, "n"))
    }
    if not lost:
        return []
    files = list(kconfig_files(source, srcarch))
    return [
        Dropped(name, value, got, tuple(unmet_dependencies(name, files, final)))
        for name, (value, got) in lost.items()
    ]


def _same(wanted: str, got: str) -> bool:
    try:
        return int(wanted, 0) == int(got, 0)  # 0x00010000 is 0x10000
    except ValueError:
        return wanted == got


def kconfig_files(source: Path, srcarch: str) -> Iterable[Path]:
    """Kconfig files that the architecture can see: all but other architectures'."""
    for folder in sorted(source.iterdir()):
        if folder.name == "arch":
            yield from sorted((folder / srcarch).rglob("Kconfig*"))
            yield folder / "Kconfig"
        elif folder.is_dir():
            yield from sorted(folder.rglob("Kconfig*"))


def unmet_dependencies(name: str, files: Iterable[Path], final: dict[str, str]) -> list[str]:
    """The ``depends on`` expressions of entry `name` that are false under `final`.

    Where several entries define the symbol, all of them must be unmet to be named.
    """
    head = re.compile(rf"^(?:menu)?config\s+{re.escape(name)}\s*$", re.M)
    unmet: list[str] = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in head.finditer(text):
            own = [d for d in _depends(text[match.end() :]) if not evaluate(d, final)]
            if not own:
                return []
            unmet += [d for d in own if d not in unmet]
    return unmet


def _depends(rest: str) -> list[str]:
    found: list[str] = []
    for line in rest.replace("\\\n", " ").splitlines()[1:]:
        if line and not line[0].isspace() and not line.startswith("#"):
            break
        stripped = line.strip()
        if stripped in ("help", "---help---"):
            break
        if stripped.startswith("depends on "):
            found.append(" ".join(stripped.removeprefix("depends on ").split()))
    return found


_TOKEN = re.compile(r'\s*(&&|\|\||!=|<=|>=|[!=<>()]|"[^"]*"|[\w.$-]+)')


def evaluate(expression: str, config: dict[str, str]) -> bool:
    """A Kconfig expression (kconfig-language.rst) under `config`; m counts as true.

    What cannot be parsed (macros) counts as true: only what is surely unmet is named.
    """
    expression = expression.split("#")[0]
    tokens: list[str] = _TOKEN.findall(expression)
    if "".join(tokens).replace(" ", "") != expression.replace(" ", "").replace("\t", ""):
        return True
    if any("$" in token for token in tokens):
        return True

    def value(token: str) -> str:
        if token.startswith('"'):
            return token[1:-1]
        if token in ("y", "m", "n") or not token[0].isalpha():
            return token
        return config.get(token, "n")

    def either() -> bool:
        left = both()
        while tokens and tokens[0] == "||":
            tokens.pop(0)
            left = both() or left
        return left

    def both() -> bool:
        left = one()
        while tokens and tokens[0] == "&&":
            tokens.pop(0)
            left = one() and left
        return left

    def one() -> bool:
        token = tokens.pop(0)
        if token == "!":
            return not one()
        if token == "(":
            inner = either()
            tokens.pop(0)
            return inner
        if tokens and tokens[0] in ("=", "!="):
            same = tokens.pop(0) == "="
            other: str = value(tokens.pop(0))
            return (value(token) == other) is same
        if tokens and tokens[0] in ("<", ">", "<=", ">="):
            del tokens[:2]
            return True
        return value(token) in ("y", "m")

    try:
        return either()
    except IndexError:
        return True
