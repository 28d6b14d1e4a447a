# SPDX-License-Identifier: GPL-2.0-only
"""Whether our init can be brought into a kernel that was built without it.

It comes as an initrd in RAM, which Linux unpacks over whatever initramfs it has of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.evidence import Evidence, Verdict
from .elf import Image

# An option, a symbol that only a kernel with it has, and what it is for.
_NEEDS = (
    ("BLK_DEV_INITRD", "phys_initrd_start", "init comes in an initrd"),
    ("PROC_FS", "proc_root_init", "init finds its challenge in /proc/cmdline"),
    ("TTY", "tty_register_driver", "init speaks on the console"),
)
# With an MMU or without one: the same in that place.
_LOADERS = {
    True: ("BINFMT_ELF", "load_elf_binary", "init is an ELF program at a fixed address"),
    False: ("BINFMT_ELF_FDPIC", "load_elf_fdpic_binary", "init is loaded to anywhere in RAM"),
}
# Only .config tells of these; without it, the boot will show.
_HINDRANCES = {
    "INITRAMFS_FORCE": "the kernel takes no initrd",
    "CMDLINE_FORCE": "the kernel takes no command line, and so no challenge",
}


def init_can_start(config: Mapping[str, str] | None, image: Image, *, mmu: bool = True) -> Evidence:
    """Whether the kernel has what our init needs. `config`: names without CONFIG_, if known.

    `mmu`: whether it is for a machine with one. A kernel that lacks what init needs may be
    sound, but nothing can be proved of its userspace.
    """
    wrong = [
        f"without CONFIG_{option} there is no way in ({why})"
        for option, symbol, why in (*_NEEDS, _LOADERS[mmu])
        if symbol not in image.named
    ]
    wrong += [
        f"CONFIG_{option}=y: {why}"
        for option, why in _HINDRANCES.items()
        if (config or {}).get(option) == "y"
    ]
    summary = "; ".join(wrong) or "the kernel has all that our init needs to start and to speak"
    return Evidence("init-can-start", not wrong, summary, Verdict.NOT_APPLICABLE)
