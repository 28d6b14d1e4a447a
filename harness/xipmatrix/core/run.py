# SPDX-License-Identifier: GPL-2.0-only
"""The only door to subprocesses.

Every child runs in a session of its own, so that a whole process tree can be
ended. ``stop_all`` ends what is left on Ctrl-C. After ``kill -9`` of us two others
do: PR_SET_PDEATHSIG (through util-linux ``setpriv``) reaches the child itself, and
a watchdog that sees our end of its pipe close kills the child's whole process
group, since the compilers below it carry no death signal, and whoever else bears
our mark: we may die between starting a child and telling the watchdog.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InfrastructureError

Process = subprocess.Popen[bytes]

# Reads "+ GROUP" and "- GROUP" lines; when we are gone, it kills the groups that are left.
_WATCHDOG = """
live=
while read -r sign group; do
    if [ "$sign" = + ]; then
        live="$live $group"
    else
        left=
        for one in $live; do [ "$one" = "$group" ] || left="$left $one"; done
        live=$left
    fi
done
for one in $live; do kill -KILL "-$one"; done 2>/dev/null
# What was started just before we died, or has left its group, bears our mark. A process that
# is found may have started another one meanwhile: hence again, until there is none.
for again in 1 2 3 4 5 6 7 8 9; do
    found=$(grep -lzsxF "$1" /proc/[0-9]*/environ)
    [ -n "$found" ] || break
    for one in $found; do
        one=${one#/proc/}
        kill -KILL "${one%/environ}"
    done 2>/dev/null
done
"""
# In the environment of every child, and thereby of theirs.
_MARK = ("XIPMATRIX_OWNER", secrets.token_hex(16))

_live: set[Process] = set()
_watchdog: Process | None = None
_guard = threading.Lock()
_stopping = threading.Event()


@dataclass(frozen=True)
class Completed:
    """A child that has ended. ``output`` is stdout (and stderr, where merged) as text."""

    argv: tuple[str, ...]
    returncode: int
    output: str
    seconds: float
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.returncode == 0 and not self.timed_out


def command_line(argv: Sequence[str | os.PathLike[str]]) -> str:
    """The command as a person would type it."""
    return shlex.join(str(word) for word in argv)


def find_tool(name: str) -> Path | None:
    """The executable `name` on PATH, or None."""
    found = shutil.which(name)
    return Path(found) if found else None


def need_tool(name: str, package: str = "") -> Path:
    """The executable `name`; raises InfrastructureError naming the apt package."""
    found = find_tool(name)
    if found is None:
        hint = f"apt-get install {package}" if package else "run: ./xipmatrix doctor"
        raise InfrastructureError(f"the program '{name}' is not installed", hint=hint)
    return found


@contextlib.contextmanager
def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.STDOUT,
    death_signal: str = "KILL",
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a child; on leaving the block, its whole process group is gone.

    `env` is added to our environment. Raises InfrastructureError when the
    program does not exist, KeyboardInterrupt when a Ctrl-C is being handled.
    """
    words = [str(word) for word in argv]
    need_tool(words[0])
    if _stopping.is_set():
        raise KeyboardInterrupt
    with _guard:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", death_signal, "--", *words],
            cwd=cwd,
            env={**os.environ, **(env or {}), _MARK[0]: _MARK[1]},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        _live.add(process)
        _tell_watchdog("+", process)
    try:
        yield process
    finally:
        _end(process)
        with _guard:
            _live.discard(process)
            _tell_watchdog("-", process)


def _tell_watchdog(sign: str, process: Process) -> None:
    """Say that a process group lives or has ended; `_guard` is held."""
    global _watchdog
    if _watchdog is None:
        _watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "watchdog", "=".join(_MARK)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,  # a Ctrl-C at the terminal is not for it
        )
    assert _watchdog.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # somebody killed it: the death signal is left
        _watchdog.stdin.write(f"{sign} {process.pid}\n".encode())


def _end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """End the child's process group: SIGTERM, then SIGKILL after `grace` seconds."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    _signal(process, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    input_bytes: bytes | None = None,
    log: Path | None = None,
    merge_stderr: bool = True,
    check: bool = False,
    death_signal: str = "KILL",
) -> Completed:
    """Run a child to its end.

    With `log`, output goes to that file (appended) and ``output`` is its text.
    `timeout` in seconds of wall time. With `check`, a failing exit status raises
    InfrastructureError with the last lines of output.
    """
    began = time.monotonic()
    timed_out = False
    with contextlib.ExitStack() as stack:
        sink: int | None = subprocess.PIPE
        at = 0
        if log is not None:
            stream = stack.enter_context(log.open("ab"))
            at = stream.tell()
            sink = stream.fileno()
        process = stack.enter_context(
            start(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE if input_bytes is not None else subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT if merge_stderr else subprocess.DEVNULL,
                death_signal=death_signal,
            )
        )
        try:
            out, _ = process.communicate(input_bytes, timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            out = b""
    if _stopping.is_set():
        raise KeyboardInterrupt
    if log is not None:
        with log.open("rb") as written:
            written.seek(at)
            out = written.read()
    done = Completed(
        tuple(str(word) for word in argv),
        process.returncode,
        (out or b"").decode("utf-8", "replace"),
        time.monotonic() - began,
        timed_out,
    )
    if check and not done.ok:
        tail = "\n  ".join(done.output.strip().splitlines()[-12:])
        why = f"timed out after {timeout} s" if timed_out else f"exit status {done.returncode}"
        raise InfrastructureError(
            f"{command_line(argv)}: {why}\n  {tail}", hint=f"log: {log}" if log else ""
        )
    return done


def stopping() -> bool:
    """Whether Ctrl-C is being handled: a child that ends now was ended by us."""
    return _stopping.is_set()


def stop_all() -> None:
    """End every child now and start no more: what Ctrl-C does."""
    _stopping.set()
    with _guard:
        live = list(_live)
    for process in live:
        _signal(process, signal.SIGTERM)
