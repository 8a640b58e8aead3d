"""What clients may do per time unit: which commands count, what is said to one too many, who counts where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pymta.app.remote_counts import ClientCounts, RemoteCounts
from pymta.app.remote_kinds import Kind
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_events import CountCommand, ServerSignal
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.smtpd.limits import ConnectionLimits, Counts
from pymta.smtpd.rates import ClientRates, rates
from pymta.tables import TableFactory
from pymta.testing import ManualClock, RecordingLog

CLIENT = Client(address="192.0.2.9", name="client.example.net")
REFUSAL = Reply.of(450, "Error: too much", "4.7.1")


def conversation(commands: list[str], refused: bool, **options: Any) -> tuple[list[str], list[str]]:
    """The verbs that were asked about, and the replies."""
    counted = frozenset({"MAIL", "RCPT", "AUTH"})
    settings = ServerOptions(counted_verbs=counted, **options)
    session = ServerSession(settings, CLIENT, lambda: "ID", asks=lambda stage: False)
    session.start()
    asked: list[str] = []
    for line in commands:
        session.receive_data(f"{line}\r\n".encode())
        while not isinstance(event := session.next_event(), ServerSignal):
            if isinstance(event, CountCommand):
                asked.append(event.verb)
                session.counted(REFUSAL if refused else None)
    return asked, session.data_to_send().decode().splitlines()[1:]


# As Debian's Postfix counts: what is out of order does not, what is malformed does.
MAILS = [
    ("MAIL FROM:<a@a.example>", True),
    ("MAIL FROM:<a@@>", True),
    ("MAIL FROM:a b c", True),
    ("MAIL", True),
    ("MAIL FROM:<a@a.example> FOO=BAR", True),
    ("MAIL FROM:<a@a.example> SIZE=99999999999", True),
    ("RCPT TO:<a@a.example>", False),
    ("AUTH PLAIN", True),
    ("NOOP", False),
]


@pytest.mark.parametrize(("command", "counts"), MAILS)
@pytest.mark.parametrize("refused", [False, True])
def test_what_counts(command: str, counts: bool, refused: bool) -> None:
    asked, replies = conversation([command], refused)
    assert bool(asked) == counts
    assert (replies == ["450 4.7.1 Error: too much"]) == (counts and refused)


def test_out_of_order_does_not_count() -> None:
    mail, rcpt = "MAIL FROM:<a@a.example>", "RCPT TO:<b@a.example>"
    asked, replies = conversation([mail, mail, rcpt, "RCPT TO:<@@>", "RSET", rcpt], False)
    assert asked == ["MAIL", "RCPT", "RCPT"]
    assert "503 5.5.1 Error: nested MAIL command" in replies
    asked, _ = conversation([mail], False, helo_required=True)
    assert asked == []


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


def service(log: RecordingLog, clock: ManualClock, **limits: int) -> ClientRates:
    settings = rates(**{"messages": 0, "recipients": 0, "logins": 0, "tls_sessions": 0, **limits})
    exceptions = TableFactory(Path("/")).network_list("198.51.100.0/24")
    return ClientRates("smtp", settings, ConnectionLimits(0, 0, 60.0, 24), exceptions, clock, log, None)


@pytest.mark.parametrize(
    ("limit", "event", "reply", "line"),
    [
        (
            "messages",
            "MAIL",
            "450 4.7.1 Error: too much mail from 192.0.2.9",
            "Message delivery request rate limit exceeded: 3",
        ),
        (
            "recipients",
            "RCPT",
            "450 4.7.1 Error: too many recipients from 192.0.2.9",
            "Recipient address rate limit exceeded: 3",
        ),
        (
            "logins",
            "AUTH",
            "450 4.7.1 Error: too many AUTH commands from 192.0.2.9",
            "AUTH command rate limit exceeded: 3",
        ),
    ],
)
async def test_the_limit_and_its_window(log: RecordingLog, limit: str, event: str, reply: str, line: str) -> None:
    clock = ManualClock()
    limited = service(log, clock, **{limit: 2})
    assert [await limited.count(event, CLIENT) for _ in range(2)] == [None, None]
    # The whole network, 24 bits of it, counts as one.
    assert await limited.count(event, Client(address="192.0.3.1")) is None
    assert str(await limited.count(event, CLIENT)) == reply
    assert log.lines == [f"{line} from client.example.net[192.0.2.9] for service smtp"]
    assert await limited.count(event, Client(address="198.51.100.1")) is None
    clock.advance(59.9)
    assert await limited.count(event, CLIENT) is not None
    clock.advance(0.1)
    assert await limited.count(event, CLIENT) is None


async def test_new_tls_sessions(log: RecordingLog) -> None:
    """The one too many is told goodbye after its handshake, the next one is not begun."""
    limited = service(log, ManualClock(), tls_sessions=2)
    for _ in range(2):
        assert await limited.may_begin_tls(CLIENT) is None
        assert await limited.tls_begun(CLIENT, myhostname="mx") is None
    assert await limited.may_begin_tls(CLIENT) is None
    goodbye = await limited.tls_begun(CLIENT, myhostname="mx")
    assert str(goodbye) == "421 4.7.0 mx Error: too many new TLS sessions from client.example.net[192.0.2.9]"
    refusal = await limited.may_begin_tls(CLIENT)
    assert str(refusal) == "454 4.7.0 Error: too many new TLS sessions from client.example.net[192.0.2.9]"
    assert log.lines == [
        "New TLS session rate limit exceeded: 3 from client.example.net[192.0.2.9] for service smtp",
        "Refusing STARTTLS request from client.example.net[192.0.2.9] for service smtp",
    ]
    assert limited.verbs == frozenset()
    assert await service(log, ManualClock()).tls_begun(CLIENT, myhostname="mx") is None


async def test_kinds_of_events_have_one_window(log: RecordingLog) -> None:
    """anvil(8): a window that is over is over for all of them."""
    clock = ManualClock()
    limited = service(log, clock, messages=1, recipients=1)
    await limited.count("MAIL", CLIENT)
    clock.advance(50)
    assert await limited.count("RCPT", CLIENT) is None
    clock.advance(11)
    assert await limited.count("RCPT", CLIENT) is None


async def test_what_cannot_be_counted_is_refused_for_now(log: RecordingLog) -> None:
    class Away:
        async def counted(self, *values: object) -> int:
            raise OSError("gone")

    settings = rates(messages=1, recipients=0, logins=0, tls_sessions=0)
    nobody = TableFactory(Path("/")).network_list("")
    limited = ClientRates("smtp", settings, ConnectionLimits(0, 0, 60.0), nobody, ManualClock(), log, Away())  # type: ignore[arg-type]
    assert str(await limited.count("MAIL", CLIENT)) == "451 4.3.0 Temporary lookup failure"


class Wire:
    """Between a role and the queue manager of the moment."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.there = ClientCounts(clock)
        self.roles: list[RemoteCounts] = []

    def role(self, *, is_alone: bool = False) -> RemoteCounts:
        counts = RemoteCounts(_End(self, object()), self.clock, is_alone=is_alone)  # type: ignore[arg-type]
        self.roles.append(counts)
        return counts

    def restart(self, order: Callable[[list[RemoteCounts]], list[RemoteCounts]] = lambda roles: roles) -> None:
        self.there = ClientCounts(self.clock)
        for counts in order(self.roles):
            counts.announce()


class _End:
    def __init__(self, wire: Wire, link: object) -> None:
        self._wire = wire
        self._link: Any = link

    async def ask(self, kind: Kind, values: Any) -> Any:
        if kind is Kind.OPENED:
            return self._wire.there.opened(self._link, *values)
        return self._wire.there.counted(*values)

    def tell(self, kind: Kind, values: Any) -> None:
        if kind is Kind.HAPPENED:
            self._wire.there.happened(*values)
        elif kind is Kind.HELD:
            self._wire.there.held(self._link, *values)
        else:
            self._wire.there.closed(self._link, *values)


async def test_roles_count_together_and_a_new_queue_manager_hears_of_it() -> None:
    clock = ManualClock()
    wire = Wire(clock)
    one, two = wire.role(), wire.role()
    assert await one.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 1
    clock.advance(10)
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 2
    assert await two.counted("smtp", "192.0.2.9", "RCPT", 60.0, 1) == 1
    assert await two.counted("submission", "192.0.2.9", "MAIL", 60.0, 1) == 1
    assert await one.opened("smtp", "192.0.2.9", 60.0) == (1, 1)
    assert await two.opened("smtp", "192.0.2.9", 60.0) == (2, 2)
    wire.restart(lambda roles: roles[::-1])
    assert await one.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 3
    assert await one.counted("smtp", "192.0.2.9", "RCPT", 60.0, 1) == 2
    assert await one.opened("smtp", "192.0.2.9", 60.0) == (3, 3)
    # Again, with what was counted since then; and the window ends when it would have.
    wire.restart()
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 4
    clock.advance(49.9)
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 5
    clock.advance(0.1)
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 1
    wire.restart()
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 2


async def test_a_client_that_is_faster_than_a_role_s_word_loses_nothing() -> None:
    clock = ManualClock()
    wire = Wire(clock)
    one, two = wire.role(), wire.role()
    await one.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1)
    clock.advance(5)
    wire.there = ClientCounts(clock)
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 1
    one.announce()
    assert await two.counted("smtp", "192.0.2.9", "MAIL", 60.0, 1) == 3


async def test_what_clients_did_outlives_a_role_and_its_connections_do_not() -> None:
    wire = Wire(ManualClock())
    ended = wire.role()
    link: Any = ended._upstream._link  # type: ignore[attr-defined]
    await ended.opened("smtp", "192.0.2.9", 60.0)
    await ended.counted("smtp", "192.0.2.9", "AUTH", 60.0, 1)
    wire.there.forget(link)
    successor = wire.role()
    assert await successor.counted("smtp", "192.0.2.9", "AUTH", 60.0, 1) == 2
    assert await successor.opened("smtp", "192.0.2.9", 60.0) == (1, 2)


async def test_a_role_that_is_alone_counts_its_connections_by_itself() -> None:
    wire = Wire(ManualClock())
    alone = wire.role(is_alone=True)
    wire.there = None  # type: ignore[assignment]
    assert await alone.opened("smtp", "192.0.2.9", 0.0) == (1, 1)
    assert await alone.opened("smtp", "192.0.2.9", 0.0) == (2, 1)
    alone.closed("smtp", "192.0.2.9")
    assert await alone.opened("smtp", "192.0.2.9", 0.0) == (2, 1)


def test_memory_is_that_of_active_clients() -> None:
    counts = Counts()
    for number in range(10_000):
        counts.add(f"192.0.2.{number}", "MAIL", float(number), 60.0)
    assert len(counts._recent) < 200


async def test_addresses_that_are_none_do_no_harm(log: RecordingLog) -> None:
    limited = service(log, ManualClock(), messages=1)
    assert [await limited.count("MAIL", Client(address="unknown")) is None for _ in range(2)] == [True, False]
