"""Authentication-Results at the door: fields in our name are not believed, our own stand on top (RFC 8601 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pymta.auth.inbound import InboundAuthentication
from pymta.auth.inbound_settings import InboundSettings
from pymta.config import Config, build
from pymta.model.access import Effect, EffectKind
from pymta.model.address import Address
from pymta.model.authentication import Result
from pymta.model.envelope import Client, Envelope, Origin, Recipient
from pymta.model.reply import Reply
from pymta.smtpd.inspected import InspectedDraft
from pymta.tables import TableFactory
from pymta.testing import FakeResolver, ManualClock, RecordingLog
from tests.support.rewriting import REMOTE, Parts

TO = Recipient(Address("to", "example.org"), Address("to", "example.org"))
ENVELOPE = Envelope(Address("from", "example.net"), (TO,))
OURS = b"Authentication-Results: mx.example.com; dkim=pass\r\n"
OTHERS = b"Authentication-Results: other.example; dkim=pass\r\n"
BODY = b"Subject: x\r\n\r\nAuthentication-Results: mx.example.com; in the body\r\n"


def inbound(folder: Path, resolver: FakeResolver | None = None, **values: str) -> InboundAuthentication:
    raw = {"myhostname": "mx.example.com", "mynetworks": "198.51.100.0/24", "dkim_verify": "yes", **values}
    settings = build(InboundSettings, Config.from_values(raw))
    return InboundAuthentication(
        settings, TableFactory(folder), resolver or FakeResolver({}), ManualClock(), RecordingLog()
    )


async def taken(folder: Path, content: bytes, client: Client, origin: Origin = Origin.SMTP, step: int = 0) -> bytes:
    parts = Parts()
    draft = await parts.cleanup.with_distrust(inbound(folder)).begin(ENVELOPE, client, origin)
    for start in range(0, len(content), step or len(content)):
        draft.write(content[start : start + (step or len(content))])
    assert (await draft.commit()).code == 250
    return parts.queue.content


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(
    "field", [OURS, OURS.upper(), OURS.replace(b": ", b" :\r\n (c) "), OURS.replace(b"pass", b"\xff")]
)
async def test_fields_in_our_name_from_outside_go(tmp_path: Path, field: bytes, step: int) -> None:
    assert await taken(tmp_path, field + OTHERS + field + BODY, REMOTE, step=step) == OTHERS + BODY


async def test_a_login_does_not_make_them_ours(tmp_path: Path) -> None:
    content = await taken(tmp_path, OURS + BODY, replace(REMOTE, sasl_username="joe"))
    assert b"Authentication-Results" not in content.partition(b"\r\n\r\n")[0]


async def test_our_own_networks_may_bring_them_back(tmp_path: Path) -> None:
    client = replace(REMOTE, address="198.51.100.7")
    assert await taken(tmp_path, OURS + BODY, client) == OURS + BODY
    assert (await taken(tmp_path, OURS + BODY, REMOTE, Origin.FORWARD)).startswith(OURS)


async def test_a_door_that_tells_nothing_distrusts_nobody() -> None:
    parts = Parts()
    nameless = b"Authentication-Results: ; none\r\n"
    await parts.take(OURS + nameless + BODY)
    assert parts.queue.content == OURS + nameless + BODY


@pytest.mark.parametrize("step", [0, 1])
async def test_fields_for_the_top_stand_before_everything(step: int) -> None:
    parts = Parts()
    draft = await parts.cleanup.begin(ENVELOPE, REMOTE, Origin.SMTP)
    for start in range(0, len(BODY), step or len(BODY)):
        draft.write(BODY[start : start + (step or len(BODY))])
    await draft.commit([Effect(EffectKind.PREPEND, OURS.decode()), Effect(EffectKind.HOLD)])
    assert parts.queue.content == OURS + BODY
    assert parts.queue.entry.size == len(OURS + BODY)


# The draft around the draft


class Plain:
    """A draft that keeps what it gets."""

    queue_id = "Q1"

    def __init__(self) -> None:
        self.content = b""
        self.effects: tuple[Effect, ...] = ()
        self.aborted = False

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        self.content += data

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        self.effects = tuple(effects)
        return Reply.of(250, "Ok")

    async def abort(self) -> None:
        self.aborted = True


async def test_an_inspection_that_fails_costs_neither_the_message_nor_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, data: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("pymta.auth.dkim_verify.DkimInspection.write", fail)
    plain, log = Plain(), RecordingLog()
    draft = await InspectedDraft.around(plain, inbound(tmp_path), REMOTE, ENVELOPE, log)
    draft.write_top(b"Received: x\r\n")
    draft.write(BODY)
    draft.write(b"more\r\n")
    assert [one.result for one in (await draft.results()).dkim] == [Result.TEMPERROR]
    assert (await draft.commit([Effect(EffectKind.HOLD)])).code == 250
    assert plain.content == b"Received: x\r\n" + BODY + b"more\r\n"
    assert [effect.kind for effect in plain.effects] == [EffectKind.HOLD, EffectKind.PREPEND]
    assert "dkim=temperror" in plain.effects[1].value
    assert any("DKIM verification: RuntimeError: a bug" in line for line in log.lines)


async def test_results_are_told_although_no_restriction_asked_for_them(tmp_path: Path) -> None:
    plain = Plain()
    authentication = inbound(tmp_path, FakeResolver({}))
    draft = await InspectedDraft.around(plain, authentication, REMOTE, ENVELOPE, RecordingLog())
    draft.write(b"DKIM-Signature: v=1\r\n" + BODY)
    await draft.commit()
    assert "dkim=neutral" in plain.effects[0].value


async def test_results_are_found_once(tmp_path: Path) -> None:
    plain, log = Plain(), RecordingLog()
    draft = await InspectedDraft.around(plain, inbound(tmp_path), REMOTE, ENVELOPE, log)
    draft.write(b"From: a@example.org\r\n" + BODY)
    first = await draft.results()
    assert await draft.results() is first
    assert first.author_fields == ("a@example.org",)
    await draft.commit()
    assert [line for line in log.lines if "authentication: dkim=none" in line]
    await draft.abort()
    assert plain.aborted
