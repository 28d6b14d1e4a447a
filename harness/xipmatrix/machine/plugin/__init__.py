# SPDX-License-Identifier: GPL-2.0-only
"""The TCG plugin that counts executed instructions, built once per QEMU version."""

from __future__ import annotations

from pathlib import Path

from packaging.version import Version

from ...core import run
from ...core.errors import InfrastructureError
from ...core.files import cache_dir, key_of, locked, sha256_file

SOURCE = Path(__file__).with_name("residency.c")
# QEMU's plugin API changed under its own number: 9.0 has 2, 9.1 has 3 and loads 3 until
# API 7 gave the callbacks other arguments (include/plugins/qemu-plugin.h, QEMU 11.1), and
# loads no lower one.
_API_SINCE = ((Version("11.1"), 7), (Version("9.1"), 3), (Version("9.0"), 2), (Version("4.2"), 1))
_UNKNOWN_FROM = Version("12")


def api_of(qemu_version: str) -> int | None:
    """The plugin API number to build for; None where residency.c knows none for this QEMU."""
    version = Version(qemu_version)
    if version >= _UNKNOWN_FROM:
        return None
    return next((api for since, api in _API_SINCE if version >= since), None)


def build_plugin(qemu_version: str, cache: Path | None = None) -> Path:
    """The plugin as a shared object for this QEMU, compiled by the host's gcc if need be.

    Kept below `cache` (our cache folder) under a key of its source and the QEMU version.
    Raises InfrastructureError where the compiler is missing or fails, or where the API is
    not known.
    """
    api = api_of(qemu_version)
    if api is None:
        raise InfrastructureError(
            f"QEMU {qemu_version} has a plugin API that residency.c does not know"
        )
    key = key_of(sha256_file(SOURCE), qemu_version, api)
    place = (cache or cache_dir()) / "plugin" / f"residency-{key}.so"
    with locked(place):
        if not place.is_file():
            run.need_tool("gcc", "gcc")
            partial = place.with_suffix(".partial")
            command = ["gcc", "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden"]
            run.run([*command, f"-DPLUGIN_API={api}", "-o", partial, SOURCE], check=True)
            partial.rename(place)
    return place
