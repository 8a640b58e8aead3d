"""The seams between services: what each may ask of another, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pymta.errors import SpoolError

if TYPE_CHECKING:
    from pymta.model.access import AccessContext, Effect, Stage, Verdict
    from pymta.model.address import Address
    from pymta.model.delivery import DeliveryRequest, DeliveryResult
    from pymta.model.dns import Answer
    from pymta.model.envelope import Client, Envelope, Origin
    from pymta.model.queue import EntryUpdate, Found, QueuedRecipient, QueueEntry, QueueFilter, QueueId
    from pymta.model.reply import Reply
    from pymta.model.route import Route
    from pymta.model.sasl import Mechanism, SaslStep, Secret, SecretKind


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for timeouts and durations."""
        ...


class Log(Protocol):
    """One service's log: each call is one line, in Postfix's wording, without time, host or tag."""

    def debug(self, line: str) -> None: ...
    def info(self, line: str) -> None: ...
    def warning(self, line: str) -> None: ...
    def error(self, line: str) -> None: ...


@runtime_checkable
class Table(Protocol):
    """A lookup table (`hash:/etc/aliases`). `name` is its `type:source` spelling."""

    @property
    def name(self) -> str: ...

    async def lookup(self, key: str) -> str | None:
        """The value for `key`, None where there is none; raises TableError where that cannot be known."""
        ...


class Resolver(Protocol):
    async def query(self, name: str, rdtype: str) -> Answer:
        """Records of type A, AAAA, MX, PTR, TXT, CNAME, NS, SRV or TLSA. Never raises for what DNS says or not.

        For PTR, `name` is an IP address.
        """
        ...


class AddressResolver(Protocol):
    """rewrite's two questions."""

    def rewrite(self, address: Address) -> Address:
        """Complete an address: `$myorigin`, `$mydomain`, source routes, percent hack (trivial-rewrite(8))."""
        ...

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        """Raises ResolveError where the answer cannot be known now."""
        ...

    def known(self, recipient: Address) -> Route | None:
        """What `resolve` would answer whoever the sender is, where nothing need be asked for it; else None."""
        ...


class RecipientDirectory(Protocol):
    """Who exists here. Raises TableError where that cannot be known."""

    async def check_recipient(self, recipient: Address) -> Reply | None:
        """None where `recipient` exists or is not ours to know; else the refusal (`550 5.1.1 ... User unknown`)."""
        ...

    async def check_sender(self, sender: Address) -> Reply | None:
        """The same for `reject_unlisted_sender`."""
        ...


class AccessPolicy(Protocol):
    """The restriction engine, one per smtpd service. Never raises: what it cannot know is a 4xx verdict."""

    def asks(self, stage: Stage) -> bool:
        """Whether it may answer anything but PERMIT at `stage`; a session does not ask where it would not."""
        ...

    async def decide(self, context: AccessContext) -> Verdict: ...


class Restriction(Protocol):
    """One rule of a restriction list; an app may pass its own to `MTA`. `name` is its spelling in lists."""

    @property
    def name(self) -> str: ...

    async def check(self, context: AccessContext) -> Verdict | None:
        """A verdict ends the list; None (DUNNO) asks the next restriction."""
        ...


class Content(Protocol):
    """A message's header and body: every line ends in CRLF, no dot-stuffing, no bare LF."""

    @property
    def size(self) -> int: ...

    @property
    def data(self) -> bytes | None:
        """The whole content where it is small and at hand, else None: then read `chunks`."""
        ...

    def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        """The content in pieces of at most `limit` bytes; a file is read off the event loop."""
        ...


class Draft(Protocol):
    """A message on its way in. Exactly one of `commit` and `abort` ends it; `abort` twice is harmless."""

    @property
    def queue_id(self) -> QueueId: ...

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        """Add content, lines ended by CRLF. Never raises and never blocks on the network; failures show at commit.

        `is_tidy` tells that every CR and LF in `data` is known to be half of a CRLF.
        """
        ...

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        """Finish and make durable. `250 2.0.0 Ok: queued as ID` only after the sync; else the refusal."""
        ...

    async def abort(self) -> None:
        """Forget the message; nothing of it stays."""
        ...


class Intake(Protocol):
    """The one door into the queue (cleanup)."""

    def new_queue_id(self) -> QueueId: ...

    async def begin(self, envelope: Envelope, client: Client, origin: Origin, queue_id: QueueId | None = None) -> Draft:
        """Open a draft. `queue_id` is one from `new_queue_id` that the log already named."""
        ...


Recorded = Callable[[SpoolError | None], None]
"""Called on the event loop once a change is durable, or with why it is not."""


class Spool(Protocol):
    """Durable storage of the queue: what is on disk and nothing about when. One writer.

    Every method that changes something returns after the change is synced; calls that are under way together
    share one sync. Raises SpoolError.
    """

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    @property
    def failure(self) -> SpoolError | None:
        """Why nothing can be stored until `reopen`; None while all is well."""
        ...

    async def reopen(self) -> None:
        """Begin anew with what is on the disk; where that fails it may be tried again."""
        ...

    def new_queue_id(self) -> QueueId:
        """An id that this spool never gave before, above all that it gave, whatever the clock does."""
        ...

    def new_content(self, queue_id: QueueId) -> ContentWriter: ...

    async def add(self, entry: QueueEntry, content: ContentWriter) -> None:
        """Store a message whole or not at all; `entry.size` is the content's, and there are recipients."""
        ...

    def store(self, entry: QueueEntry, content: ContentWriter, done: Recorded) -> None:
        """`add` without anybody who awaits it; `done` is called later."""
        ...

    async def update(self, update: EntryUpdate) -> None: ...

    def record(self, change: EntryUpdate | QueueId, done: Recorded) -> None:
        """`update` or, with an id, `remove`, of what an attempt left, a little later: nobody waits for it."""
        ...

    async def remove(self, queue_id: QueueId) -> bool:
        """Forget a message; False where there is none."""
        ...

    async def load(self, queue_id: QueueId) -> QueueEntry | None: ...

    def content(self, entry: QueueEntry) -> Content: ...

    async def due(self, now: float, limit: int, after: tuple[float, QueueId] = (0.0, "")) -> list[QueueEntry]:
        """Incoming and deferred entries whose `next_attempt` has come, oldest `(next_attempt, queue_id)` first."""
        ...

    async def next_due(self, after: float = -1.0) -> float | None:
        """The smallest `next_attempt` above `after` of incoming and deferred entries."""
        ...

    async def recipients(self, queue_id: QueueId, after: int, limit: int) -> list[QueuedRecipient]:
        """A message's recipients that are not done, by number, of those above `after`."""
        ...

    def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        """Entries in queue-id order, in batches from disk; never all in memory."""
        ...

    def find(self, query: QueueFilter) -> AsyncIterator[Sequence[Found]]:
        """The same messages in the same order, some hundreds at a time, without what only a listing shows."""
        ...

    async def counts(self) -> dict[str, int]:
        """Messages per queue name."""
        ...


class ContentWriter(Protocol):
    """Content on its way to the spool: small in memory, large in a file. Failures show at `Spool.add`."""

    @property
    def size(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    def prepend(self, data: bytes) -> None:
        """Put `data`, whole header fields, before all that was written; what is prepended last stands first."""
        ...

    def content(self) -> Content:
        """What was written, to be read from memory or the file; valid once `Spool.add` has returned."""
        ...

    async def discard(self) -> None: ...


class Queue(Protocol):
    """qmgr's side of intake."""

    def new_queue_id(self) -> QueueId: ...

    def new_content(self, queue_id: QueueId) -> ContentWriter: ...

    async def enqueue(self, entry: QueueEntry, content: ContentWriter) -> None:
        """Make durable, then schedule. Raises SpoolError; then nothing of the message stays."""
        ...

    async def flush_site(self, site: str) -> None:
        """Have what waits for recipients in the domain `site` tried now; begins, and returns. Raises SpoolError."""
        ...


class SiteFlush(Protocol):
    async def flush_site(self, site: str) -> bool:
        """The same for a site that may be asked for; False for any other. Raises SpoolError or TableError."""
        ...


class QueueAdmin(Protocol):
    """What an administrator may do to the queue. Raises SpoolError."""

    def entries(self, query: QueueFilter) -> AsyncIterator[QueueEntry]:
        """Matching messages in queue-id order, those under delivery in the active queue; never all in memory."""
        ...

    async def flush(self, query: QueueFilter) -> int:
        """Make matching messages due now, dead destinations forgiven; how many."""
        ...

    def change(self, action: str, query: QueueFilter) -> AsyncIterator[QueueId]:
        """Apply `delete`, `hold`, `release`, `requeue` or `expire`; yields the ids that it changed, as it goes."""
        ...

    async def counts(self) -> dict[str, int]:
        """Messages per queue name."""
        ...


class DeliveryAgent(Protocol):
    """A transport's worker: smtp, local, pipe, or an app's own Python function."""

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        """Exactly one result per recipient. An exception defers all of them."""
        ...


class DetachedAgent(Protocol):
    """A `DeliveryAgent` that works elsewhere: nobody need wait here for what it answers."""

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]: ...

    def begin(
        self,
        request: DeliveryRequest,
        content: Content,
        done: Callable[[Sequence[DeliveryResult] | Exception], None],
    ) -> bool:
        """Have `done` called later, once; False where that cannot be now, then `deliver` it."""
        ...


class Notifier(Protocol):
    """bounce: composes notices and hands them to Intake. Returns once they are durable, or raises SpoolError."""

    async def failed(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        """Non-delivery, to the sender (or postmaster: double bounce), for BOUNCED and EXPIRED recipients."""
        ...

    async def delayed(self, entry: QueueEntry, content: Content) -> None:
        """Delay warning for the recipients of `entry` that wait."""
        ...

    async def succeeded(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        """Success report for recipients with NOTIFY=SUCCESS."""
        ...

    async def traced(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        """What became of all recipients of a message with `trace` set, at its first attempt (trace(8))."""
        ...


class PasswordDatabase(Protocol):
    """Whose password is which. Raises AuthUnavailableError where that cannot be known now.

    Whether there is such a user must not show in the time that an answer takes.
    """

    async def verify(self, username: str, password: str) -> bool: ...

    async def secret(self, username: str) -> Secret | None:
        """What mechanisms can use that never see the password; None where there is no such user."""
        ...

    async def secret_kinds(self) -> SecretKind:
        """What `secret` has for every account."""
        ...


class TokenVerifier(Protocol):
    async def verify_token(self, username: str, token: str) -> str | None:
        """Whose OAuth 2 access token this is, None where it is not good for `username` (empty: anybody).

        Raises AuthUnavailableError where that cannot be known now.
        """
        ...


class SaslExchange(Protocol):
    """One client's attempt to log in. Never raises: what cannot be known is a temporary failure."""

    async def step(self, response: bytes | None) -> SaslStep:
        """Take the initial response (None without one), then each response to a challenge."""
        ...

    def cancel(self) -> None:
        """The client gave up, or is gone."""
        ...


class SaslBackend(Protocol):
    """Who runs mechanisms on the server's side (`smtpd_sasl_type`)."""

    async def mechanisms(self) -> Sequence[Mechanism]:
        """What it can run now. Raises AuthUnavailableError."""
        ...

    def begin(self, mechanism: str, client: Client, bindings: Mapping[str, bytes] = ...) -> SaslExchange:
        """Run `mechanism`; `bindings` are the channel's by type, empty without TLS (RFC 5929)."""
        ...

    def close(self) -> None:
        """Give back what is held: connections. Exchanges under way fail for now."""
        ...
