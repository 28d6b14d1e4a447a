# SPDX-License-Identifier: GPL-2.0-only
"""A worker as the submitter reaches it: calls and content over Dask's own connections."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InfrastructureError, XipmatrixError
from ..core.files import Say
from ..core.progress import Throttle, megabytes
from . import session
from .content import Blobs, Corrupt, chunks
from .facts import Facts, Needed
from .session import Order, SentKernel
from .trees import Pack

if TYPE_CHECKING:
    from distributed import Client, Future

# A transfer that comes out wrong is done once more; twice is no accident.
_TRIES = 2


class LinkLost(InfrastructureError):
    """The worker, or the scheduler between, does not answer any more."""


@dataclass(frozen=True)
class Link:
    """The worker at `address`."""

    client: Client
    address: str

    def call(self, function: Callable[..., Any], *words: Any) -> Any:
        """A function of :mod:`session` on the worker.

        Raises what it raises there as far as it is ours, LinkLost where it is not reached,
        InfrastructureError where the worker cannot do what it is asked.
        """
        try:
            return self.client.run(function, *words, workers=[self.address])[self.address]
        except XipmatrixError:
            raise
        except (OSError, KeyError, TimeoutError, AttributeError) as error:
            # Also what Dask's own parts say that are just being closed.
            raise LinkLost(f"does not answer: {error or type(error).__name__}") from error
        except Exception as error:
            raise InfrastructureError(f"{type(error).__name__}: {error}") from error

    def look(self, needed: Needed) -> Facts:
        """The machine's facts. Raises InfrastructureError for what is no xipmatrix worker."""
        try:
            return Facts.from_dict(self.call(session.look, needed))
        except (TypeError, ValueError) as error:
            raise InfrastructureError(f"another xipmatrix: {error}") from error

    def open(self, order: Order, code: str, tags: dict[str, float]) -> list[str]:
        """Have it take part; the cells whose results lie there from before."""
        found = self.call(session.open_session, order.run, code, pickle.dumps(order), tags)
        return list(found)

    def held(self, commits: list[str]) -> list[str]:
        """Those of `commits` that it has."""
        return list(self.call(session.held, commits))

    def send(self, pack: Pack, say: Say) -> None:
        """Send a pack and have it unpacked. Raises Corrupt where it twice came out wrong."""
        throttle = Throttle(say)
        for tries in range(1, _TRIES + 1):
            try:
                for offset, data in chunks(pack.path):
                    self.call(session.receive, pack.sha256, offset, data, pack.size)
                    throttle.tell(f"sending the kernel: {megabytes(offset, pack.size)}")
                self.call(session.unpack, pack.sha256, pack.commits, pack.base)
                return
            except Corrupt:
                if tries == _TRIES:
                    raise

    def take(self, run: str, kernel: SentKernel) -> None:
        """Have it use a kernel that it holds."""
        self.call(session.take_kernel, run, pickle.dumps(kernel))

    def submit(self, run: str, cell: str, key: str, resources: dict[str, float]) -> Future:
        """Begin a cell there and nowhere else: where it goes next is not Dask's to say."""
        return self.client.submit(
            session.run_cell,
            run,
            cell,
            key=key,
            workers=[self.address],
            allow_other_workers=False,
            resources=resources,
            pure=False,
        )

    def fetch(self, run: str, cell: str, content: dict[str, int], blobs: Blobs) -> None:
        """Get all `content` (digest → bytes) of a result that is not in `blobs` yet."""
        for sha256, size in content.items():
            if blobs.has(sha256):
                continue
            for tries in range(1, _TRIES + 1):
                try:
                    offset, whole = 0, False
                    while not whole:
                        data = self.call(session.read, run, cell, sha256, offset)
                        if not data and size:
                            raise Corrupt(f"the content {sha256[:16]}… ends at byte {offset}")
                        whole = blobs.write(sha256, offset, data, size)
                        offset += len(data)
                    break
                except Corrupt:
                    if tries == _TRIES:
                        raise

    def forget(self, run: str, cell: str) -> None:
        """Tell it that its result is here."""
        self.call(session.forget, run, cell)

    def close(self, run: str) -> None:
        """Tell it that the run has ended."""
        self.call(session.close_session, run)

    def avoid(self, tags: list[str]) -> None:
        """Take its resources away, so that Dask gives it nothing of ours either."""
        self.call(session.drop_resources, tags)
