# SPDX-License-Identifier: GPL-2.0-only
"""From commits to mail: ``git format-patch`` files with a cover letter.

The output depends on nothing but the commits and the templates: same inputs,
same bytes. ``patches/`` holds it for the pinned kernels.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from .. import __version__
from ..core.errors import InfrastructureError
from ..core.files import complete_dir, locked, remove
from ..core.git import IDENTITY, Repository
from ..kernel import KernelTree
from .engine import Applied, Source, State, apply_all, render_cover, shown_ref

COVER = "0000-cover-letter.patch"  # as git names it; "v2-" and so on before it, if need be
_PROVENANCE = """\
Provenance: xipmatrix {version} rendered this series from templates/{name}.
Its code and texts lie there as anchored edits and were written with the
assistance of a large language model; the tool added nothing of its own.
"xipmatrix build" builds and boots it in QEMU from read-only flash; no
result is claimed here. See Documentation/process/generated-content.rst.
"""


def fill_cover(letter: Path, subject: str, body: str) -> None:
    """Put `subject` and `body` where git left room for them in its cover letter."""
    text = letter.read_text()
    for mark, words in (("*** SUBJECT HERE ***", subject), ("*** BLURB HERE ***", body.strip())):
        if text.count(mark) != 1:
            raise InfrastructureError(f"git wrote a cover letter without {mark}", where=letter)
        text = text.replace(mark, words)
    letter.write_text(text)


def format_series(source: Source, applied: Applied, kernel: KernelTree, place: Path) -> list[Path]:
    """Write `applied` to folder `place`, which is replaced as a whole; returns the files.

    Raises InfrastructureError when git fails.
    """
    provenance = _PROVENANCE.format(version=__version__, name=source.name)
    name, mail = IDENTITY
    who = {
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": mail,
        "GIT_COMMITTER_DATE": source.series.date,
    }
    repository = Repository(kernel.git_dir)
    branch = f"xipmatrix-{source.name}-{applied.tip[:12]}"
    with (
        locked(kernel.git_dir.parent / "series"),
        complete_dir(place) as folder,
        shown_ref(repository, branch, applied.tip) as ref,
    ):
        repository.git(
            *("-c", "diff.algorithm=histogram"),
            *("format-patch", "--quiet", "--zero-commit", "--no-signature", "--full-index"),
            *("--numbered", "--cover-letter", "--cover-from-description=none"),
            *("--stat=72", "--no-renames"),
            *("-o", folder.absolute(), f"{applied.base}..{ref}"),
            env=who,
        )
        below = ", and patches/<kernel>/generic on it" if applied.base != kernel.commit else ""
        base_tree = repository.tree_of(applied.base)
        cover = render_cover(source, kernel.release)
        body = (
            f"{cover}\n\n{textwrap.dedent(provenance)}\n"
            f"Base: Linux {kernel.release}, {kernel.origin}{below}\nbase-tree: {base_tree}\n"
        )
        fill_cover(folder / COVER, source.series.title, body)
    return sorted(place.glob("*.patch"))


def write_series(
    wanted: dict[str, Source], kernel: KernelTree, output: Path | None
) -> list[Applied]:
    """Apply each of `wanted` on `kernel` and write ``<output>/<kernel>/<name>/``.

    A folder of a series that does not apply (any more) is removed: it would be stale.
    Nothing is written where `output` is None.
    """
    states = apply_all(wanted, kernel)
    for name, applied in states.items():
        if output is None:
            continue
        place = output / kernel.name / name
        if applied.state is State.APPLIES:
            format_series(wanted[name], applied, kernel, place)
        elif applied.state is not State.CONFLICT:
            remove(place)
    return list(states.values())
