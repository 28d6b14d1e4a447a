# SPDX-License-Identifier: GPL-2.0-only
"""Init's protocol: the reply's twin functions, and what a console says."""

from __future__ import annotations

import re
import secrets
import subprocess
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.machine import protocol
from xipmatrix.machine.init import SOURCE, made_of

REPLIES = {
    0x0000000000000000: 0x6B9CAD8F6CC680E0,
    0x0000000000000001: 0xE282FC8C4822E2CA,
    0x0123456789ABCDEF: 0x02B1868EB9C40D86,
    0xFFFFFFFFFFFFFFFF: 0x0E51F8F5FD0099B6,
}

CONSOLE = """\
[    0.000000] Linux version 7.3.4
[    0.000000] Kernel command line: console=ttyAMA0 xipmatrix.challenge=0123456789abcdef
XIPMATRIX-INIT 1\r
XIPMATRIX-CPUS 0004
XIPMATRIX-REPLY 02b1868eb9c40d86
XIPMATRIX-ZERO 0000
XIPMATRIX-BEGIN /proc/meminfo
MemTotal:          64744 kB
MemAvailable:      62052 kB
XIPMATRIX-END /proc/meminfo
XIPMATRIX-DONE
[    0.300000] reboot: Power down
"""


@pytest.mark.parametrize(("challenge", "reply"), REPLIES.items())
def test_reply(challenge: int, reply: int) -> None:
    assert protocol.reply(challenge) == reply


def test_init_computes_the_same_reply(tmp_path: Path) -> None:
    mix = re.search(r"^uint64_t mix\(.*?^}", SOURCE.read_text(), re.M | re.S)
    assert mix
    program = tmp_path / "mix.c"
    program.write_text(
        "#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
        f"{mix[0]}\nint main(int n, char **a) {{ while (--n) "
        'printf("%llx\\n", (unsigned long long)mix(strtoull(*++a, 0, 16))); return 0; }\n'
    )
    subprocess.run(["gcc", "-o", tmp_path / "mix", program], check=True)
    words = [f"{challenge:x}" for challenge in REPLIES]
    said = subprocess.run([tmp_path / "mix", *words], check=True, capture_output=True, text=True)
    assert [int(line, 16) for line in said.stdout.split()] == list(REPLIES.values())


@pytest.mark.parametrize("challenge", REPLIES)
def test_the_program_in_flash_computes_the_same_reply(tmp_path: Path, challenge: int) -> None:
    headers = ["-include", "stdint.h", "-include", "unistd.h"]
    program = SOURCE.with_name("program.c")
    subprocess.run(["gcc", *headers, "-o", tmp_path / "program", program], check=True)
    said = subprocess.run(
        [tmp_path / "program", f"{challenge:016x}"], check=True, capture_output=True, text=True
    )
    assert int(said.stdout, 16) == protocol.program_reply(challenge)


def test_init_computes_the_same_digest(tmp_path: Path) -> None:
    text = SOURCE.with_name("flash.c").read_text()
    function = re.search(r"^static uint64_t add_to_digest\(.*?^}", text, re.M | re.S)
    assert function
    (tmp_path / "d.c").write_text(
        f"#include <stdint.h>\n#include <stdio.h>\n{function[0]}\n"
        "static unsigned char data[999];\nint main(void) {\n"
        f"  uint64_t state = {protocol.reply(7):#x}ULL;\n"
        "  size_t size = fread(data, 1, 999, stdin);\n"
        '  printf("%llx", (unsigned long long)add_to_digest(state, data, size));\n  return 0;\n}\n'
    )
    subprocess.run(["gcc", "-o", tmp_path / "d", tmp_path / "d.c"], check=True)
    content = secrets.token_bytes(777)
    said = subprocess.run([tmp_path / "d"], input=content, check=True, capture_output=True)
    assert int(said.stdout, 16) == protocol.digest(7, content)
    assert protocol.digest(8, content) != protocol.digest(7, content)


def test_init_has_what_works_in_flash_only_where_it_is_wanted() -> None:
    """What other kernels' init is made of is part of their key: more of it rebuilds them."""
    assert {"init.c", "workload.c", "init.h", "cpio.py"} <= set(made_of(make_cell()))
    more = set(made_of(make_cell(workload=["cramfs"]))) - set(made_of(make_cell()))
    assert more == {"flash.c", "program.c"}
    assert made_of(make_cell(workload=["cfi"])) == made_of(make_cell(workload=["cramfs"]))


def test_what_is_said_of_files_and_programs_in_flash() -> None:
    said = protocol.read_console(
        "XIPMATRIX-INIT 1\nXIPMATRIX-PROGRAM in-place 00000000000000ff 0008\n"
        "XIPMATRIX-PROGRAM cut 00000000000000ff\nXIPMATRIX-FILE data 0000c350 00000000000000fe\n"
        "XIPMATRIX-FILE cut 0000c350 \n"
    )
    assert said.programs == {"in-place": (0xFF, 8)}
    assert said.stored == {"data": (50000, 0xFE)}


def test_a_challenge_is_never_its_own_reply() -> None:
    for _ in range(1000):
        challenge = secrets.randbits(64)
        assert protocol.reply(challenge) != challenge


def test_what_init_says_is_read() -> None:
    said = protocol.read_console(CONSOLE)
    assert said.started and said.done
    assert said.cpus == 4
    assert said.reply == protocol.reply(0x0123456789ABCDEF)
    assert said.not_zero == 0
    assert said.meminfo_kb("MemTotal") == 64744
    assert said.meminfo_kb("SwapTotal") is None


def test_what_init_did_not_say_is_told() -> None:
    assert protocol.read_console(CONSOLE).foreign == []
    again = "XIPMATRIX-REPLY 02b1868eb9c40d86\n"
    assert protocol.read_console(CONSOLE + again).foreign == ["REPLY"]
    assert protocol.read_console(again + CONSOLE).foreign == ["REPLY", "REPLY"]
    twice = "XIPMATRIX-BEGIN /proc/meminfo\nXIPMATRIX-BEGIN /proc/iomem\n"
    assert protocol.read_console(CONSOLE + twice).foreign == ["BEGIN /proc/meminfo"]
    held = "XIPMATRIX-HOLD userspace\nXIPMATRIX-HOLD poweroff\n"
    assert protocol.read_console(CONSOLE + held).foreign == []
    assert protocol.read_console(CONSOLE + held + held).foreign == [
        "HOLD userspace",
        "HOLD poweroff",
    ]
    assert protocol.read_console(CONSOLE + CONSOLE).foreign[0] == "INIT"


LOADED = """\
XIPMATRIX-INIT 1
XIPMATRIX-SECTION hello .init.text 0xbf200000\r
XIPMATRIX-SECTION hello .text 0xbf201000
XIPMATRIX-WORKLOAD modules 0002
XIPMATRIX-JITED workload 00000000bf202000 0001020304050607
XIPMATRIX-JITED workload 00000000bf202008 08090a
XIPMATRIX-JITED other 00000000bf20200b ff
XIPMATRIX-WORKLOAD bpf 0080
"""


def test_what_was_loaded_is_read() -> None:
    said = protocol.read_console(LOADED)
    assert said.sections == [("hello", ".init.text", 0xBF200000), ("hello", ".text", 0xBF201000)]
    assert said.jited == [
        ("workload", 0xBF202000, bytes(range(11))),
        ("other", 0xBF20200B, b"\xff"),
    ]
    assert said.workload == {"modules": 2, "bpf": 128}


@pytest.mark.parametrize(
    "line",
    [
        "XIPMATRIX-SECTION hello .text",
        "XIPMATRIX-SECTION hello .text 0x",
        "XIPMATRIX-SECTION hello .text 0xbf200000 1",
        "XIPMATRIX-JITED workload 00000000bf202000",
        "XIPMATRIX-JITED workload 00000000bf202000 000",
        "XIPMATRIX-JITED workload bf20200g 00",
        "XIPMATRIX-WORKLOAD bpf",
        "XIPMATRIX-WORKLOAD bpf 128 times",
        "XIPMATRIX-WORKLOAD bpf many",
        "hello: XIPMATRIX-WORKLOAD bpf 0080",
    ],
)
def test_a_cut_line_about_what_was_loaded_says_nothing(line: str) -> None:
    said = protocol.read_console(f"XIPMATRIX-INIT 1\n{line}\n")
    assert (said.sections, said.jited, said.workload) == ([], [], {})
    # Nor does one that stands before init has started.
    assert protocol.read_console(LOADED.replace("INIT 1", "INIT 2")).workload == {}


@pytest.mark.parametrize(
    "console",
    [
        "",
        "[    0.0] Kernel command line: XIPMATRIX-REPLY 02b1868eb9c40d86",
        # A reply before init has started is nobody's.
        "XIPMATRIX-REPLY 02b1868eb9c40d86\nXIPMATRIX-DONE\n",
        # Another protocol than ours.
        "XIPMATRIX-INIT 2\nXIPMATRIX-REPLY 02b1868eb9c40d86\nXIPMATRIX-DONE\n",
        # Cut off within the number.
        "XIPMATRIX-INIT 1\nXIPMATRIX-REPLY 02b1868eb9c4",
        "XIPMATRIX-INIT 1\nXIPMATRIX-REPLY zzzzzzzzzzzzzzzz\n",
    ],
)
def test_what_is_no_reply(console: str) -> None:
    said = protocol.read_console(console)
    assert said.reply is None
    assert not said.done
