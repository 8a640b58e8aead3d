"""pipe(8), error(8), discard(8): command lines, flags, and what a service's attributes may say."""

import pytest

from pymta.delivery.command import shell_argv
from pymta.delivery.discard import DiscardAgent
from pymta.delivery.error import ErrorAgent
from pymta.delivery.mailbox_jobs import CommandExit, CommandJob, Identity
from pymta.delivery.pipe import PipeAgent
from pymta.delivery.pipe_service import PipeService
from pymta.errors import ConfigError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.delivery import DeliveryRequest, Outcome
from pymta.model.envelope import Client
from pymta.model.queue import QueuedRecipient
from pymta.testing import ManualClock, RecordingLog
from tests.support.local_delivery import Bytes, FakeActions

SENDER = Address("Sender X", "outside.example")
CLIENT = Client("192.0.2.1", "4711", "client.example", helo="hi", protocol="ESMTP", sasl_username="joe")


def request(*recipients: str, sender: Address = SENDER, nexthop: str = "Hop.Example") -> DeliveryRequest:
    queued = tuple(
        QueuedRecipient(number, Address.from_internal(text), Address("orig", "x.example"))
        for number, text in enumerate(recipients)
    )
    return DeliveryRequest("4ABC", "maildrop", nexthop, sender, queued, 1234, 0.0, client=CLIENT, envid="e1")


def agent(attributes: str, actions: FakeActions, argv: list[str]) -> PipeAgent:
    service = PipeService.parse("maildrop", [*attributes.split(), f"argv={argv[0]}", *argv[1:]])
    return PipeAgent(
        service,
        actions,
        ManualClock(),
        RecordingLog(),
        time_limit=9.0,
        recipient_delimiter="+",
        environment=(("PATH", "/bin"),),
    )


async def run(
    attributes: str, argv: list[str], what: DeliveryRequest, content: bytes = b"A: b\r\n\r\n"
) -> tuple[CommandJob, FakeActions]:
    actions = FakeActions()
    await agent(attributes, actions, argv).deliver(what, Bytes(content))
    [(_, job)] = actions.commands
    return job, actions


async def test_every_macro_has_its_value() -> None:
    argv = [
        "/bin/x",
        "${sender}|${nexthop}|${size}|${queue_id}|${envid}",
        "$client_address/$client_port/${client_hostname}/$(client_helo)/$client_protocol/$sasl_username.$sasl_method",
        "${user}|${extension}|${mailbox}|${domain}|${recipient}|${original_recipient}",
        "$$literal",
    ]
    job, actions = await run("user=nobody", argv, request("Joe+Box@Example.com"))
    assert job.argv == (
        "/bin/x",
        "Sender X@outside.example|Hop.Example|1234|4ABC|e1",
        "192.0.2.1/4711/client.example/hi/ESMTP/joe.",
        "Joe|Box|Joe+Box|Example.com|Joe+Box@Example.com|orig@x.example",
        "$literal",
    )
    assert actions.commands[0][0] == Identity(65534, 65534)
    assert (job.time_limit, job.environment, job.header) == (9.0, (("PATH", "/bin"),), b"")


async def test_a_word_for_recipients_is_repeated_for_each() -> None:
    job, _ = await run("user=nobody", ["/bin/x", "-f", "$sender", "--", "$recipient"], request("a@b.c", "d@e.f"))
    assert job.argv == ("/bin/x", "-f", "Sender X@outside.example", "--", "a@b.c", "d@e.f")


async def test_an_empty_user_shifts_no_argument() -> None:
    # Postfix before 2026 leaves out a word like the last one.
    mixed, _ = await run("flags=q user=nobody", ["/bin/x", "$user", "$recipient", "X${user}Y"], request("@e.f"))
    assert mixed.argv == ("/bin/x", "", '""@e.f', "XY")
    job, _ = await run("user=nobody", ["/bin/x", "-u", "${user}", "-d", "$extension", "$domain"], request("@e.f"))
    assert job.argv == ("/bin/x", "-u", "", "-d", "", "e.f")


async def test_flags_fold_quote_and_prepend() -> None:
    argv = ["/bin/x", "$sender", "$user", "$extension", "$domain", "$recipient", "$nexthop"]
    job, _ = await run("flags=DRhuOFqB.> user=nobody eol=\\r\\n", argv, request("Joe B+Box@Example.com"))
    assert job.argv[1:] == (
        '"Sender X"@outside.example',
        "joe b",
        "box",
        "example.com",
        '"joe b+box"@example.com',
        "hop.example",
    )
    first, *rest = job.header.decode().splitlines()
    assert first.startswith('From "Sender X"@outside.example  ')
    assert rest == [
        'Return-Path: <"Sender X"@outside.example>',
        "X-Original-To: orig@x.example",
        'Delivered-To: "Joe B+Box"@Example.com',
    ]
    assert (job.quote_from, job.quote_dot, job.blank_line, job.eol) == (True, True, True, b"\r\n")


async def test_the_null_sender_has_a_name_for_commands() -> None:
    argv = ["/bin/x", "-f", "$sender"]
    job, _ = await run("user=nobody", argv, request("a@b.c", sender=NULL_SENDER))
    assert job.argv[2] == "MAILER-DAEMON"
    job, _ = await run("user=nobody null_sender=", argv, request("a@b.c", sender=NULL_SENDER))
    assert job.argv[2] == ""


async def test_outcomes() -> None:
    actions = FakeActions()
    pipe = agent("user=nobody flags=X", actions, ["/bin/x", "$recipient"])
    for ended, expected in [
        (CommandExit(), (Outcome.SENT, "2.0.0", "delivered via maildrop service", "delivered")),
        (CommandExit(output="ok\n"), (Outcome.SENT, "2.0.0", "delivered via maildrop service (ok)", "delivered")),
        (CommandExit(code=75), (Outcome.DEFERRED, "4.3.0", "temporary failure", "")),
        (CommandExit(code=3), (Outcome.BOUNCED, "5.3.0", 'Command died with status 3: "/bin/x"', "")),
        (CommandExit(code=1, output="5.1.7 bad sender"), (Outcome.BOUNCED, "5.1.7", "bad sender", "")),
    ]:
        actions.exit = ended
        results = await pipe.deliver(request("a@b.c", "d@e.f"), Bytes(b""))
        assert [result.number for result in results] == [0, 1]
        assert {(result.outcome, result.status, result.reason, result.action) for result in results} == {expected}
        assert results[0].relay == "maildrop"


async def test_limits_and_loops() -> None:
    actions = FakeActions()
    large = await agent("user=nobody size=10", actions, ["/bin/x"]).deliver(request("a@b.c"), Bytes(b"x" * 11))
    assert (large[0].outcome, large[0].status, large[0].reason) == (Outcome.BOUNCED, "5.2.3", "message too large")
    pipe = agent("user=nobody flags=D", actions, ["/bin/x"])
    loop = await pipe.deliver(request("a@b.c"), Bytes(b"Delivered-To: A@b.c\r\n\r\n"))
    assert (loop[0].status, loop[0].reason) == ("5.4.6", "mail forwarding loop for a@b.c")
    several = await pipe.deliver(request("a@b.c", "d@e.f"), Bytes(b""))
    assert {(result.outcome, result.reason) for result in several} == {
        (Outcome.DEFERRED, "mail system configuration error")
    }
    assert actions.commands == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (["user=nobody"], "missing argv="),
        (["argv=/bin/x"], "missing user="),
        (["user=root", "argv=/bin/x"], "root privileges"),
        (["user=nobody:root", "argv=/bin/x"], "privileged group id 0"),
        (["user=mail", "argv=/bin/x"], "mail system owner mail"),
        (["user=no-such", "argv=/bin/x"], "unknown username: no-such"),
        (["user=nobody:no-such", "argv=/bin/x"], "unknown group: no-such"),
        (["user=nobody", "flags=Z", "argv=/bin/x"], "unknown flag: Z"),
        (["user=nobody", "size=1k", "argv=/bin/x"], "bad size= value: 1k"),
        (["user=nobody", "colour=red", "argv=/bin/x"], "unknown attribute name: colour=red"),
        (["user=nobody", "argv=/bin/x", "${usr}"], 'unknown macro name: "usr"'),
        (["user=nobody", "argv=/bin/x", "${user"], "bad argument '${user'"),
    ],
)
def test_a_broken_service_stops_start_up(attributes: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PipeService.parse("svc", attributes, mail_owner="mail", where="master.cf:7")
    assert message in str(caught.value)
    assert str(caught.value).startswith("master.cf:7: svc: ")


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("/bin/cat -n", ("/bin/cat", "-n")),
        ("/missing x", ("/missing", "x")),
        ("cat -n", ("/found/cat", "-n")),
        ("cat | wc", ("/bin/sh", "-c", "cat | wc")),
        ("exec cat", ("/bin/sh", "-c", "exec cat")),
        ("A=b cat", ("/bin/sh", "-c", "A=b cat")),
        ("missing x", ("/bin/sh", "-c", "missing x")),
    ],
)
def test_a_shell_only_where_it_is_needed(command: str, argv: tuple[str, ...]) -> None:
    found = {"cat": "/found/cat"}
    assert shell_argv(command, which=found.get) == argv


def test_local_command_shell_takes_the_whole_line() -> None:
    assert shell_argv("cat -n", "/bin/smrsh -c") == ("/bin/smrsh", "-c", "cat -n")


@pytest.mark.parametrize(
    ("temporary", "nexthop", "status", "reason"),
    [
        (False, "mailbox closed", "5.0.0", "mailbox closed"),
        (False, "5.2.1 mailbox closed", "5.2.1", "mailbox closed"),
        (False, "4.2.1 later", "5.0.0", "later"),
        (True, "wait", "4.0.0", "wait"),
        (True, "5.3.2 down", "4.0.0", "down"),
        (True, "4.3.2 down", "4.3.2", "down"),
    ],
)
async def test_error_and_retry(temporary: bool, nexthop: str, status: str, reason: str) -> None:
    results = await ErrorAgent(temporary=temporary).deliver(request("a@b", "c@d", nexthop=nexthop), Bytes(b""))
    assert [(result.status, result.reason, result.relay) for result in results] == [(status, reason, "none")] * 2
    assert results[0].outcome is (Outcome.DEFERRED if temporary else Outcome.BOUNCED)


async def test_discard() -> None:
    [result] = await DiscardAgent().deliver(request("a@b", nexthop="silently"), Bytes(b""))
    assert (result.outcome, result.reason, result.relay) == (Outcome.SENT, "silently", "none")
