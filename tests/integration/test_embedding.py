"""pymta inside a program: the example, submission, agents and restrictions of the app's own, reload and stop."""

import asyncio
import email.message
import smtplib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pymta import MTA, DeliveryAgent, Restriction, Settings, SubmitError
from pymta.errors import ConfigError, SpoolError
from pymta.model.access import AccessContext, Verdict
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueueFilter
from pymta.ports import Content
from tests.support.peers import free_port

REPOSITORY = Path(__file__).parents[2]


class Inbox:
    """Keeps what is delivered, or does what `behave` says."""

    def __init__(self, behave: object = None) -> None:
        self.messages: list[tuple[DeliveryRequest, bytes]] = []
        self.behave = behave

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        if isinstance(self.behave, Exception):
            raise self.behave
        self.messages.append((request, b"".join([chunk async for chunk in content.chunks()])))
        if self.behave == "no results":
            return []
        outcome = Outcome.BOUNCED if self.behave == "bounce" else Outcome.SENT
        status = "5.1.1" if outcome is Outcome.BOUNCED else "2.0.0"
        return [DeliveryResult(one.number, outcome, status, "text") for one in request.recipients]


class Failing:
    name = "my_rule"

    async def check(self, context: AccessContext) -> Verdict | None:
        raise RuntimeError("a secret of the app")


def _settings(folder: Path, **more: str | list[str]) -> Settings:
    listen = more.pop("listen", ["127.0.0.1:0"])
    return Settings(
        listen=listen if isinstance(listen, list) else [listen],
        myhostname="app.example",
        queue_directory=str(folder),
        mydestination="",
        relay_domains="app.example",
        relay_transport="inbox",
        default_transport="inbox",
        **more,
    )


async def _until(check: object, seconds: float = 10.0) -> None:
    assert callable(check)
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "did not become true"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_example_runs(tmp_path: Path, loop: str) -> None:
    run = "import asyncio, runpy, sys\n"
    run += "import uvloop; uvloop.install()\n" if loop == "uvloop" else ""
    run += "sys.argv = ['embedded.py', sys.argv[1]]; runpy.run_path('examples/embedded.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", run, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "delivered: ['submitted']" in done.stdout
    assert "friend@elsewhere.example -> accepted" in done.stdout
    assert "someone@stranger.example -> 5.7.1 we do not know you" in done.stdout


async def test_submitted_mail_is_completed_and_delivered(tmp_path: Path) -> None:
    inbox = Inbox()
    async with MTA(_settings(tmp_path), agents={"inbox": inbox}) as mta:
        message = email.message.EmailMessage()
        message["From"], message["To"], message["Bcc"] = "App <app@app.example>", "a@x.example", "b@x.example"
        message.set_content("text")
        queue_id = await mta.submit(message)
        await _until(lambda: inbox.messages)
    request, content = inbox.messages[0]
    assert request.queue_id == queue_id
    assert str(request.sender) == "app@app.example"
    assert {str(one.address) for one in request.recipients} == {"a@x.example", "b@x.example"}
    assert b"Bcc" not in content
    assert b"\r\nMessage-Id: <" in content or b"Message-ID: <" in content
    assert content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize("text", ["Subject: no recipients\n\nx", b"", ""])
async def test_a_message_for_nobody_is_refused_with_a_reply(tmp_path: Path, text: str | bytes) -> None:
    async with MTA(_settings(tmp_path), agents={"inbox": Inbox()}) as mta:
        with pytest.raises(SubmitError) as caught:
            await mta.submit(text, sender="a@b.example")
        assert caught.value.reply.code == 554
        assert [entry async for entry in mta.queue.entries(QueueFilter())] == []


@pytest.mark.parametrize("behave", [RuntimeError("secret"), "no results"])
async def test_an_agent_that_fails_defers_its_recipients(tmp_path: Path, behave: object) -> None:
    async with MTA(_settings(tmp_path), agents={"inbox": Inbox(behave)}) as mta:
        await mta.submit("Subject: x\n\n", sender="a@b.example", recipients=["c@app.example"])

        async def deferred() -> bool:
            counts = await mta.queue.counts()
            return counts["deferred"] == 1

        for _ in range(200):
            if await deferred():
                break
            await asyncio.sleep(0.02)
        assert await deferred()
        (entry,) = [entry async for entry in mta.queue.entries(QueueFilter())]
        assert entry.recipients[0].status.startswith("4.")
        assert "secret" not in entry.recipients[0].reason


async def test_a_bounce_comes_back_through_the_same_door(tmp_path: Path) -> None:
    inbox = Inbox("bounce")
    async with MTA(_settings(tmp_path), agents={"inbox": inbox}) as mta:
        await mta.submit("Subject: x\n\n", sender="me@app.example", recipients=["c@app.example"])
        await _until(lambda: len(inbox.messages) >= 2)
    notice = inbox.messages[1][1]
    assert b"multipart/report" in notice
    assert b"Status: 5.1.1" in notice


async def test_a_restriction_that_fails_is_temporary_and_tells_nothing(tmp_path: Path) -> None:
    settings = _settings(tmp_path, smtpd_recipient_restrictions=["my_rule", "reject_unauth_destination"])
    async with MTA(settings, agents={"inbox": Inbox()}, restrictions={"my_rule": Failing()}) as mta:

        def talk() -> tuple[int, bytes]:
            with smtplib.SMTP("127.0.0.1", mta.ports[0]) as session:
                session.ehlo()
                session.mail("a@b.example")
                return session.rcpt("c@app.example")

        code, text = await asyncio.to_thread(talk)
    assert 400 <= code < 500
    assert b"secret" not in text


async def test_mail_that_waits_is_there_after_a_restart(tmp_path: Path) -> None:
    async with MTA(_settings(tmp_path), agents={"inbox": Inbox(RuntimeError("not now"))}) as mta:
        await mta.submit("Subject: x\n\n", sender="a@b.example", recipients=["c@app.example"])
    inbox = Inbox()
    async with MTA(_settings(tmp_path, minimal_backoff_time="1s"), agents={"inbox": inbox}) as mta:
        await mta.queue.flush(QueueFilter())
        await _until(lambda: inbox.messages)


async def test_a_second_instance_on_the_same_spool_is_refused_with_the_process(tmp_path: Path) -> None:
    async with MTA(_settings(tmp_path), agents={"inbox": Inbox()}):
        with pytest.raises(SpoolError, match="in use by process"):
            await MTA(_settings(tmp_path), agents={"inbox": Inbox()}).start()


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("message_size_limit", "many", "message_size_limit"),
        ("smtpd_recipient_restrictions", "reject_unauth_destinatoin", "reject_unauth_destinatoin"),
        ("virtual_alias_maps", "mysql:/nowhere", "mysql"),
        ("virtual_alias_maps", "hash:/nowhere", "/nowhere"),
        ("smtpd_relay_restrictions", "permit", "relay"),
    ],
)
def test_settings_that_cannot_be_used_say_which(tmp_path: Path, name: str, value: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        MTA(_settings(tmp_path, **{name: value}), agents={"inbox": Inbox()})


async def test_a_reload_changes_settings_and_keeps_sessions(tmp_path: Path) -> None:
    port = str(free_port())
    async with MTA(_settings(tmp_path, listen=f"127.0.0.1:{port}"), agents={"inbox": Inbox()}) as mta:
        session = await asyncio.to_thread(smtplib.SMTP, "127.0.0.1", int(port))
        changed = _settings(tmp_path, listen=f"127.0.0.1:{port}", message_size_limit="4711")
        await mta.reload(changed.config())
        assert (await asyncio.to_thread(session.noop))[0] == 250
        await asyncio.to_thread(session.quit)

        def size() -> bytes:
            with smtplib.SMTP("127.0.0.1", int(port)) as fresh:
                return fresh.ehlo()[1]

        assert b"SIZE 4711" in await asyncio.to_thread(size)
        with pytest.raises(ConfigError):
            await mta.reload(_settings(tmp_path, message_size_limit="x").config())
        assert b"SIZE 4711" in await asyncio.to_thread(size)


def test_the_public_names_are_what_they_say() -> None:
    agent: DeliveryAgent = Inbox()
    rule: Restriction = Failing()
    assert callable(agent.deliver)
    assert rule.name == "my_rule"
