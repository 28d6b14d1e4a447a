# SPDX-License-Identifier: GPL-2.0-only
"""An ssh server on this machine that gives what it is asked for to the shell: asyncssh's.

Not OpenSSH's: to install that opens a port of the user's machine to the world.

    ssh_server.py PORT HOST-KEY AUTHORIZED-KEYS
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh


async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command of a session; its streams and its exit status are the session's."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(
        process.command or "true", stdin=pipe, stdout=pipe, stderr=pipe
    )
    await process.redirect(child.stdin, child.stdout, child.stderr)
    process.exit(await child.wait())


async def serve(port: str, host_key: str, authorized: str) -> None:
    await asyncssh.listen(
        "127.0.0.1",
        int(port),
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=run,
        encoding=None,
    )
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
