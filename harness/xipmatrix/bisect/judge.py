# SPDX-License-Identifier: GPL-2.0-only
"""A commit of the user's tree → the result of one cell: the pipeline's whole way."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .. import __version__
from ..core.errors import UsageError
from ..core.evidence import Verdict
from ..core.files import key_of, texts_in
from ..core.git import Repository
from ..kernel import from_argument
from ..kernel.local import UserRepository
from ..kernel.tree import release_of_commit
from ..matrix.load import LoadedMatrix
from ..matrix.model import Cell
from ..pipeline import Options, Pipeline
from ..result import CellResult, exit_code
from ..store import Store

Tell = Callable[[str, str, str], None]


@dataclass(frozen=True)
class CellJudge:
    """Judges commits of the repository `user` by `cell`, whose own kernel does not matter.

    `options` name a place to build in, which the caller has locked. `store` is the search's
    own: its steps are no history of the matrix.
    """

    loaded: LoadedMatrix
    templates: Path
    cell: Cell
    user: UserRepository
    store: Store
    options: Options
    tell: Tell

    @property
    def series(self) -> str:
        """A key of the templates that the series is rendered from."""
        files = {
            f"{name}/{path}": text
            for name in self.cell.template_folders
            for path, text in texts_in(self.templates / name).items()
        }
        return key_of(files)

    @property
    def basis(self) -> str:
        """All that verdicts depend on beside the commit, as far as a person may change it."""
        data = self.cell.model_dump(exclude={"kernel", "kernel_spec"})
        return key_of(self.series, data, __version__)

    def __call__(self, commit: str) -> CellResult:
        """Series, source, config, build, image, boot and verdict of one commit.

        Raises UsageError or InfrastructureError where the commit can no longer be read.
        """
        try:
            release_of_commit(Repository(self.user.common), commit, self.user.path)
        except UsageError as error:
            # Linux has merged other projects with all their history.
            result = CellResult.of(self.cell)
            result.verdict, result.reason = Verdict.NOT_APPLICABLE, error.what
            return result
        name, spec = from_argument(f"{self.user.path}@{commit}", self.loaded.matrix.kernels)
        short = name.replace(commit, commit[:12])
        loaded = replace(self.loaded, extra_kernels={short: spec})
        cell = loaded.of_kernel(self.cell, short)
        own = shlex.join(["--kernel", f"{self.user.path}@{commit[:12]}"])
        words = " ".join(word for word in (own, self.options.arguments) if word)
        run = self.store.new_run(f"xipmatrix bisect: {commit}")
        options = replace(self.options, arguments=words)
        result = Pipeline(loaded, self.templates, run, options, self.tell).run_cell(cell)
        run.finish(exit_code([result]))
        return result
