# SPDX-License-Identifier: GPL-2.0-only
"""Evidence that a kernel took the command line and the initrd that we gave it."""

from __future__ import annotations

import re

from ..core.evidence import Evidence, Verdict
from ..machine import protocol
from ..machine.console import panic_line
from ..machine.qemu import Preload
from ..machine.result import BootResult

_COMMAND_LINE = "Kernel command line: "
_REFUSED = re.compile(r"INITRD: (0x[0-9a-f]+\+0x[0-9a-f]+ .*?)(?: - disabling initrd)?\s*$", re.M)
_STARTED = "Run /init as init process"


def init_was_taken(boot: BootResult, initrd: Preload, *, sure: bool) -> Evidence:
    """What a kernel does with our init is judged only where it got it.

    `sure`: the .config is known to let it in. A kernel that does not say what it took has
    taken it; then the rest of the evidence counts.
    """
    name, console = "init-was-taken", boot.console_text()
    said = protocol.read_console(console)
    where = f"initrd of {initrd.path.stat().st_size} bytes at {initrd.address:#x} in RAM"
    taken = f"xipmatrix.challenge={boot.challenge}" in console
    refused = _REFUSED.search(console)
    if said.reply is None and _COMMAND_LINE in console and not taken:
        summary = "the kernel took another command line than ours (CONFIG_CMDLINE_FORCE?)"
        return Evidence(name, False, summary, Verdict.NOT_APPLICABLE)
    if not said.started and refused:
        summary = f"the kernel refused our {where}: {refused[1]}"
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE)
    if not (said.started or sure) and _STARTED in console and panic_line(console) is None:
        summary = (
            "an init was started that does not speak as ours does; only the .config would tell "
            "whether the kernel takes an initrd (CONFIG_INITRAMFS_FORCE)"
        )
        return Evidence(name, False, summary, Verdict.NOT_APPLICABLE)
    summary = f"init came in an {where}" if said.started else f"nothing tells against our {where}"
    return Evidence(name, True, summary, Verdict.NOT_APPLICABLE, {"physical": initrd.address})
