# SPDX-License-Identifier: GPL-2.0-only
"""A worker's process: Dask's nanny, for as long as there is a scheduler to work for."""

from __future__ import annotations

import asyncio
import logging
import signal
import time

from ..core.errors import InfrastructureError
from ..core.files import Say, cache_dir
from .session import JOBS

_PAUSE = 2.0  # seconds between two tries to reach a scheduler


def serve(
    address: str,
    name: str,
    slots: int,
    jobs: int,
    resources: dict[str, float],
    patience: float,
    say: Say,
) -> None:
    """Work for the scheduler at `address` until SIGINT or SIGTERM.

    A worker that dies is started again by its nanny; a scheduler that goes is waited for
    during `patience` seconds. Raises InfrastructureError where none answers for so long.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)
    asyncio.run(_serve(address, name, slots, jobs, resources, patience, say))


async def _serve(
    address: str,
    name: str,
    slots: int,
    jobs: int,
    resources: dict[str, float],
    patience: float,
    say: Say,
) -> None:
    from distributed import Nanny

    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    scratch = cache_dir() / "farm" / "dask"
    scratch.mkdir(parents=True, exist_ok=True)
    seen = time.monotonic()
    while not asked.is_set():
        try:
            async with Nanny(
                address,
                nthreads=slots,
                name=name,
                resources=resources,
                memory_limit=None,  # compilers are children of its own: it does not see them
                death_timeout=patience,
                local_directory=str(scratch),
                silence_logs=logging.ERROR,
                env={JOBS: str(jobs)},
            ) as nanny:
                say(f"{name}: works for {address}")
                ended = asyncio.ensure_future(nanny.finished())
                stop = asyncio.ensure_future(asked.wait())
                await asyncio.wait([ended, stop], return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
            seen = time.monotonic()
        except (OSError, TimeoutError, RuntimeError) as error:
            if time.monotonic() - seen > patience:
                raise InfrastructureError(
                    f"no Dask scheduler answers: {error}",
                    where=address,
                    hint="start one: dask scheduler --port 8786",
                ) from error
        if not asked.is_set():
            say(f"{name}: the scheduler is not there, waiting for it")
            await asyncio.sleep(_PAUSE)
