# SPDX-License-Identifier: GPL-2.0-only
"""An ssh server on this machine that gives what it is asked for to the shell: asyncssh's.

Not OpenSSH's: to install that opens a port of the user's machine to the world.

    ssh_server.py PORT HOST-KEY AUTHORIZED-KEYS
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh


async def forward(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(1 << 16):
        target.write(data)


async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command of a session; its output and its exit status are the session's.

    Not by asyncssh's redirect(): where a command is quicker than that, the connection ends.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(
        process.command or "true", stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    assert child.stdout is not None and child.stderr is not None
    await asyncio.gather(
        forward(child.stdout, process.stdout), forward(child.stderr, process.stderr)
    )
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
