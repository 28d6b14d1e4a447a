# SPDX-License-Identifier: GPL-2.0-only
"""What the test's init says on the console (init/init.c), and what we expect it to say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MASK = (1 << 64) - 1

# On the kernel's command line: init waits at each of MOMENTS for a line on the console.
HOLD_OPTION = "xipmatrix.hold=1"
USERSPACE, POWEROFF = MOMENTS = ("userspace", "poweroff")
_HOLD = re.compile(rb"^XIPMATRIX-HOLD (\w+)\r?$")

# How every line of init's begins.
PREFIX = "XIPMATRIX-"
_WORDS = "INIT|CPUS|BASE|REPLY|ZERO|BEGIN|END|DONE|HOLD|SECTION|JITED|PROGRAM|FILE|WORKLOAD"
# What init says once, some of it once for each file or moment.
_NAMED_ONCE = {"BEGIN", "END", "HOLD", "WORKLOAD"}
_ONCE = {"INIT", "CPUS", "BASE", "REPLY", "ZERO", "DONE", *_NAMED_ONCE}
_LINE = re.compile(rf"^{PREFIX}({_WORDS})(?: (\S.*?))?\s*$")


def reply(challenge: int) -> int:
    """The 64-bit number that init must compute from a 64-bit `challenge`.

    xorshift64 and a multiplication, three rounds; init.c's mix() is its twin.
    """
    x = challenge
    for _ in range(3):
        x ^= 0x78697020696E6974  # "xip init"
        x ^= (x << 13) & _MASK
        x ^= x >> 7
        x ^= (x << 17) & _MASK
        x = x * 0x9E3779B97F4A7C15 + 1 & _MASK
    return x


# program.c's steps, by the number that each ends with: its digits go from 0 to 7.
_STEPS = [0x100 | tens << 4 | ones for tens in range(4) for ones in range(8)]
PATTERN_BYTES = 256
_FNV_PRIME = 0x100000001B3


def program_reply(challenge: int) -> int:
    """The 64-bit number that program.c must compute from a 64-bit `challenge`."""
    x = challenge
    for number in _STEPS:
        x ^= (x << 13) & _MASK
        x ^= x >> 7
        x ^= (x << 17) & _MASK
        x = x * 0x9E3779B97F4A7C15 + number & _MASK
    return x


def digest(challenge: int, content: bytes) -> int:
    """What init must say of a file's `content`: 64-bit FNV-1a, which begins at the reply."""
    state = reply(challenge)
    for byte in content:
        state = (state ^ byte) * _FNV_PRIME & _MASK
    return state


def pattern(challenge: int) -> bytes:
    """What init writes to the board's other flash: flash.c's use_block() is its twin."""
    state, found = reply(challenge), bytearray()
    while len(found) < PATTERN_BYTES:
        state = reply(state)
        found.append(state & 0xFF)
    return bytes(found)


def held_moment(line: bytes) -> str | None:
    """The one of MOMENTS at which init says, on a line of the console, that it stands still."""
    found = _HOLD.match(line)
    return found[1].decode() if found and found[1].decode() in MOMENTS else None


@dataclass
class Userspace:
    """What init said, as far as it came. `held`: moments at which it stood still.

    `base`: where its program is (virtual). `not_zero`: bytes of an anonymous page that nobody
    wrote which are not 0.
    `sections`: module, section of code and the address (virtual) it was loaded to. `jited`:
    BPF program, address (virtual) and bytes of its machine code. `programs`: by name, what a
    program in flash replied and the kB of page cache that it took. `stored`: by name, size in
    bytes and digest of a file in flash. `workload`: how often each work was done. `foreign`:
    words in init's manner that are not init's: they stand before its first line, or it says them
    once and they are there again.
    """

    started: bool = False
    done: bool = False
    held: list[str] = field(default_factory=list)
    cpus: int | None = None
    base: int | None = None
    reply: int | None = None
    not_zero: int | None = None
    files: dict[str, str] = field(default_factory=dict)
    sections: list[tuple[str, str, int]] = field(default_factory=list)
    jited: list[tuple[str, int, bytes]] = field(default_factory=list)
    programs: dict[str, tuple[int, int]] = field(default_factory=dict)
    stored: dict[str, tuple[int, int]] = field(default_factory=dict)
    workload: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def meminfo_kb(self, key: str) -> int | None:
        """A line of /proc/meminfo such as ``MemTotal``, in kB; None where it is missing."""
        found = re.search(rf"^{key}:\s+(\d+) kB", self.files.get("/proc/meminfo", ""), re.M)
        return int(found[1]) if found else None


def read_console(console: str) -> Userspace:
    """What init said on a console log that holds the kernel's lines too.

    Lines count only from init's first one on, and only where nothing else stands
    on them: the kernel's echo of its command line is no answer.
    """
    said = Userspace()
    reading: str | None = None
    once: set[str] = set()
    for line in console.replace("\r", "").split("\n"):
        found = _LINE.match(line)
        if found is None:
            if reading is not None:
                said.files[reading] += line + "\n"
            continue
        word, value = found[1], found[2] or ""
        text = f"{word} {value}".strip() if word in _NAMED_ONCE else word
        if text in once or (word != "INIT" and not said.started):
            said.foreign.append(text)
        if word in _ONCE:
            once.add(text)
        if word == "INIT":
            said.started = value == "1"
        elif not said.started:
            continue
        elif word == "CPUS":
            said.cpus = _hex(value)
        elif word == "BASE":
            said.base = _hex(value)
        elif word == "REPLY":
            said.reply = _hex(value) if len(value) == 16 else None
        elif word == "ZERO":
            said.not_zero = _hex(value)
        elif word == "BEGIN":
            reading = value
            said.files[value] = ""
        elif word == "END":
            reading = None
        elif word == "HOLD":
            said.held.append(value)
        elif word == "DONE":
            said.done = True
        elif word in ("SECTION", "JITED", "PROGRAM", "FILE", "WORKLOAD"):
            _read_work(said, word, value.split())
    return said


def _read_work(said: Userspace, word: str, values: list[str]) -> None:
    """One line about what was loaded and done; a line that is cut says nothing."""
    match word, values:
        case "PROGRAM", [name, *numbers] if len(pair := _hexes(numbers)) == 2:
            said.programs[name] = (pair[0], pair[1])
        case "FILE", [name, *numbers] if len(pair := _hexes(numbers)) == 2:
            said.stored[name] = (pair[0], pair[1])
        case "WORKLOAD", [work, count] if (number := _hex(count)) is not None:
            said.workload[work] = number
        case "SECTION", [module, section, address] if (
            number := _hex(address.removeprefix("0x"))
        ) is not None:
            said.sections.append((module, section, number))
        case "JITED", [program, address, code] if (
            number := _hex(address)
        ) is not None and re.fullmatch("(?:[0-9a-f]{2})+", code):
            data = bytes.fromhex(code)
            if said.jited:
                last, base, before = said.jited[-1]
                if last == program and base + len(before) == number:
                    said.jited[-1] = (program, base, before + data)
                    return
            said.jited.append((program, number, data))


def _hex(text: str) -> int | None:
    return int(text, 16) if re.fullmatch("[0-9a-f]{1,16}", text) else None


def _hexes(texts: list[str]) -> list[int]:
    """All of `texts` as numbers; none where one is cut."""
    found = [number for text in texts if (number := _hex(text)) is not None]
    return found if len(found) == len(texts) else []
