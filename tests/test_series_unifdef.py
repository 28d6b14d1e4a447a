# SPDX-License-Identifier: GPL-2.0-only
"""Conditions on a symbol that is gone: what stays is what the C preprocessor takes."""

from __future__ import annotations

import itertools
import subprocess

import pytest

from xipmatrix.series.unifdef import Unresolved, undefine


def left(text: str) -> str:
    return "".join(f"{line}\n" for line in undefine("S", text.splitlines()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\n#ifdef S\nb\n#endif /* S */\nc\n", "a\nc\n"),
        ("#ifndef S\na\n#endif\n", "a\n"),
        ("#ifdef S\na\n#else\nb\n#endif\n", "b\n"),
        ("#ifndef S\na\n#else /* S */\nb\n#endif\n", "a\n"),
        ("#if defined(A) && !defined(S)\na\n#endif\n", "#if defined(A)\na\n#endif\n"),
        ("#if defined(A) || defined S\na\n#endif\n", "#if defined(A)\na\n#endif\n"),
        (
            "#if A > 1 && !defined(S) && B /* S */\na\n#else\nb\n#endif\n",
            "#if A > 1 && B\na\n#else\nb\n#endif\n",
        ),
        ("#if defined(S) && defined(A)\na\n#else\nb\n#endif\n", "b\n"),
        ("#if !defined(S) || defined(A)\na\n#elif B\nb\n#else\nc\n#endif\n", "a\n"),
        (
            "#ifdef A\na\n#elif defined(S)\nb\n#else\nc\n#endif\n",
            "#ifdef A\na\n#else\nc\n#endif\n",
        ),
        (
            "#ifdef A\na\n#elif !defined(S)\nb\n#elif B\nc\n#endif\n",
            "#ifdef A\na\n#else\nb\n#endif\n",
        ),
        ("#ifdef S\na\n#elif B\nb\n#else\nc\n#endif\n", "#if B\nb\n#else\nc\n#endif\n"),
        (
            "#ifdef S\n# ifdef A\na\n# endif\n#else\n# ifdef A\nb\n# endif\n#endif\n",
            "# ifdef A\nb\n# endif\n",
        ),
        ("#ifdef AS\na\n#endif\n#ifdef S\n#endif\n", "#ifdef AS\na\n#endif\n"),
        ("a\n\n#ifdef S\nb\n#endif\n\nc\n", "a\n\nc\n"),
        ("a\n\n#ifdef S\nb\n#else\n\nc\n#endif\n\n\nd\n", "a\n\nc\n\n\nd\n"),
    ],
)
def test_what_is_for_the_symbol_goes(old: str, new: str) -> None:
    assert left(old) == new


CONDITIONS = ["defined(S)", "!defined(S)", "defined(A)", "defined(A) && !defined(S)"]
CONDITIONS += ["!defined(A) || defined(S)", "defined(S) && defined(B)", "!defined(S) || defined(B)"]


def preprocessed(text: str, *defined: str) -> list[str]:
    words = ["cc", "-E", "-P", "-x", "c", *(f"-D{one}" for one in defined), "-"]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("defined", [(), ("A",), ("B",), ("A", "B")])
def test_it_leaves_what_the_preprocessor_takes(defined: tuple[str, ...]) -> None:
    groups = [
        f"#if {one}\na{at}\n#if {two}\nb{at}\n#elif {one}\nc{at}\n#endif\n"
        f"#elif {two}\nd{at}\n#else\ne{at}\n#endif\n"
        for at, (one, two) in enumerate(itertools.product(CONDITIONS, repeat=2))
    ]
    text = "".join(groups)
    assert preprocessed(left(text), *defined) == preprocessed(text, *defined)
    assert "(S)" not in left(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int S;\n#ifdef A\n#endif\n", "no condition on S"),
        ("#if defined(A) && (B || defined(S))\n#endif\n", "not of && or || alone"),
        ("#if defined(A) && B || defined(S)\n#endif\n", "not of && or || alone"),
        ("#if IS_ENABLED(S)\n#endif\n", "not of && or || alone"),
        ("#if defined(S) && \\\nA\n#endif\n", "not of && or || alone"),
        ("#ifdef S\n", "#if without #endif"),
        ("#endif\n#ifdef S\n", "#endif without #if"),
    ],
)
def test_what_it_does_not_understand_is_an_error(text: str, message: str) -> None:
    with pytest.raises(Unresolved, match=message):
        left(text)
