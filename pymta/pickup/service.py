"""Local submissions, from the control socket or the maildrop directory, through the one door into the queue."""

from __future__ import annotations

import asyncio
import contextlib
import email.parser
import email.policy
import pwd
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pymta.errors import PymtaError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Body, Client, Envelope, Notify, Origin, Recipient, Ret, Trace
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.pickup.drop import REJECTED_SUFFIX, Dropped, DropRejected, read_drop, scan
from pymta.pickup.settings import PickupSettings
from pymta.pickup.submission import RECIPIENTS_LIMIT, Submission
from pymta.ports import AddressResolver, Clock, Draft, Intake, Log
from pymta.protocol.content import split_header, to_crlf, without_from_lines
from pymta.rewrite import parse_addresses
from pymta.runtime.dates import mail_date
from pymta.tables import TableFactory

_SCAN_SECONDS = 60.0
_BATCH = 100
_STRANGE_WARNINGS = 10

_RECIPIENT_FIELDS = ("to", "cc", "bcc")
_RESENT_FIELDS = ("resent-to", "resent-cc", "resent-bcc")


class Pickup:
    """Turns a `Submission` and its text into a queued message.

    Runs no policy but `authorized_submit_users`: who may run programs here may send mail (postconf(5)).
    """

    def __init__(
        self,
        settings: PickupSettings,
        intake: Intake,
        rewriter: AddressResolver,
        tables: TableFactory,
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._intake = intake
        self._rewriter = rewriter
        self._log = log
        self._submit_users = tables.string_list(settings.authorized_submit_users)

    @property
    def size_limit(self) -> int:
        """`message_size_limit`, 0 for none."""
        return self._settings.message_size_limit

    async def submit(self, submission: Submission, uid: int, text: AsyncIterator[bytes]) -> Reply:
        """Queue one message from the user with `uid`; the reply is what an SMTP client would be told.

        Raises ValueError for an envelope that makes no sense.
        """
        login = login_name(uid)
        if uid != 0 and not await self._submit_users.matches(login):
            return Reply.of(550, f"User {login}({uid}) is not allowed to submit mail", "5.7.1")
        content = without_from_lines(to_crlf(text))
        header = b""
        if submission.extract:
            header, content = await split_header(content)
        envelope = await self._envelope(submission, login, header)
        if not envelope.recipients:
            return Reply.of(554, "No recipient addresses found in message header", "5.1.3")
        draft = await self._begin(envelope, submission, uid)
        draft.write(self._received(draft.queue_id, uid))
        try:
            return await self._store(draft, content)
        except BaseException:
            await draft.abort()
            raise

    async def _begin(self, envelope: Envelope, submission: Submission, uid: int) -> Draft:
        draft = await self._intake.begin(envelope, Client(uid=uid), Origin.SENDMAIL)
        self._log.info(f"{draft.queue_id}: uid={uid} from=<{envelope.sender.quoted()}>")
        return draft

    def _received(self, queue_id: QueueId, uid: int) -> bytes:
        """The trace header of mail from a program of this host, in pickup(8)'s form."""
        settings = self._settings
        date = mail_date(self._clock.now())
        return (
            f"Received: by {settings.myhostname} ({settings.mail_name}, from userid {uid})\r\n"
            f"\tid {queue_id}; {date}\r\n"
        ).encode()

    async def _store(self, draft: Draft, content: AsyncIterator[bytes]) -> Reply:
        size = 0
        limit = self.size_limit
        async for chunk in content:
            size += len(chunk)
            if limit and size > limit:
                await draft.abort()
                return Reply.of(552, f"Message file too big; size {size}, limit {limit}", "5.3.4")
            draft.write(chunk)
        return await draft.commit()

    async def _envelope(self, submission: Submission, login: str, header: bytes) -> Envelope:
        given = [one for text in submission.recipients for one in parse_addresses(text)]
        if submission.extract:
            given += header_recipients(header)
        if len(given) > RECIPIENTS_LIMIT:
            raise ValueError(f"more than {RECIPIENTS_LIMIT} recipients")
        notify = parse_notify(submission.notify)
        recipients = []
        for address in given:
            address = self._rewriter.rewrite(address)
            recipients.append(Recipient(address, address, notify))
        return Envelope(
            sender=await self._sender(submission, login),
            recipients=tuple(recipients),
            body=Body(submission.body) if submission.body else None,
            smtputf8=False,
            envid=submission.envid,
            ret=Ret(submission.ret.upper()) if submission.ret else None,
            verp=submission.verp,
            full_name=submission.full_name or full_name(login),
            trace=Trace(submission.trace),
        )

    async def _sender(self, submission: Submission, login: str) -> Address:
        if submission.sender is None:
            return self._rewriter.rewrite(Address(login))
        addresses = parse_addresses(submission.sender)
        if not addresses or addresses[0].is_null:
            return NULL_SENDER
        return self._rewriter.rewrite(addresses[0])


def header_recipients(header: bytes) -> list[Address]:
    """The recipients that `-t` means: of the Resent- fields where there are any, else To, Cc and Bcc (sendmail(1))."""
    resent = header_addresses(header, *_RESENT_FIELDS)
    return resent or header_addresses(header, *_RECIPIENT_FIELDS)


def header_addresses(header: bytes, *names: str) -> list[Address]:
    """The addresses in all fields of these names."""
    message = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(header)
    values = [value for name in names for value in message.get_all(name, [])]
    return [address for value in values for address in parse_addresses(_unfolded(value))]


def _unfolded(value: object) -> str:
    # Header bytes beyond ASCII come as surrogates; mail addresses in UTF-8 are wanted as text (RFC 6532).
    text = str(value).replace("\r\n", "").replace("\n", "")
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def parse_notify(text: str) -> Notify:
    """`never` or a comma list of `success`, `failure` and `delay` (sendmail(1) -N); raises ValueError."""
    notify = Notify.DEFAULT
    for word in text.split(","):
        if not word:
            continue
        try:
            notify |= Notify[word.strip().upper()]
        except KeyError:
            raise ValueError(f"bad NOTIFY value: {word!r}") from None
    if Notify.NEVER in notify and notify != Notify.NEVER:
        raise ValueError("NOTIFY value 'never' cannot be combined with others")
    return notify


def login_name(uid: int) -> str:
    """The user's name, or the number where the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def full_name(login: str) -> str:
    """The user's name from the password file's comment field, `&` standing for the login name (passwd(5))."""
    try:
        comment = pwd.getpwnam(login).pw_gecos.partition(",")[0]
    except KeyError:
        return ""
    return comment.replace("&", login.capitalize())


class DropCollector:
    """Empties the maildrop directory: at start, every minute, and when told."""

    def __init__(self, directory: Path, pickup: Pickup, log: Log) -> None:
        self._directory = directory
        self._pickup = pickup
        self._log = log
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._warned: set[Path] = set()

    def replace_pickup(self, pickup: Pickup) -> None:
        """Use the settings of a reload from the next message on."""
        self._pickup = pickup

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                more = await self.collect()
            except OSError as error:
                self._log.error(f"maildrop {self._directory}: {error.strerror}")
                more = False
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _SCAN_SECONDS)
            self._wake.clear()

    async def collect(self) -> bool:
        """Queue what lies there, some messages at a time; True when there may be more."""
        dropped, strange = await asyncio.to_thread(scan, self._directory, _BATCH)
        self._warn_of_strange(strange)
        taken = 0
        for one in dropped:
            taken += await self._take(one)
        return len(dropped) == _BATCH and taken > 0

    def _warn_of_strange(self, strange: list[Path]) -> None:
        for path in strange[:_STRANGE_WARNINGS]:
            if path not in self._warned:
                self._warned.add(path)
                self._log.warning(f"maildrop/{path.name}: not a regular file with one name; left alone")

    async def _take(self, dropped: Dropped) -> bool:
        try:
            submission, chunks = await asyncio.to_thread(read_drop, dropped, self._pickup.size_limit)
            reply = await self._pickup.submit(submission, dropped.uid, _in_thread(chunks))
        except (DropRejected, ValueError) as error:
            return self._reject(dropped, str(error))
        except OSError as error:
            self._log.warning(f"maildrop/{dropped.path.name}: {error.strerror}")
            return False
        except PymtaError as error:
            self._log.warning(f"maildrop/{dropped.path.name}: {error}; will try again")
            return False
        if reply.is_temporary:
            self._log.warning(f"maildrop/{dropped.path.name}: {reply}; will try again")
            return False
        if reply.is_permanent:
            return self._reject(dropped, str(reply))
        dropped.path.unlink(missing_ok=True)
        return True

    def _reject(self, dropped: Dropped, reason: str) -> bool:
        """Take a file that can never become a message out of the way; it stays to be looked at."""
        self._log.error(f"maildrop/{dropped.path.name}: uid={dropped.uid}: {reason}; set aside")
        with contextlib.suppress(OSError):
            dropped.path.rename(dropped.path.with_suffix(REJECTED_SUFFIX))
        return True


async def _in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk
