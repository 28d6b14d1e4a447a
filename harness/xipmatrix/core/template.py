# SPDX-License-Identifier: GPL-2.0-only
"""Jinja2 as xipmatrix uses it: sandboxed, strict, and without a way out of the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2 import TemplateSyntaxError as SyntaxProblem
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .errors import UsageError
from .files import find_inside


class Templates:
    """Templates found in `folders`, in that order.

    `variable` is what stands around a value, for texts that have ``{{ }}`` of their own.
    """

    def __init__(self, folders: Sequence[Path], variable: tuple[str, str] = ("{{", "}}")) -> None:
        self.folders = list(folders)
        # C code and Kconfig are full of {# and #}: comments and line statements stay off.
        self._jinja = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self.folders),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            comment_start_string="{##",
            comment_end_string="##}",
            variable_start_string=variable[0],
            variable_end_string=variable[1],
        )
        self._jinja.filters["hex"] = hex

    def find(self, name: str) -> Path:
        """The file that `name` stands for. Raises UsageError where there is none.

        A symbolic link that leaves the folders is refused like a name that does.
        """
        return find_inside(self.folders, name)

    def render_file(self, name: str, values: Mapping[str, Any]) -> str:
        """A template file, rendered. Raises UsageError that names file and line."""
        path = self.find(name)
        try:
            return self._jinja.get_template(name).render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, OSError) as error:
            raise _problem(error, str(path)) from error

    def render_text(self, text: str, values: Mapping[str, Any], where: str) -> str:
        """`text`, which stands at `where`, rendered. Raises UsageError."""
        try:
            return self._jinja.from_string(text).render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise _problem(error, where) from error


def _problem(error: Exception, where: str) -> UsageError:
    line: int | None = None
    if isinstance(error, SyntaxProblem):
        line = error.lineno
    elif not isinstance(error, TemplateNotFound):
        trace = error.__traceback__
        while trace is not None:
            # Jinja rewrites tracebacks so that template frames carry template lines.
            if trace.tb_frame.f_code.co_filename.endswith((where, "<template>")):
                line = trace.tb_lineno
            trace = trace.tb_next
    place = f"{where}:{line}" if line else where
    return UsageError(f"template: {type(error).__name__}: {error}", where=place)
