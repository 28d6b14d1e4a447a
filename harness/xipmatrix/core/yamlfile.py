# SPDX-License-Identifier: GPL-2.0-only
"""YAML files read against a schema; errors name file, line, key and what is allowed."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .errors import UsageError

M = TypeVar("M", bound=BaseModel)
_MOST_ERRORS = 8


def load(path: Path, model: type[M]) -> M:
    """The file's content as `model`. Raises UsageError: one screen, whatever is wrong."""
    return parse(read_text(path), path, model)


def place(path: Path, *keys: str | int) -> str:
    """``file:line: key.key`` of a file that was read before, for errors found later."""
    data = YAML(typ="rt").load(read_text(path))
    return f"{path}:{line_of(data, keys)}: {'.'.join(map(str, keys))}"


def read_text(path: Path) -> str:
    """A UTF-8 text file. Raises UsageError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError("no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=path) from error


def parse(text: str, path: Path, model: type[M]) -> M:
    """`text`, which came from `path`, as `model`. Raises UsageError."""
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        data = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        what = " ".join(str(error.problem or error.context or error).split())
        what = what.partition(" with value ")[0]  # of a key that stands twice: it may be long
        raise UsageError(f"malformed YAML: {what}", where=f"{path}{line}") from error
    except YAMLError as error:
        raise UsageError(f"malformed YAML: {error}", where=path) from error
    except RecursionError as error:
        raise UsageError("malformed YAML: too deeply nested", where=path) from error
    if not isinstance(data, CommentedMap):
        raise UsageError("a mapping (key: value) is expected at the top", where=path)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        lines = [_one(data, path, model, dict(item)) for item in found[:_MOST_ERRORS]]
        if len(found) > _MOST_ERRORS:
            lines.append(f"and {len(found) - _MOST_ERRORS} more")
        raise UsageError("\n".join(lines), hint="the schema: xipmatrix schema") from error


def line_of(data: Any, keys: tuple[str | int, ...]) -> int:
    """1-based line of the deepest of `keys` that the document has."""
    line = 1
    for key in keys:
        try:
            if isinstance(data, CommentedMap):
                line = data.lc.key(key)[0] + 1
            elif isinstance(data, CommentedSeq) and isinstance(key, int):
                line = data.lc.item(key)[0] + 1
            else:
                continue  # pydantic names union members, which the document does not have
            data = data[key]
        except (KeyError, IndexError, TypeError):
            break
    return line


def _one(data: Any, path: Path, model: type[BaseModel], item: dict[str, Any]) -> str:
    keys: tuple[str | int, ...] = item["loc"]
    what = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(keys[-1]), _all_fields(model), 2)
        what = "unknown key" + (f"; did you mean {' or '.join(near)}?" if near else "")
    elif item["type"] == "missing":
        what = "this key is required"
    else:
        value = repr(item.get("input"))
        if len(value) < 60:
            what += f" (here: {value})"
    return f"{path}:{line_of(data, keys)}: {'.'.join(map(str, keys)) or 'top'}: {what}"


def _all_fields(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    names = set(schema.get("properties", {}))
    for part in schema.get("$defs", {}).values():
        names |= set(part.get("properties", {}))
    return sorted(names)
