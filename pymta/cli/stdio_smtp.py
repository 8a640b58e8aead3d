"""`sendmail -bs`: an SMTP dialogue on standard input and output for a program of this host (sendmail(1)).

The session runs in this process with the user's own rights and no restrictions; a message goes where any other of
this user goes: to the running program, or into the maildrop directory.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO

from pymta.cli import places
from pymta.cli.errors import CommandFailed
from pymta.cli.handover import hand_over
from pymta.config import Config, build
from pymta.model.access import PERMIT
from pymta.model.envelope import Client, Envelope, Notify
from pymta.model.reply import Reply
from pymta.pickup.submission import Submission
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_events import (
    NEED_DATA,
    PAUSED,
    Abort,
    Classify,
    Close,
    CommandKind,
    Commit,
    Content,
    Decide,
    Delay,
    Event,
    OpenDraft,
)
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.smtpd.settings import SmtpdSettings, session_options

_MEMORY = 1 << 20

HandOver = Callable[[Submission, Iterator[bytes]], Reply]


def serve(config_directory: str | None) -> int:
    """One dialogue, to its end; the result is the exit status. Raises ConfigError."""
    config = Config.load(places.config_directory(config_directory))
    queue_directory = config.text("queue_directory")

    def queue(submission: Submission, content: Iterator[bytes]) -> Reply:
        data = list(content)
        try:
            hand_over(queue_directory, submission.to_record(), lambda: data)
        except CommandFailed as refused:
            temporary = Reply.of(451, str(refused), "4.3.0")
            return temporary if refused.temporary else Reply.of(554, str(refused), "5.0.0")
        return Reply.of(250, "Ok: queued", "2.0.0")

    # A program on this host may well write all its commands at once.
    options = replace(
        session_options(build(SmtpdSettings, config)), forbid_unauth_pipelining=False, filters_commands=False
    )
    StdioSession(options, queue).run(0, 1)
    return os.EX_OK


class StdioSession:
    """Drives a `ServerSession` from one descriptor to another; `hand_over` queues a message and gives the reply."""

    def __init__(self, options: ServerOptions, hand_over: HandOver) -> None:
        numbers = itertools.count(1)
        self._session = ServerSession(options, Client(uid=os.getuid()), lambda: f"STDIN{next(numbers)}")
        self._hand_over = hand_over
        self._envelope: Envelope | None = None
        self._content: IO[bytes] | None = None
        self._is_open = True

    def run(self, source: int, target: int) -> None:
        """Until QUIT or the end of input."""
        self._session.start()
        self._work(target)
        data = b"more"
        while data and self._is_open:
            if data := os.read(source, 65536):
                self._session.receive_data(data)
            else:
                self._session.receive_eof()
            self._work(target)

    def _work(self, target: int) -> None:
        while (event := self._session.next_event()) not in (NEED_DATA, PAUSED):
            self._answer(event)  # type: ignore[arg-type]
        data = self._session.data_to_send()
        while data:
            data = data[os.write(target, data) :]

    def _answer(self, event: Event) -> None:
        session = self._session
        match event:
            case Decide():
                session.decide(PERMIT)
            case Classify():
                session.classified(CommandKind.OTHER)
            case OpenDraft(envelope=envelope):
                self._envelope = envelope
                self._content = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - closed with the message
                session.draft_opened()
            case Content(data) if self._content is not None:
                self._content.write(data)
            case Commit():
                session.message_result(self._queue())
            case Abort():
                self._forget()
            case Delay(seconds):
                time.sleep(seconds)
                session.resume()
            case Close():
                self._is_open = False

    def _queue(self) -> Reply:
        assert self._envelope is not None and self._content is not None
        content = self._content
        content.seek(0)
        try:
            return self._hand_over(submission_of(self._envelope), iter(lambda: content.read(65536), b""))
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._content is not None:
            self._content.close()
        self._content = self._envelope = None


def submission_of(envelope: Envelope) -> Submission:
    """What MAIL and RCPT said, as `sendmail`'s own command line would have said it.

    One NOTIFY holds for all recipients there; where they differ, none is handed on.
    """
    wishes = {one.notify for one in envelope.recipients}
    notify = wishes.pop() if len(wishes) == 1 else Notify.DEFAULT
    return Submission(
        sender=envelope.sender.quoted(),
        recipients=tuple(one.address.quoted() for one in envelope.recipients),
        notify=",".join(word.name.lower() for word in notify if word.name),
        ret=envelope.ret.value.lower() if envelope.ret else "",
        envid=envelope.envid,
        body=envelope.body.value if envelope.body else "",
        verp=envelope.verp,
    )
