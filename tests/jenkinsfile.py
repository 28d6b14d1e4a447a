# SPDX-License-Identifier: GPL-2.0-only
"""What Jenkins would refuse in a declarative Jenkinsfile, as far as its text alone tells.

Jenkins' own validator is a running Jenkins. Here a Groovy grammar (tree-sitter) reads the file,
and the sections must be those of the declarative syntax, each where it may be.
"""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter_groovy
from tree_sitter import Language, Node, Parser

_ANYWHERE = {"agent", "environment", "options", "post", "tools"}
_STAGE = _ANYWHERE | {"when", "input"}
# What holds the work of a stage: exactly one of them.
_WORK = {"steps", "stages", "parallel", "matrix"}
# Section: what may be in it, what must be.
_SECTIONS = {
    "pipeline": (
        _ANYWHERE | {"stages", "triggers", "parameters", "libraries"},
        {"agent", "stages"},
    ),
    "stages": ({"stage"}, {"stage"}),
    "parallel": ({"stage"}, {"stage"}),
    "stage": (_STAGE | _WORK | {"failFast"}, set()),
    "matrix": (_STAGE | {"axes", "excludes", "stages"}, {"axes", "stages"}),
    "axes": ({"axis"}, {"axis"}),
    "axis": ({"name", "values"}, {"name", "values"}),
    "post": (
        {
            *("always", "changed", "fixed", "regression", "aborted", "failure", "success"),
            *("unstable", "unsuccessful", "cleanup", "notBuilt"),
        },
        set(),
    ),
}


def problems(text: str) -> list[str]:
    """One line each; empty where nothing is wrong."""
    root = Parser(Language(tree_sitter_groovy.language())).parse(text.encode()).root_node
    broken = [
        f"line {node.start_point[0] + 1}: Groovy does not allow this"
        for node in _all(root)
        if node.is_error or node.is_missing
    ]
    if broken:
        return broken
    top = list(_parts(root))
    if [name for name, _, _ in top] != ["pipeline"]:
        return [f"one pipeline block is expected, not {[name for name, _, _ in top]}"]
    name, line, body = top[0]
    return list(_check(name, line, body))


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)


def _parts(node: Node) -> Iterator[tuple[str, int, Node | None]]:
    """The statements of a block: the first word, its line, the block that follows it."""
    for child in node.named_children:
        inner = child
        while inner.type == "expression_statement" and inner.named_children:
            inner = inner.named_children[0]
        if "comment" in inner.type:
            continue
        first = inner.text.decode().split("(")[0].split("{")[0].split() if inner.text else []
        block = inner.child_by_field_name("body")
        yield first[0] if first else "", inner.start_point[0] + 1, block


def _check(name: str, line: int, body: Node | None) -> Iterator[str]:
    if name not in _SECTIONS:
        return
    if body is None:
        yield f"line {line}: {name} has no block"
        return
    allowed, required = _SECTIONS[name]
    inside = list(_parts(body))
    names = [one for one, _, _ in inside]
    for one, where, block in inside:
        if one not in allowed:
            yield f"line {where}: {one} is not allowed in {name}"
        else:
            yield from _check(one, where, block)
    for one in sorted(required - set(names)):
        yield f"line {line}: {name} has no {one}"
    for one in sorted({one for one in names if names.count(one) > 1} - {"stage", "axis"}):
        yield f"line {line}: {name} has more than one {one}"
    if name == "stage" and len(_WORK & set(names)) != 1:
        yield f"line {line}: a stage has exactly one of {', '.join(sorted(_WORK))}"
