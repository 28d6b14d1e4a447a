# SPDX-License-Identifier: GPL-2.0-only
"""A source archive → a git tree, in one pass and without unpacking 90,000 files.

``dpkg-deb | tar | xz | (tarfile) | git fast-import``: every program runs at the same
time as its neighbours, and nothing but git's pack is written.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from ..core import run
from ..core.errors import InfrastructureError
from ..core.files import Say
from ..core.git import Repository, hermetic
from ..core.progress import Throttle, how_it_ended, last_words, megabytes, memory_file

_PIPE = 1 << 20
_REF = "refs/heads/import"
_UNPACKERS = {
    ".xz": ("xz", "-dc", "-T0"),
    ".gz": ("gzip", "-dc"),
    ".tgz": ("gzip", "-dc"),
    ".bz2": ("bzip2", "-dc"),
    ".zst": ("zstd", "-dc"),
}
_PACKAGES = {"xz": "xz-utils", "cat": "coreutils"}


def unpack_tarball(archive: Path) -> str:
    """The shell command that writes `archive` as a plain tar.

    Raises InfrastructureError where the program for its compression is missing.
    """
    words = _UNPACKERS.get(archive.suffix, ("cat",))
    run.need_tool(words[0], _PACKAGES.get(words[0], words[0]))
    return shlex.join((*words, str(archive)))


def unpack_deb(package: Path, member: str) -> str:
    """The shell command that writes `member` (a .tar.xz) of a Debian package as a plain tar."""
    return (
        f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))}"
        f" | tar -xO {shlex.quote(member)} | xz -dc -T0"
    )


def import_tar(command: str, into: Repository, say: Say) -> str:
    """Import the tar that the shell pipeline `command` writes; returns the id of its tree.

    The archive's one top folder is dropped. Raises InfrastructureError where a program
    fails or the archive is damaged, KeyboardInterrupt where a Ctrl-C ended them; no ref
    names what was imported by then.
    """
    problem = ""
    with contextlib.ExitStack() as stack:
        unpack_log = stack.enter_context(memory_file())
        import_log = stack.enter_context(memory_file())
        unpacker = stack.enter_context(
            run.start(
                ["bash", "-c", f"set -o pipefail; {command}"],
                env={"LC_ALL": "C.UTF-8"},
                stderr=unpack_log.fileno(),
            )
        )
        importer = stack.enter_context(
            run.start(
                into.argv("fast-import", "--quiet", "--depth=0", "--done"),
                env=hermetic(),
                stdin=subprocess.PIPE,
                stdout=import_log.fileno(),
            )
        )
        assert unpacker.stdout is not None and importer.stdin is not None
        broken = False
        try:
            _feed(unpacker.stdout, importer.stdin, say)
        except BrokenPipeError:
            broken = True
        except (tarfile.TarError, EOFError, ValueError) as error:
            problem = f"the archive is damaged: {error}"
        unpacker.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            importer.stdin.close()
        if importer.wait() != 0 and not problem:
            problem = last_words(import_log) or f"git fast-import: {how_it_ended(importer)}"
        # What the unpacker says is nearer to the cause than what its reader saw; but a
        # reader that went away is itself the cause of what the unpacker says.
        if unpacker.wait() != 0 and not broken:
            problem = last_words(unpack_log) or problem or f"{command}: {how_it_ended(unpacker)}"
    if run.stopping():
        raise KeyboardInterrupt
    if problem:
        raise InfrastructureError(problem, where=into.git_dir)
    tree = into.tree_of(_REF)
    into.git("update-ref", "-d", _REF)
    return tree


def _feed(source: IO[bytes], sink: IO[bytes], say: Say) -> None:
    """Translate a tar into one commit of git fast-import's language."""
    throttle = Throttle(say)
    files = count = 0
    sink.write(b"commit %s\ncommitter x <x> 0 +0000\ndata 0\n" % _REF.encode())
    with tarfile.open(fileobj=source, mode="r|", bufsize=_PIPE) as tar:
        top: str | None = None
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if member.name.startswith("/") or ".." in parts:
                raise ValueError(f"the path '{member.name}' leaves the archive")
            top = top or (parts[0] if parts else None)
            if parts and parts[0] != top:
                raise ValueError(f"it has several top folders: '{top}' and '{parts[0]}'")
            if len(parts) < 2 or member.isdir():
                continue
            path = _quoted("/".join(parts[1:]))
            if member.isreg():
                stream = tar.extractfile(member)
                assert stream is not None
                data = stream.read()
                mode = b"100755" if member.mode & 0o111 else b"100644"
                sink.write(b"M %s inline %s\ndata %d\n" % (mode, path, len(data)))
                sink.write(data)
                sink.write(b"\n")
                count += len(data)
            elif member.issym():
                link = member.linkname.encode(errors="surrogateescape")
                sink.write(b"M 120000 inline %s\ndata %d\n%s\n" % (path, len(link), link))
            elif member.islnk():
                linked = _quoted("/".join(PurePosixPath(member.linkname).parts[1:]))
                sink.write(b"C %s %s\n" % (linked, path))
            else:
                raise ValueError(f"'{member.name}' is neither file, folder nor link")
            files += 1
            if throttle.due:
                throttle.tell(f"importing the source: {megabytes(count)}, {files} files")
    # tarfile stops at the end mark; the unpacker would die of a broken pipe at its padding.
    while source.read(_PIPE):
        pass
    sink.write(b"done\n")
    sink.flush()


def _quoted(path: str) -> bytes:
    """A path as fast-import wants it: quoted, with what would end the quotes escaped."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return b'"%s"' % escaped.encode(errors="surrogateescape")
