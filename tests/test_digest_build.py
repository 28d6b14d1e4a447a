# SPDX-License-Identifier: GPL-2.0-only
"""The first error of a build: logs of real tools, and logs in which nothing failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from xipmatrix.build.errors import BuildError, ErrorKind, first_error

LOGS = Path(__file__).parent / "logs"
SOURCE = Path("/src/linux")


def log(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


def error_of(name: str, source: Path = SOURCE) -> BuildError:
    found = first_error(log(name), source)
    assert found is not None
    return found


def test_a_compiler_s_error_with_its_function_source_line_and_caret() -> None:
    found = error_of("compiler")
    assert found.kind is ErrorKind.COMPILER
    assert found.headline == (
        "drivers/foo/bad.c:4:20: error: ‘undeclared_thing’ undeclared (first use in this function)"
    )
    assert found.lines == (
        "drivers/foo/bad.c: In function ‘h’:",
        found.headline,
        "    4 |         return a + undeclared_thing;",
        "      |                    ^~~~~~~~~~~~~~~~",
    )


def test_what_an_include_chain_leads_to() -> None:
    assert error_of("include").lines == (
        "In file included from include/mid.h:1,",
        "                 from drivers/foo/inc.c:1:",
        "include/foo.h: In function ‘foo’:",
        "include/foo.h:2:43: error: ‘not_there’ undeclared (first use in this function)",
        "    2 | static inline int foo(int a) { return a + not_there; }",
        "      |                                           ^~~~~~~~~",
    )


def test_a_macro_s_error_says_who_expanded_it() -> None:
    assert error_of("macro").lines[-1] == (
        "drivers/foo/macro.c:2:23: note: in expansion of macro ‘DOUBLE’"
    )


def test_a_warning_that_was_made_an_error_is_one() -> None:
    assert "error.c:1:23: error: unused variable" in error_of("werror").headline


def test_a_warning_before_the_error_and_another_compiler_s_lines_amid_it() -> None:
    """With -j2, a whole line of another compiler may come between any two."""
    other = log("warnings").splitlines()[4:7]
    mixed: list[str] = []
    for line in log("compiler").splitlines():
        mixed += [line, *other]
    found = first_error("\n".join(mixed), SOURCE)
    assert found == error_of("compiler")


def test_a_kernel_s_own_log_by_tuxmake() -> None:
    found = error_of("kernel")
    assert found.headline == (
        "kernel/bounds.c:19:9: error: implicit declaration of function 'undeclared_thing' "
        "[-Werror=implicit-function-declaration]"
    )
    assert found.lines[0] == "kernel/bounds.c: In function 'main':"
    assert found.lines[2:] == (
        "   19 |         undeclared_thing(NR_PAGEFLAGS);",
        "      |         ^~~~~~~~~~~~~~~~",
    )


def test_the_first_of_two_errors_counts() -> None:
    both = first_error(log("include") + log("compiler"), SOURCE)
    assert both == error_of("include")


def test_an_assembler_s_error_gets_its_line_from_the_source(tmp_path: Path) -> None:
    head = tmp_path / "arch" / "arm" / "kernel" / "head.S"
    head.parent.mkdir(parents=True)
    head.write_text("\t.text\n\tmov\tr0, #0\n\tfrobnicate r1\n")
    text = log("assembler").replace("/src/linux", str(tmp_path))
    found = first_error(text, tmp_path)
    assert found is not None
    assert found.headline == "arch/arm/kernel/head.S:3: Error: bad instruction `frobnicate r1'"
    assert found.lines == (found.headline, "    3 | \tfrobnicate r1")
    assert error_of("assembler").lines == (found.headline,)  # the source is gone


def test_undefined_symbols_are_counted() -> None:
    found = error_of("undefined")
    assert found.kind is ErrorKind.LINKER
    assert found.headline == "undefined reference to `gone' (and 1 more)"
    assert found.lines == (
        "arm-linux-gnueabihf-ld: l.o: in function `start_kernel':",
        "l.c:(.text+0x4): undefined reference to `gone'",
    )


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("region", "l section `.text' will not fit in region `F'"),
        ("overlap", "unplaced orphan section `.data' from `sr.o'"),
    ],
)
def test_other_words_of_the_linker(name: str, headline: str) -> None:
    found = error_of(name)
    assert (found.kind, found.headline) == (ErrorKind.LINKER, headline)


def test_lld_says_it_in_its_own_way() -> None:
    text = (
        "ld.lld: error: undefined symbol: gone\n>>> referenced by main.c\n"
        ">>>               vmlinux.o:(start_kernel)\nmake[2]: *** [vmlinux] Error 1\n"
    )
    found = first_error(text)
    assert found is not None
    assert (found.kind, found.headline) == (ErrorKind.LINKER, "undefined symbol: gone")
    assert len(found.lines) == 3


def script(folder: Path) -> Path:
    lds = folder / "arch" / "arm" / "kernel" / "vmlinux-xip.lds.S"
    lds.parent.mkdir(parents=True)
    lds.write_text(
        'SECTIONS { }\nASSERT((b - a), "missing CPU support")\n'
        'ASSERT(b - a <= 4096,\n\t"The HYP init code is too big")\n'
    )
    return folder


def test_an_assertion_is_shown_where_it_stands(tmp_path: Path) -> None:
    text = log("assertion")
    found = first_error(text, script(tmp_path), "arm")
    assert found is not None
    assert (found.kind, found.headline) == (ErrorKind.ASSERTION, "missing CPU support")
    assert found.lines[1] == (
        'arch/arm/kernel/vmlinux-xip.lds.S:2: ASSERT((b - a), "missing CPU support")'
    )
    second = first_error(text.split("\n", 1)[1], tmp_path, "arm")
    assert second is not None
    assert [line.split("lds.S:4: ")[-1] for line in second.lines[1:]] == [
        "ASSERT(b - a <= 4096,",
        '"The HYP init code is too big")',
    ]


def test_the_same_words_of_another_architecture_are_no_assertion(tmp_path: Path) -> None:
    found = first_error(log("assertion"), script(tmp_path), "riscv")
    assert found is not None
    assert found.kind is ErrorKind.LINKER


def test_kconfig_s_own_errors() -> None:
    found = error_of("kconfig")
    assert (found.kind, found.headline) == (ErrorKind.KCONFIG, "kc/Kconfig:10: syntax error")
    assert 'unknown statement "frob"' in found.lines[-1]
    loop = error_of("recursive")
    assert loop.kind is ErrorKind.KCONFIG
    assert "symbol A depends on B; symbol B depends on A" in loop.headline


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        (log("dtc"), "Error: t.dts:1.23-24 syntax error"),
        (log("norule"), "No rule to make target 'nothing.o'"),
        ("Makefile:12: *** missing separator.  Stop.\n", "missing separator"),
        ("ERROR: modpost: \"f\" [a.ko] undefined!\n", 'modpost: "f" [a.ko] undefined!'),
        (
            "arm-linux-gnueabihf-gcc: error: unrecognized command-line option '-mfoo'\n",
            "arm-linux-gnueabihf-gcc: error: unrecognized command-line option '-mfoo'",
        ),
        (
            "a.c:3:1: internal compiler error: in expand, at expr.cc:10\n",
            "a.c:3:1: internal compiler error: in expand, at expr.cc:10",
        ),
        (
            "  CC a.o\nsh: 1: pahole: not found\nmake[1]: *** [Makefile:3: a] Error 127\n",
            "sh: 1: pahole: not found",
        ),
        ("make[1]: *** [Makefile:3: a] Killed\n", "make[1]: *** [Makefile:3: a] Killed"),
    ],
)  # fmt: skip
def test_the_headline(text: str, headline: str) -> None:
    found = first_error(text, SOURCE)
    assert found is not None
    assert found.headline == headline


def test_warnings_and_names_with_error_in_them_are_no_error() -> None:
    assert "error" in log("warnings")
    assert first_error(log("warnings"), SOURCE) is None
    for line in log("warnings").splitlines():
        assert first_error(f"{line}\n", SOURCE) is None, line


def test_consequences_are_not_taken_for_the_cause() -> None:
    text = log("warnings") + log("compiler") + "make[1]: *** [Makefile:260: x] Error 2\n"
    assert first_error(text, SOURCE) == error_of("compiler")
