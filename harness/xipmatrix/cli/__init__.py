# SPDX-License-Identifier: GPL-2.0-only
"""The command line: commands, options, exit codes. No work of its own.

Command modules are imported when they are called, so that ``--help`` and
completion stay quick.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from types import FrameType

import click

from .. import __version__
from ..core import run
from ..core.errors import (
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    XipmatrixError,
)
from ..core.files import cache_dir, state_dir, write_atomic

_COMMANDS = {
    "list": ("inspect", "List the cells of the matrix."),
    "build": ("build", "Build, boot and prove cells: all stages."),
    "boot": ("boot", "Boot a cell's built kernel again, or use its console or gdb."),
    "bisect": ("bisect", "Find the commit of your own tree that broke a cell."),
    "verify": ("verify", "Judge a kernel that was built elsewhere."),
    "series": ("series", "Write the patch series that the templates render."),
    "upstream": ("upstream", "Make a branch and mails of a series, and check what is missing."),
    "refresh": ("refresh", "Try every patch on a new kernel: where anchors moved."),
    "each-patch": ("each_patch", "Build every patch of a series on its own, with XIP and without."),
    "show": ("inspect", "Show the evidence and paths of a cell's last result."),
    "runs": ("runs", "List the stored runs, or check the store."),
    "compare": ("runs", "Compare two runs: what broke, what moved."),
    "report": ("report", "Write HTML pages: one per run, and an index over time."),
    "prune": ("runs", "Remove old runs."),
    "merge": ("shards", "Join the runs of shards into one run and report."),
    "durations": ("shards", "Print what each cell costs, to balance shards."),
    "ci": ("ci", "Write a nightly CI workflow for this matrix."),
    "worker": ("worker", "Work for runs that are started on another machine."),
    "doctor": ("host", "Check this machine: tools, versions, disk, network."),
    "clean": ("host", "Remove caches."),
    "schema": ("inspect", "Print the JSON Schema of matrix.yaml, for editors."),
    "completion": ("host", "Print the shell completion script."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{_COMMANDS[cmd_name][0]}", __name__)
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


_EPILOG = """\b
Examples:
  ./xipmatrix build --arch arm,riscv      build, boot and prove the smoke cells
  ./xipmatrix build --profile nightly     everything that matrix.yaml declares
  ./xipmatrix build --kernel ~/linux@my-branch --arch riscv
  ./xipmatrix list --profile nightly --known
  ./xipmatrix show 7.3/riscv/virt/tiny/gcc
  ./xipmatrix verify --board riscv/virt --vmlinux ~/build/vmlinux
\b
Exit codes: 0 all as expected, 1 a cell is not, 2 usage or matrix error,
3 infrastructure (our side, not the kernel's), 130 interrupted."""


@click.group(
    cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="xipmatrix")
def xipmatrix() -> None:
    """Generate, build, boot and prove execute-in-place (XIP) Linux kernels."""


def main() -> None:
    """Run the command line and exit; no traceback reaches a user."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Programs that are installed beside us (b4, dtschema) are found, after the system's.
    beside = os.path.dirname(sys.executable)  # noqa: PTH120 - pathlib is not needed for 'list'
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), beside))
    try:
        code = xipmatrix.main(standalone_mode=False, prog_name="xipmatrix")
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        run.stop_all()
        print("\ninterrupted: finished stages are kept, the same command goes on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except XipmatrixError as error:
        print(f"xipmatrix: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to say to it.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        what = "the disk is full" if full else str(error.strerror or error)
        # A write that fails does not say where: these are the places that we write to.
        places = f"{cache_dir()}, {state_dir()} or what the output goes to"
        where = str(error.filename or (places if full else ""))
        said = f"{where}: {what}" if where else what
        print(f"xipmatrix: {said}\n  hint: xipmatrix doctor, xipmatrix clean", file=sys.stderr)
        sys.exit(EXIT_INFRASTRUCTURE)
    except Exception as error:  # a fault of our own: said in a line, kept for the report
        run.stop_all()
        print(f"xipmatrix: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"  hint: please report it with {_keep_traceback()}", file=sys.stderr)
        sys.exit(EXIT_INFRASTRUCTURE)


def _keep_traceback() -> str:
    """Write the current traceback where a person finds it; returns the file's name."""
    import traceback

    text = traceback.format_exc()
    path = state_dir() / f"crash-{os.getpid()}.log"
    try:
        write_atomic(path, text)
    except OSError:
        return f"this: {text}"
    return str(path)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
