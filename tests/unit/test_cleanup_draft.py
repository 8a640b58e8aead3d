"""What the one door into the queue does to a message (cleanup(8))."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.cleanup import CleanupSettings, LocalClients
from pymta.config import build
from pymta.errors import ConfigError, ProtocolUseError
from pymta.model.access import Effect, EffectKind
from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Body, Client, Envelope, Notify, Origin, Recipient
from pymta.model.queue import QueueName
from tests.support.rewriting import LOCAL, NOON, REMOTE, Parts, config

BARE = b"Subject: x\r\n\r\nbody\r\n"
ADDED = (
    b"Subject: x\r\n"
    b"Message-Id: <20261121120000.0000000001@mx.example.com>\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\r\n"
    b"From: from@example.net\r\n"
    b"\r\nbody\r\n"
)
TO = Recipient(Address("to", "example.org"), Address("to", "example.org"))
ENVELOPE = Envelope(Address("from", "example.net"), (TO,))


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("step", [0, 1, 7])
async def test_mail_of_others_passes_as_it_is(step: int) -> None:
    parts = Parts()
    content = b"From: joe\r\nTo: a b c\r\n (odd)\r\nX-Y: z\r\n\r\n.\r\nbody\r\n"
    assert str(await parts.take(content, step=step)) == "250 2.0.0 Ok: queued as 0000000001"
    assert parts.queue.content == content
    entry = parts.queue.entry
    assert (entry.size, entry.arrival_time, entry.queue, entry.message_id) == (
        len(content), NOON, QueueName.INCOMING, "",
    )  # fmt: skip
    assert parts.log.lines == ["0000000001: message-id=<>"]


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(
    ("client", "origin", "completed"),
    [
        (LOCAL, Origin.SMTP, True),
        (REMOTE, Origin.SMTP, False),
        (REMOTE, Origin.SENDMAIL, True),
        (REMOTE, Origin.LIBRARY, True),
        (REMOTE, Origin.NOTICE, True),
        (LOCAL, Origin.FORWARD, False),
    ],
)
async def test_who_gets_the_missing_fields(client: Client, origin: Origin, completed: bool, step: int) -> None:
    parts = Parts()
    await parts.take(BARE, client=client, origin=origin, step=step)
    assert parts.queue.content == (ADDED if completed else BARE)
    expected = "<20261121120000.0000000001@mx.example.com>" if completed else ""
    assert parts.queue.entry.message_id == expected
    assert parts.log.lines == [f"0000000001: message-id={expected or '<>'}"]


@pytest.mark.parametrize(
    ("words", "client", "is_local"),
    [
        ("", LOCAL, False),
        ("permit_mynetworks", Client(address="192.0.2.9"), True),
        ("permit_mynetworks", Client(address="203.0.113.9"), False),
        ("permit_sasl_authenticated", Client(address="203.0.113.9", sasl_username="joe"), True),
        ("permit_sasl_authenticated", Client(address="203.0.113.9"), False),
        ("check_address_map inline:{203.0.113.9=x}", Client(address="203.0.113.9"), True),
        ("permit_inet_interfaces, inline:{203.0.113.9=x}", Client(address="203.0.113.8"), False),
        ("fail:broken", LOCAL, False),
    ],
)
async def test_which_clients_are_local(words: str, client: Client, is_local: bool) -> None:
    parts = Parts(local_header_rewrite_clients=words, mynetworks="192.0.2.0/24")
    await parts.take(BARE, client=client)
    assert parts.queue.content == (ADDED if is_local else BARE)


async def test_a_service_may_have_local_clients_of_its_own() -> None:
    parts = Parts()
    other = build(CleanupSettings, config(local_header_rewrite_clients=""))
    parts.cleanup = parts.cleanup.with_local_clients(LocalClients(other, parts.tables, ()))
    await parts.take(BARE, client=LOCAL)
    assert parts.queue.content == BARE


def test_an_unknown_word_for_local_clients_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="permit_martians"):
        Parts(local_header_rewrite_clients="permit_martians")
    with pytest.raises(ConfigError, match="need"):
        Parts(undisclosed_recipients_header="no header")


@pytest.mark.parametrize(
    ("values", "header", "added"),
    [
        ({"always_add_missing_headers": "yes"}, b"", b"Message-Id: <20261121120000.0000000001@mx.example.com>\r\n"
         b"Date: Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\r\nFrom: from@example.net\r\n"),
        ({"always_add_missing_headers": "yes", "enable_long_queue_ids": "yes"}, b"From: a@b\r\nDate: x\r\n",
         b"Message-Id: <0000000001@mx.example.com>\r\n"),
        ({"always_add_missing_headers": "yes", "undisclosed_recipients_header": "To: undisclosed-recipients:;"},
         b"From: a@b\r\nDate: x\r\nMessage-ID: <1>\r\n", b"To: undisclosed-recipients:;\r\n"),
        ({"always_add_missing_headers": "yes", "undisclosed_recipients_header": "To: undisclosed-recipients:;"},
         b"From: a@b\r\nDate: x\r\nMessage-ID: <1>\r\ncc: x@y\r\n", b""),
    ],
)  # fmt: skip
async def test_settings_for_missing_fields(values: dict[str, str], header: bytes, added: bytes) -> None:
    parts = Parts(**values)
    await parts.take(header + b"\r\nbody\r\n")
    assert parts.queue.content == header + added + b"\r\nbody\r\n"


@pytest.mark.parametrize(
    ("name", "style", "expected"),
    [
        ("", "standard", "from@example.net"),
        ("Joe User", "standard", "Joe User <from@example.net>"),
        ("Joe Q. User", "standard", '"Joe Q. User" <from@example.net>'),
        ('Joe "Q" \\ User', "standard", '"Joe \\"Q\\" \\\\ User" <from@example.net>'),
        ("Joe\r\nBcc: x", "standard", '"Joe Bcc: x" <from@example.net>'),
        ("Jörg", "standard", "=?utf-8?q?J=C3=B6rg?= <from@example.net>"),
        ("Joe Q. User", "obsolete", "from@example.net (Joe Q. User)"),
        ("Joe (Q) User", "obsolete", "from@example.net (Joe Q User)"),
    ],
)
async def test_the_senders_full_name(name: str, style: str, expected: str) -> None:
    parts = Parts(header_from_format=style)
    await parts.take(b"\r\n", origin=Origin.SENDMAIL, full_name=name)
    assert f"\r\nFrom: {expected}\r\n".encode() in parts.queue.content


async def test_a_notice_without_sender_is_from_the_mailer_daemon() -> None:
    parts = Parts()
    await parts.take(b"\r\n", sender="", origin=Origin.NOTICE, full_name="Nobody")
    assert b"\r\nFrom: MAILER-DAEMON\r\n" in parts.queue.content
    assert parts.queue.entry.sender == NULL_SENDER


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"Message-ID: <1@a>\r\n\r\n", ["message-id=<1@a>"]),
        (b"MESSAGE-ID:\r\n <1@a>\r\n\r\n", ["message-id=<1@a>"]),
        (b"Message-ID: <1\x01\xff>\r\n\r\n", ["message-id=<1??>".replace("??", "?\ufffd")]),
        (b"Resent-Message-ID: <2@a>\r\nMessage-Id: <1@a>\r\n\r\n", ["resent-message-id=<2@a>", "message-id=<1@a>"]),
        (b"\r\nMessage-ID: <1@a>\r\n", ["message-id=<>"]),
        (b"Message-ID: " + b"x" * 5000 + b"\r\n\r\n", ["message-id=" + "x" * 998]),
    ],
)
async def test_the_message_id_is_logged(content: bytes, lines: list[str]) -> None:
    parts = Parts()
    await parts.take(content)
    assert parts.log.lines == [f"0000000001: {line}" for line in lines]


@pytest.mark.parametrize(
    ("values", "content", "reply"),
    [
        ({"hopcount_limit": "3"}, b"Received: x\r\n" * 2 + b"\r\n", "250 2.0.0 Ok: queued as 0000000001"),
        ({"hopcount_limit": "3"}, b"received: x\r\n y\r\n" * 3 + b"\r\n", "554 5.4.0 Error: too many hops"),
        ({"message_size_limit": "100"}, b"A: b\r\n\r\n" + b"x" * 92, "250 2.0.0 Ok: queued as 0000000001"),
        ({"message_size_limit": "100"}, b"A: b\r\n\r\n" + b"x" * 93, "552 5.3.4 Error: message file too big"),
        ({"message_size_limit": "0"}, b"A: b\r\n\r\n" + b"x" * 93, "250 2.0.0 Ok: queued as 0000000001"),
        ({"message_reject_characters": "\\0"}, b"A: b\r\n\r\na\0b\r\n", "550 5.7.1 Error: message content rejected"),
        ({"message_reject_characters": "\\0"}, b"A: b\r\n\r\na0b\r\n", "250 2.0.0 Ok: queued as 0000000001"),
    ],
)
async def test_limits(values: dict[str, str], content: bytes, reply: str) -> None:
    for step in (0, 1, 9):
        parts = Parts(**values)
        assert str(await parts.take(content, step=step)) == reply
        assert bool(parts.queue.messages) is reply.startswith("250")
        assert parts.queue.opened[0].discarded is not reply.startswith("250")


async def test_notices_have_no_size_limit() -> None:
    parts = Parts(message_size_limit="10")
    assert (await parts.take(b"A: b\r\n\r\n" + b"x" * 93, origin=Origin.NOTICE)).code == 250


@pytest.mark.parametrize(
    ("values", "content", "expected"),
    [
        ({}, b"A: b\rc\r\n\r\nx\ry\nz\r\r\n\r\n", b"A: b c\r\n\r\nx y z\r\n\r\n"),
        ({"cleanup_replace_stray_cr_lf": "no"}, b"A: b\rc\r\n\r\nx\ry\r\n", b"A: b\rc\r\n\r\nx\ry\r\n"),
        ({"message_strip_characters": "\\0\\177"}, b"A: b\0\r\n\r\nx\x7fy\r\n", b"A: b\r\n\r\nxy\r\n"),
        ({"message_drop_headers": "X-Foo, subject"}, b"x-foo: 1\r\nSubject: 2\r\nBcc: a\r\n\r\n", b"Bcc: a\r\n\r\n"),
        ({}, b"A: b\r\n\r\n" + b"\r" * 5 + b"\n", b"A: b\r\n\r\n\r\n"),
    ],
)
async def test_repairs(values: dict[str, str], content: bytes, expected: bytes) -> None:
    for step in (0, 1, 2, 5):
        parts = Parts(**values)
        await parts.take(content, step=step)
        assert parts.queue.content == expected


@pytest.mark.parametrize(("encoding", "body"), [("8bit", Body.EIGHT_BIT_MIME), ("BINARY", Body.EIGHT_BIT_MIME),
                                                ("7bit", None), ("base64", None)])  # fmt: skip
async def test_the_header_tells_of_eight_bits(encoding: str, body: Body | None) -> None:
    parts = Parts()
    await parts.take(f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode())
    assert parts.queue.entry.body is body
    parts = Parts(detect_8bit_encoding_header="no")
    await parts.take(f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode())
    assert parts.queue.entry.body is None


@pytest.mark.parametrize(
    ("origin", "header", "recipient", "values", "needed"),
    [
        (Origin.SENDMAIL, "Subject: x", "to@example.org", {}, False),
        (Origin.SENDMAIL, "Subject: ä", "to@example.org", {}, True),
        (Origin.SENDMAIL, "To: ä", "to@example.org", {}, True),
        (Origin.SENDMAIL, "Subject: x", "tö@example.org", {}, True),
        (Origin.SMTP, "Subject: ä", "to@example.org", {}, False),
        (Origin.SMTP, "Subject: ä", "to@example.org", {"smtputf8_autodetect_classes": "all"}, True),
        (Origin.SENDMAIL, "Subject: ä", "to@example.org", {"smtputf8_autodetect_classes": "bounce"}, False),
        (Origin.SENDMAIL, "Subject: ä", "to@example.org", {"smtputf8_enable": "no"}, False),
    ],
)
async def test_the_need_for_smtputf8_is_found_out(
    origin: Origin, header: str, recipient: str, values: dict[str, str], needed: bool
) -> None:
    parts = Parts(**values)
    await parts.take(f"{header}\r\n\r\nä\r\n".encode(), recipient, origin=origin)
    assert parts.queue.entry.smtputf8 is needed


async def _with(parts: Parts, *effects: Effect) -> str:
    draft = await parts.cleanup.begin(ENVELOPE, REMOTE, Origin.SMTP)
    draft.write(BARE)
    return str(await draft.commit(effects))


async def test_effects_of_access_actions() -> None:
    parts = Parts()
    await _with(parts, Effect(EffectKind.HOLD), Effect(EffectKind.FILTER, "smtp:[f]"))
    assert (parts.queue.entry.queue, parts.queue.entry.filter) == (QueueName.HOLD, "smtp:[f]")
    await _with(parts, Effect(EffectKind.REDIRECT, "other@x.example"), Effect(EffectKind.BCC, "copy@x.example"))
    assert [(str(recipient.address), str(recipient.original)) for recipient in parts.queue.entry.recipients] == [
        ("other@x.example", "to@example.org")
    ]
    await _with(parts, Effect(EffectKind.BCC, "one@x.example"), Effect(EffectKind.BCC, "two"))
    assert [(str(recipient.address), recipient.notify) for recipient in parts.queue.entry.recipients] == [
        ("to@example.org", Notify.DEFAULT),
        ("one@x.example", Notify.DEFAULT),
        ("two@mx.example.com", Notify.DEFAULT),
    ]
    await _with(parts, Effect(EffectKind.PREPEND, "X: y"))
    assert parts.queue.entry.filter == ""


async def test_content_filter_of_a_service() -> None:
    parts = Parts()
    parts.cleanup = parts.cleanup.with_content_filter("smtp:[f]:10025")
    await parts.take(BARE)
    assert parts.queue.entry.filter == "smtp:[f]:10025"
    await _with(parts, Effect(EffectKind.FILTER, "other:"))
    assert parts.queue.entry.filter == "other:"
    for origin in (Origin.NOTICE, Origin.FORWARD):
        await parts.take(BARE, origin=origin)
        assert parts.queue.entry.filter == ""


async def test_a_discarded_message_looks_queued_and_is_nowhere() -> None:
    parts = Parts()
    assert await _with(parts, Effect(EffectKind.DISCARD)) == "250 2.0.0 Ok: queued as 0000000001"
    assert parts.queue.messages == []
    assert parts.queue.opened[0].discarded


async def test_a_full_disk_is_a_temporary_error_and_leaves_nothing() -> None:
    parts = Parts()
    parts.queue.failure = "disk full"
    assert str(await parts.take(BARE)) == "451 4.3.0 Error: queue file write error"
    assert parts.queue.opened[0].discarded
    assert "0000000001: queue file write error: disk full" in parts.log.lines


async def test_an_aborted_draft_leaves_nothing() -> None:
    parts = Parts()
    draft = await parts.cleanup.begin(ENVELOPE, REMOTE, Origin.SMTP)
    draft.write(BARE)
    await draft.abort()
    await draft.abort()
    draft.write(BARE)
    assert parts.queue.opened[0].discarded
    with pytest.raises(ProtocolUseError):
        await draft.commit()
    assert parts.queue.messages == []


async def test_a_message_is_queued_once() -> None:
    parts = Parts()
    draft = await parts.cleanup.begin(ENVELOPE, REMOTE, Origin.SMTP, "GIVEN1")
    assert draft.queue_id == "GIVEN1"
    assert (await draft.commit()).text == "Ok: queued as GIVEN1"
    with pytest.raises(ProtocolUseError):
        await draft.commit()
    assert len(parts.queue.messages) == 1


async def test_no_recipients() -> None:
    parts = Parts()
    draft = await parts.cleanup.begin(Envelope(NULL_SENDER), REMOTE, Origin.SMTP)
    assert str(await draft.commit()) == "550 5.1.0 Error: no recipients specified"
    assert parts.queue.opened[0].discarded


class SlowTable:
    """Answers when told."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.name = "slow:table"

    async def lookup(self, key: str) -> str | None:
        await self.may_answer.wait()
        return {"joe@mx.example.com": "Joe.User@example.com"}.get(key)


def _slow_parts() -> tuple[Parts, SlowTable]:
    from pymta.tables import TableFactory

    table = SlowTable()
    original = TableFactory.__init__

    def init(self: TableFactory, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        self.add(table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TableFactory, "__init__", init)
        return Parts(canonical_maps="slow:table", message_size_limit="2000"), table


@pytest.mark.parametrize("step", [1, 10, 1000])
async def test_content_waits_while_a_table_is_asked_for_a_header_address(step: int) -> None:
    parts, table = _slow_parts()
    draft = await parts.cleanup.begin(ENVELOPE, LOCAL, Origin.SMTP)
    content = b"Message-ID: <1>\r\nDate: x\r\nFrom: joe\r\nTo: joe, kate\r\nSubject: x\r\n\r\nbody\r\n"
    for start in range(0, len(content), step):
        draft.write(content[start : start + step])
        await asyncio.sleep(0)
    assert b"joe" not in parts.queue.opened[0].data
    table.may_answer.set()
    assert (await draft.commit()).code == 250
    assert parts.queue.content == (
        b"Message-ID: <1>\r\nDate: x\r\nFrom: Joe.User@example.com\r\n"
        b"To: Joe.User@example.com, kate@mx.example.com\r\nSubject: x\r\n\r\nbody\r\n"
    )


async def test_waiting_content_is_bounded_and_abort_ends_the_wait() -> None:
    parts, _ = _slow_parts()
    draft = await parts.cleanup.begin(ENVELOPE, LOCAL, Origin.SMTP)
    draft.write(b"From: joe\r\nTo: kate\r\n\r\n")
    for _ in range(100):
        draft.write(b"x" * 1000)
    assert sum(map(len, draft._waiting)) < 4000
    await draft.abort()
    assert parts.queue.opened[0].discarded
    await asyncio.sleep(0)


async def test_a_table_that_fails_in_its_own_way_defers_the_message() -> None:
    parts, table = _slow_parts()

    async def lookup(key: str) -> str | None:
        raise ZeroDivisionError(key)

    table.lookup = lookup  # type: ignore[method-assign]
    draft = await parts.cleanup.begin(ENVELOPE, LOCAL, Origin.SMTP)
    draft.write(b"From: joe\r\nSubject: x\r\n\r\nbody\r\n")
    await asyncio.sleep(0)
    draft.write(b"more\r\n")
    assert str(await draft.commit()) == "451 4.3.0 Error: queue file write error"
    assert parts.queue.messages == []
    assert parts.queue.opened[0].discarded


async def test_cancelled_before_it_is_queued_leaves_nothing() -> None:
    parts, _ = _slow_parts()
    draft = await parts.cleanup.begin(ENVELOPE, LOCAL, Origin.SMTP)
    draft.write(b"From: joe\r\n\r\n")
    task = asyncio.create_task(draft.commit())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parts.queue.opened[0].discarded
    assert parts.queue.messages == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"From: a", b"To: b@c", b"X: y", b"", b" more", b"text", b"Bcc: z", b"a\rb"]), max_size=12
    ),
    st.integers(0, 20),
    st.sampled_from([LOCAL, REMOTE]),
)
async def test_chunks_make_no_difference(lines: list[bytes], step: int, client: Client) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    one, other = Parts(), Parts()
    await one.take(content, client=client)
    await other.take(content, client=client, step=step)
    assert one.queue.content == other.queue.content
