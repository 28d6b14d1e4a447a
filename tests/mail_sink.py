# SPDX-License-Identifier: GPL-2.0-only
"""A mail server of the tests' own, which keeps what it is given."""

from __future__ import annotations

import contextlib
import mailbox
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Sink:
    """What has arrived, in order, each with whom it was for."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """aiosmtpd's hook."""
        assert isinstance(envelope.content, bytes)
        self.mails.append(BytesParser().parsebytes(envelope.content))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"

    def write(self, box: Path, *more: Message) -> Path:
        """All of it as a mailbox file, and `more` after it."""
        with contextlib.closing(mailbox.mbox(box)) as made:
            for mail in (*self.mails, *more):
                made.add(mail)
        return box


class _Controller(Controller):
    """aiosmtpd's, which looks whether it can be reached at the port it was told: 0 here."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextlib.contextmanager
def mail_sink() -> Iterator[Sink]:
    """A server on a free port of this machine, for the block."""
    sink = Sink()
    # 0: the system chooses the port, and says which when it listens.
    controller = _Controller(sink, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        sink.port = controller.port
        yield sink
    finally:
        controller.stop()
